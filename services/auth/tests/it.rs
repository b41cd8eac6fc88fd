//! auth from outside: its router, its socket, a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/head.rs"]
mod head;
#[path = "it/oauth.rs"]
mod oauth;
#[path = "it/restart.rs"]
mod restart;
#[path = "it/tokens.rs"]
mod tokens;
