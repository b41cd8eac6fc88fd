//! `web` from outside.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/openapi.rs"]
mod openapi;
