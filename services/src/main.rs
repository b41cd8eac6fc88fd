//! The program pilothouse: one name, one service, one process.
fn main() {}
