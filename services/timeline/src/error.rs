//! What timeline refuses, and how it says so.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use web::{Problem, Unavailable};

/// Whatever is not answered with success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no boot of {0} is known; pilotctl nodes list shows the nodes, pilotctl power on NODE boots one")]
    NoBoot(String),
    #[error("{0:?} is neither a node's name nor an xname nor a MAC address")]
    NoNode(String),
    #[error("{0:?} is no instant; write 2026-11-22T20:00:00Z, or 30m for half an hour ago")]
    NoInstant(String),
    #[error("{0:?} is no result; there are running, good, failed, stopped")]
    NoResult(String),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the file that knows where the audit stands cannot be read")]
    Anchor(#[from] std::io::Error),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        use StatusCode as Is;
        let text = self.to_string();
        match self {
            Self::NoBoot(_) => Problem::own(Is::NOT_FOUND, "no-boot", text),
            Self::NoNode(_) => Problem::own(Is::NOT_FOUND, "no-such-node", text),
            Self::NoInstant(_) | Self::NoResult(_) => Problem::own(Is::BAD_REQUEST, "bad-query", text),
            Self::Unavailable(error) => return error.into_response(),
            Self::Anchor(_) | Self::Database(_) => Problem::internal(&self),
        }
        .into_response()
    }
}
