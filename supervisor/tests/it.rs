//! The supervisor from outside: the real program on a private bus, with a systemd and a polkit made here.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/apply.rs"]
mod apply;
#[path = "it/certificates.rs"]
mod certificates;
#[path = "it/fake.rs"]
mod fake;
#[path = "it/services.rs"]
mod services;
#[path = "it/units.rs"]
mod units;
