//! The service from outside: datagrams in, answers and rows out, on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/audit.rs"]
mod audit;
#[path = "it/boots.rs"]
mod boots;
#[path = "it/head.rs"]
mod head;
#[path = "it/outage.rs"]
mod outage;
#[path = "it/speed.rs"]
mod speed;
