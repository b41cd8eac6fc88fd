//! What can go wrong, and its only translation to HTTP.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use web::feed::CommitError;
use web::{Problem, SealError, Unavailable};

use crate::model::nodes_file::Fault;

pub(crate) const MAC_TAKEN: &str =
    "operation would conflict with an existing component ethernet interface that has the same MAC address.";
pub(crate) const ENDPOINT_TAKEN: &str =
    "operation would conflict with an existing resource that has the same FQDN or xname ID.";
pub(crate) const GROUP_TAKEN: &str = "operation would conflict with an existing group that has the same \
    label or duplicate ids found in request.";
pub(crate) const PARTITION_TAKEN: &str = "operation would conflict with an existing partition that has \
    the same name or duplicate ids found in request.";
pub(crate) const PARTITION_THERE: &str =
    "operation would conflict with an existing member in the same partition.";
pub(crate) const PARTITION_OTHER: &str =
    "operation would conflict with an existing member in another partition.";
const MEMBER_THERE: &str = "operation would conflict with an existing member in the same group.";
const MEMBER_EXCLUSIVE: &str = "operation would conflict with an existing member in another exclusive group.";
const NO_COMPONENT: &str = "linked component does not exist";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("error decoding JSON {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Conflict(&'static str),
    /// Own paths: what the request asks for cannot be.
    #[error("{1}")]
    Refused(&'static str, String),
    /// Own paths: what is there stands in the way.
    #[error("{1}")]
    Taken(&'static str, String),
    /// Own paths: not for this caller.
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("the file is refused as a whole: {}", first(.0))]
    Nodes(Vec<Fault>),
    #[error("the component name {0} is taken by another node")]
    NameTaken(String),
    #[error("the sealing key cannot be used")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the change is stored but not served yet; read it again in some seconds")]
    Lagging,
    #[error("the service cannot see its own database as it is now; try again in some seconds")]
    Behind,
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl Error {
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::Bad(text.into())
    }

    pub(crate) fn missing(text: impl Into<String>) -> Self {
        Self::Missing(text.into())
    }
}

fn first(faults: &[Fault]) -> String {
    faults.first().map_or_else(String::new, |it| format!("line {}: {}", it.line, it.text))
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|it| it.constraint()) {
            Some("ethernet_interface_pkey" | "ethernet_interface_mac") => Self::Conflict(MAC_TAKEN),
            Some("redfish_endpoint_pkey" | "redfish_endpoint_fqdn") => Self::Conflict(ENDPOINT_TAKEN),
            Some("node_group_pkey") => Self::Conflict(GROUP_TAKEN),
            Some("group_member_pkey") => Self::Conflict(MEMBER_THERE),
            Some("group_member_exclusive") => Self::Conflict(MEMBER_EXCLUSIVE),
            Some("node_partition_pkey") => Self::Conflict(PARTITION_TAKEN),
            Some("partition_member_pkey") => Self::Conflict(PARTITION_OTHER),
            Some("group_member_component" | "partition_member_component") => {
                Self::Bad(NO_COMPONENT.to_owned())
            }
            Some("component_name") => Self::NameTaken("that was given".to_owned()),
            _ if is_text(&error) => {
                Self::Bad("the text holds a character that cannot be kept, U+0000".to_owned())
            }
            _ => Self::Database(error),
        }
    }
}

/// Whether the server refused a character: JSON may hold U+0000, its `text` may not (PostgreSQL 8.14).
fn is_text(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|it| it.code());
    matches!(code.as_deref(), Some("22P05" | "22021"))
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Database(error) => error.into(),
            CommitError::Lagging(_) => Self::Lagging,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match &self {
            Self::Json(_) | Self::Bad(_) => Problem::new(StatusCode::BAD_REQUEST, text),
            Self::Missing(_) => Problem::new(StatusCode::NOT_FOUND, text),
            Self::Conflict(_) => Problem::new(StatusCode::CONFLICT, text),
            Self::NameTaken(_) => Problem::own(StatusCode::CONFLICT, "name-taken", text),
            Self::Refused(kind, _) => Problem::own(StatusCode::BAD_REQUEST, kind, text),
            Self::Taken(kind, _) => Problem::own(StatusCode::CONFLICT, kind, text),
            Self::Forbidden(_) => Problem::own(StatusCode::FORBIDDEN, "forbidden", text),
            Self::Nodes(faults) => {
                let problem = Problem::own(StatusCode::BAD_REQUEST, "bad-nodes-file", text);
                let add =
                    |it: Problem, fault: &Fault| it.error(format!("line {}", fault.line), fault.text.clone());
                faults.iter().fold(problem, add)
            }
            Self::Unavailable(_) | Self::Lagging | Self::Behind => Problem::unavailable(text),
            Self::Database(error) if is_connection(error) => {
                Problem::unavailable("the database cannot be reached; try again in some seconds")
            }
            Self::Seal(_) | Self::Database(_) => Problem::internal(&self),
        }
        .into_response()
    }
}

/// Whether the server went away, rather than refused.
fn is_connection(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, WorkerCrashed};
    matches!(error, Io(_) | PoolTimedOut | PoolClosed | Protocol(_) | WorkerCrashed)
}
