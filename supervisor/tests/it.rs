//! The supervisor from outside: the real program on a private bus, with a systemd and a polkit made here.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/apply.rs"]
mod apply;
#[path = "it/bus.rs"]
mod bus;
#[path = "it/calls.rs"]
mod calls;
#[path = "it/certificates.rs"]
mod certificates;
#[path = "it/cli.rs"]
mod cli;
#[path = "it/fake.rs"]
mod fake;
#[path = "it/health.rs"]
mod health;
#[path = "it/introspection.rs"]
mod introspection;
#[path = "it/kills.rs"]
mod kills;
#[path = "it/ours.rs"]
mod ours;
#[path = "it/people.rs"]
mod people;
#[path = "it/services.rs"]
mod services;
#[path = "it/trials.rs"]
mod trials;
#[path = "it/units.rs"]
mod units;
