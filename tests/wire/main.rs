//! Real clients in network namespaces: each test is a lab of its own (`harness/lab.rs`).

mod lab;
mod power;
