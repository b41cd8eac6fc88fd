//! The access log.

use std::net::IpAddr;

use serde::Deserialize;
use tokio::time::Instant;

use crate::front::Link;
use crate::wire::Request;

/// A path in the log is cut off here.
const PATH_MAX: usize = 256;

/// Which requests the journal tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Logged {
    /// Every one.
    All,
    /// Those that may change something; the others where somebody looks for an error.
    #[default]
    Writes,
    /// None.
    None,
}

/// What the log says of a request; written when the request is over, answered or not.
#[derive(Debug)]
pub(crate) struct Access {
    method: String,
    /// Without the query, which may hold what nobody should read.
    path: String,
    pub(crate) status: u16,
    /// Of the answer's body.
    pub(crate) bytes: u64,
    begun: Instant,
    source: IpAddr,
    id: String,
}

impl Access {
    pub(crate) fn new(link: &Link, request: &Request<'_, '_>, id: &str, begun: Instant) -> Self {
        Self {
            method: request.method.chars().take(16).collect(),
            path: request.target.path.chars().take(PATH_MAX).collect(),
            status: 0,
            bytes: 0,
            begun,
            source: link.hop.address,
            id: id.to_owned(),
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let Self { method, path, status, bytes, begun, source, id } = self;
        let millis = begun.elapsed().as_millis();
        tracing::info!(
            pilothouse_address = %source,
            pilothouse_request = id,
            "{method} {path}: {status}, {bytes} bytes, {millis} ms, from {source}, request {id}"
        );
    }
}
