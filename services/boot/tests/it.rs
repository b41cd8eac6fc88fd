//! Boot from outside: its router, a real PostgreSQL, and an inventory's feed on a socket.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/corpus.rs"]
mod corpus;
#[path = "it/harness.rs"]
mod harness;
#[path = "it/images.rs"]
mod images;
#[path = "it/ipxe.rs"]
mod ipxe;
#[path = "it/kernels.rs"]
mod kernels;
#[path = "it/once.rs"]
mod once;
#[path = "it/outage.rs"]
mod outage;
#[path = "it/recordings.rs"]
mod recordings;
#[path = "it/replay.rs"]
mod replay;
#[path = "it/rights.rs"]
mod rights;
#[path = "it/scripts.rs"]
mod scripts;
