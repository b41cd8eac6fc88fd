//! Packets of serial over LAN.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ipmi::fuzz::line(bytes));
