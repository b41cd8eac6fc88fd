//! Sensors, logs and inventories of BMCs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ipmi::fuzz::data(bytes));
