//! ca from outside: its router, its socket, a real PostgreSQL, and OpenSSL as the one who verifies.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/acme.rs"]
mod acme;
#[path = "it/bad.rs"]
mod bad;
#[path = "it/client.rs"]
mod client;
#[path = "it/head.rs"]
mod head;
#[path = "it/issue.rs"]
mod issue;
#[path = "it/restart.rs"]
mod restart;
