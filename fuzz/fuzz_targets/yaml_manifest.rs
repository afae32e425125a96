#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| manifest::fuzz::yaml_manifest(data));
