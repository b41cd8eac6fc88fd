//! auth from outside: its router, its socket, a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/forged.rs"]
mod forged;
#[path = "it/head.rs"]
mod head;
#[path = "it/oauth.rs"]
mod oauth;
#[path = "it/outer.rs"]
mod outer;
#[path = "it/people.rs"]
mod people;
#[path = "it/restart.rs"]
mod restart;
#[path = "it/signer.rs"]
mod signer;
#[path = "it/tokens.rs"]
mod tokens;
