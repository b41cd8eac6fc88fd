//! What can go wrong, and its only translation to HTTP. The texts are the recorded service's where there are
//! any.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use web::feed::CommitError;
use web::{Denied, Problem, TokenError, Unavailable};

use crate::model::Fault;
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
    /// A group of the present API that cannot be taken.
    #[error(transparent)]
    BadGroup(BodyError),
    /// A template that no data would make right.
    #[error("group {group}: {fault}")]
    BadTemplate { group: String, fault: Fault },
    /// Other bodies of the present API that cannot be taken; the recorded service says nothing.
    #[error("the body is not what this path takes")]
    BadBody,
    #[error("group '{0}' not added as it already exists")]
    GroupExists(String),
    #[error("group ({0}) not found in memstore")]
    NoGroup(String),
    #[error("node {0} not found in SMD")]
    NoNode(String),
    #[error("node {node} is not a member of group {group} (node and/or group may not exist in SMD)")]
    NoMember { node: String, group: String },
    #[error("IP address {0} not found for an xname in nodes")]
    NoNodeAt(String),
    #[error("404 page not found")]
    NoPage,
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
        let plain = |status: StatusCode, error: &Self| (status, format!("{error}\n")).into_response();
        match self {
            Self::NotFound
            | Self::Exists
            | Self::NoGroup(_)
            | Self::NoNode(_)
            | Self::NoMember { .. }
            | Self::NoPage => plain(StatusCode::NOT_FOUND, &self),
            Self::Body(_) => plain(StatusCode::BAD_REQUEST, &self),
            Self::BadGroup(_) | Self::BadTemplate { .. } => plain(StatusCode::UNPROCESSABLE_ENTITY, &self),
            Self::BadBody => StatusCode::BAD_REQUEST.into_response(),
            Self::GroupExists(_) => plain(StatusCode::CONFLICT, &self),
            // As recorded (`cloud-init-037`).
            Self::NoNodeAt(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, &self),
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
