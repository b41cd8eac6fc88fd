//! cargo xtask demo, test, up, image: the commands of a developer.
fn main() {}
