//! How a command fails: a message and an exit status (INTERFACES 6).

use axum::http::StatusCode;
use web::ClientError;

/// A failure with its exit status; an empty message has been printed already.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    /// 1: it did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// 2: the command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// 3: some nodes failed; each is named.
    pub(crate) fn some_nodes(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    /// 4: not allowed.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { code: 4, message: message.into() }
    }

    /// 5: nobody answers.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { code: 5, message: message.into() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let cause = std::error::Error::source(&error).map(|it| format!(" ({it})")).unwrap_or_default();
        match &error {
            ClientError::Unreachable(..) => Self::unreachable(format!("{error}{cause}")),
            ClientError::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, detail } => {
                Self::refused(format!("{detail}; be root or in the group pilothouse-admin"))
            }
            ClientError::Status { .. } => Self::failed(error.to_string()),
            _ => Self::failed(format!("{error}{cause}")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
