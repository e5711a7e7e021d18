#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| jwt_gate_fuzz::api_keys(data));
