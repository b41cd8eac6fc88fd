//! The program pilotctl: the head from the command line.
fn main() {}
