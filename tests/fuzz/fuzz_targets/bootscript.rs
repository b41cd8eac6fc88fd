//! What iPXE asks a boot script with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boot::fuzz::bootscript(bytes));
