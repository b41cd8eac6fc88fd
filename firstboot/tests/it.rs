//! firstboot from outside: the real program on real terminals, with a bus and a supervisor made here.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/headless.rs"]
mod headless;
#[path = "it/interview.rs"]
mod interview;
#[path = "it/lab.rs"]
mod lab;
