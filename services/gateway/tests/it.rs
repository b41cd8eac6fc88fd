//! The gateway from outside: real sockets, real TLS, curl; the services behind are stand-ins that tell what
//! reached them.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/certificate.rs"]
mod certificate;
#[path = "it/forward.rs"]
mod forward;
#[path = "it/head.rs"]
mod head;
#[path = "it/http.rs"]
mod http;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/stop.rs"]
mod stop;
#[path = "it/stream.rs"]
mod stream;
