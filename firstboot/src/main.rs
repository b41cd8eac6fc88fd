//! NOTE to colleagues: firstboot is being written by another engineer now; leave this crate alone.
fn main() {}
