#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_chunked_upload::fuzzing::token(input));
