//! What goes wrong, and what a client is told of it.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use web::Problem;
use web::feed::CommitError;

use crate::blobs::Trouble;

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no image {0}; pilotctl image list shows what there is")]
    NoImage(String),
    #[error("{0:?} is no image: write name:tag, or sha256: and 64 hexadecimal digits")]
    BadReference(String),
    #[error("{0:?} is no architecture: write x86_64, arm64, riscv64, loong64 or i386")]
    BadArchitecture(String),
    #[error("{0:?} is no digest: write sha256: and 64 hexadecimal digits")]
    BadDigest(String),
    #[error("the blob {0} is not there; upload it first")]
    NoBlob(String),
    #[error("{image} is pinned by {pins}; change what boots it first: pilotctl boot params list")]
    Pinned { image: String, pins: String },
    #[error("{service} has no pin {id}")]
    NoPin { service: String, id: String },
    #[error(transparent)]
    Upload(#[from] Trouble),
    #[error("the images cannot be read")]
    Io(#[from] std::io::Error),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Unavailable(#[from] web::Unavailable),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let own = |status, kind| Problem::own(status, kind, self.to_string()).into_response();
        match &self {
            Self::NoImage(_) => own(StatusCode::NOT_FOUND, "no-image"),
            Self::BadReference(_) => own(StatusCode::BAD_REQUEST, "bad-reference"),
            Self::BadArchitecture(_) => own(StatusCode::BAD_REQUEST, "bad-architecture"),
            Self::BadDigest(_) => own(StatusCode::BAD_REQUEST, "bad-digest"),
            Self::NoBlob(_) => own(StatusCode::NOT_FOUND, "no-blob"),
            Self::Pinned { .. } => own(StatusCode::CONFLICT, "pinned"),
            Self::NoPin { .. } => own(StatusCode::NOT_FOUND, "no-pin"),
            Self::Upload(trouble) => match trouble {
                Trouble::Missing => own(StatusCode::NOT_FOUND, "no-upload"),
                Trouble::Offset(_) => own(StatusCode::CONFLICT, "upload-offset"),
                Trouble::TooMany => own(StatusCode::TOO_MANY_REQUESTS, "too-many-uploads"),
                Trouble::NoRoom => own(StatusCode::INSUFFICIENT_STORAGE, "no-room"),
                Trouble::Digest(_) => own(StatusCode::UNPROCESSABLE_ENTITY, "wrong-digest"),
                Trouble::Io(error) => Problem::internal(error).into_response(),
            },
            Self::Io(error) => Problem::internal(error).into_response(),
            Self::Database(error) | Self::Commit(CommitError::Database(error)) => {
                Problem::unavailable(format!("the database failed: {error}")).into_response()
            }
            Self::Commit(CommitError::Lagging(_)) => Problem::unavailable(self.to_string()).into_response(),
            Self::Unavailable(_) => Problem::unavailable(self.to_string()).into_response(),
        }
    }
}
