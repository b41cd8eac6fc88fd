//! HTTP for the services: problem documents, JSON bodies, callers and scopes, the PostgreSQL pool, the change feed
//! and the [`Mirror`](mirror::Mirror) that follows one.

mod audit;
mod caller;
mod client;
mod database;
mod extract;
pub mod feed;
pub mod jwt;
mod loopback;
mod metrics;
pub mod mirror;
pub mod openapi;
mod problem;
mod seal;
mod server;
mod token;

pub use audit::{account, actor, deed, deed_at, no_deed, whence};
pub use caller::{Caller, Denied, Guard, Peer, scoped};
pub use client::{Client, ClientError, Lines};
pub use database::{Database, Unavailable};
pub use extract::{Json, Path, Query};
pub use metrics::{Counters, counter, counters, gauge};
pub use problem::Problem;
pub use seal::{SealError, SealKey};
pub use server::{BODY_MAX, Bounds, Unread, serve, serve_all, serve_bounded};
pub use token::{AUDIENCE, Claims, Revoked, TokenError, Trust, TrustedIssuer, Verifier};
