#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kantaloupe_fuzz::terminal::run(data));
