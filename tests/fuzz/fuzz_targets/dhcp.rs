//! DHCP messages, their options and the relay's.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dhcp::fuzz::dhcp(bytes));
