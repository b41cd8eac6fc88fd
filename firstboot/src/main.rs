//! The program pilothouse-firstboot: questions and answers of the first boot.
fn main() {}
