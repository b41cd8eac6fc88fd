//! What can go wrong, and its only translation to HTTP. The texts are BSS' own where they were recorded.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::inventory::Lock;
use domain::{NODES_MAX, Xname};
use web::feed::CommitError;
use web::{ClientError, Problem, Unavailable};

use crate::model::SettingsError;
use crate::wire::{BodyError, LineError};

/// A request that is not answered with success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("{0} is {1}; nothing was changed. Unlock it first: pilotctl nodes unlock {0}")]
    Locked(Xname, Lock),
    #[error("postgres.Add: data already exists")]
    Exists,
    #[error("name a kernel, and at least one of macs, hosts and nids")]
    Nothing,
    #[error("name at least one of macs, hosts and nids; without one, every entry would be rewritten")]
    NoTargets,
    #[error("postgres.Add: could not create BootConfig: kernel URI cannot be blank")]
    NoKernel,
    #[error("No data")]
    NoData,
    #[error("postgres.Update: must specify at least one of params, kernel, or initrd")]
    NoChange,
    #[error("postgres.Update: data does not exist: nodes table: {0}")]
    UnknownTargets(String),
    #[error(
        "postgres.Delete: error deleting BootGroupAssignment(s): no node IDs specified for deleting \
         boot group assignments"
    )]
    NothingDeleted,
    #[error("Cannot find boot parameters for requested {0}")]
    NotFound(&'static str),
    #[error("Invalid nid '{0}'")]
    BadNid(String),
    #[error("Unknown {0} '{1}'")]
    UnknownHost(&'static str, String),
    #[error("Need a mac=, name=, or nid= parameter")]
    NothingAsked,
    #[error("say what to boot once: a kernel, parameters, an image, or local_disk; one of them")]
    NoOnce,
    #[error("name 1 to {NODES_MAX} nodes in `nodes`")]
    NoNodes,
    #[error("images cannot be asked")]
    NoImages,
    #[error("{0}")]
    Images(#[from] web::ClientError),
    #[error("XName not found for IP")]
    UnknownAddress,
    #[error("the database cannot be reached")]
    Unavailable(#[from] Unavailable),
    #[error("the change is not served yet")]
    Commit(#[from] CommitError),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
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
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const AWAY: &str =
            "the database is not available; scripts go on from memory, try the write again soon";
        let problem = match &self {
            Self::Body(BodyError::Plain) => Problem::new(BAD, "Bad Request"),
            Self::Settings(error) => {
                Problem::new(BAD, format!("Bad Request: {error}")).error(error.pointer(), error.to_string())
            }
            Self::Body(_) | Self::Exists | Self::Nothing | Self::NoTargets | Self::NoKernel => {
                Problem::new(BAD, format!("Bad Request: {self}"))
            }
            Self::NoOnce | Self::NoNodes => Problem::own(BAD, "bad-body", self.to_string()),
            Self::Images(ClientError::Status { status, detail }) if status.is_client_error() => {
                Problem::own(*status, "image", detail.clone())
            }
            Self::Images(_) | Self::NoImages => {
                Problem::unavailable(format!("{self}; nothing was changed, is pilothouse-images running?"))
            }
            Self::NoData | Self::NothingDeleted | Self::NothingAsked => Problem::new(BAD, self.to_string()),
            Self::BadNid(_) => Problem::new(BAD, format!("Bad Request - {self}")),
            Self::NoChange | Self::UnknownTargets(_) => {
                Problem::new(StatusCode::NOT_FOUND, format!("Not Found: {self}"))
            }
            Self::UnknownHost(..) => Problem::new(StatusCode::NOT_FOUND, format!("Not Found - {self}")),
            Self::Line(_) | Self::Locked(..) => Problem::new(StatusCode::CONFLICT, self.to_string()),
            Self::NotFound(_) | Self::UnknownAddress => Problem::new(StatusCode::NOT_FOUND, self.to_string()),
            Self::Unavailable(error) => Problem::unavailable(error.to_string()),
            Self::Commit(CommitError::Lagging(error)) => Problem::unavailable(error.to_string()),
            Self::Commit(CommitError::Database(error)) | Self::Database(error) if is_away(error) => {
                Problem::unavailable(AWAY)
            }
            Self::Commit(_) | Self::Database(_) => Problem::internal(&self),
        };
        problem.into_response()
    }
}
