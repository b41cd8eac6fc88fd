//! TFTP packets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dhcp::fuzz::tftp(bytes));
