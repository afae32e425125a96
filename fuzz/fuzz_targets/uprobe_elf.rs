#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kernel::fuzz::uprobe_elf(data));
