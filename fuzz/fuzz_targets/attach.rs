#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| daemon::fuzz::attach(data));
