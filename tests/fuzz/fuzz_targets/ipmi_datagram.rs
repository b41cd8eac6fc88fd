//! IPMI datagrams, proven or not.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ipmi::fuzz::datagram(bytes));
