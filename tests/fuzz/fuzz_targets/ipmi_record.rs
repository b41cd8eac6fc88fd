//! Records of IPMI sessions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ipmi::fuzz::record(bytes));
