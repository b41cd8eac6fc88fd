//! cloud-init from outside: its router, a real PostgreSQL, and an inventory's feed on a socket.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/current.rs"]
mod current;
#[path = "it/harness.rs"]
mod harness;
#[path = "it/nodes.rs"]
mod nodes;
#[path = "it/outage.rs"]
mod outage;
#[path = "../../boot/tests/it/replay.rs"]
mod replay;
#[path = "it/rights.rs"]
mod rights;
#[path = "it/roots.rs"]
mod roots;
