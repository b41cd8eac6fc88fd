//! `web` from outside: its sockets, a real PostgreSQL. Run as root, whom the socket's peer credentials make an
//! administrator.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/bounds.rs"]
mod bounds;
#[path = "it/feed.rs"]
mod feed;
#[path = "it/full_size.rs"]
mod full_size;
#[path = "it/harness.rs"]
mod harness;
#[path = "it/openapi.rs"]
mod openapi;
#[path = "it/torn.rs"]
mod torn;
