//! The program pilothouse-supervisor: keeps the head in its desired state over systemd's D-Bus.
fn main() {}
