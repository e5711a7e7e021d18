#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| jwt_gate_fuzz::aws_file(data));
