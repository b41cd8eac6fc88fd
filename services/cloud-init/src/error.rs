//! What can go wrong, and its only translation to HTTP. The texts are the recorded service's where there are
//! any.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use web::feed::CommitError;
use web::{Denied, Problem, TokenError, Unavailable};

use crate::wire::BodyError;

/// A request that is not answered with success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("not found")]
    NotFound,
    #[error("Data exists for this entry. Update instead")]
    Exists,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the caller's address is in no inventory")]
    UnknownAddress,
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A legacy write, which the recorded service takes from anyone.
    #[error(
        "{0}; add the header Authorization: Bearer <token>, for instance with the token of gen_access_token"
    )]
    DeniedWrite(TokenError),
    #[error("the database cannot be reached")]
    Unavailable(#[from] Unavailable),
    #[error("the change is not served yet")]
    Commit(#[from] CommitError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// Whether the server is away, rather than the statement wrong.
fn is_away(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Tls, WorkerCrashed};
    match error {
        Io(_) | Tls(_) | PoolTimedOut | PoolClosed | WorkerCrashed => true,
        // Class 57: operator intervention, as when the server stops (PostgreSQL, appendix A).
        Database(it) => it.code().is_some_and(|it| it.starts_with("57")),
        _ => false,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        const AWAY: &str =
            "the database is not available; nodes are answered from memory, try the write again soon";
        match self {
            Self::NotFound | Self::Exists => (StatusCode::NOT_FOUND, format!("{self}\n")).into_response(),
            Self::Body(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
            Self::UnknownAddress => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
            Self::Denied(denied) => denied.into_response(),
            Self::DeniedWrite(_) => {
                let how = [(header::WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, how, format!("{self}\n")).into_response()
            }
            Self::Unavailable(error) => Problem::unavailable(error.to_string()).into_response(),
            Self::Commit(CommitError::Lagging(error)) => {
                Problem::unavailable(error.to_string()).into_response()
            }
            Self::Commit(CommitError::Database(error)) | Self::Database(error) if is_away(&error) => {
                Problem::unavailable(AWAY).into_response()
            }
            Self::Commit(_) | Self::Database(_) => Problem::internal(&self).into_response(),
        }
    }
}
