//! What join refuses, and how it says so.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Xname;
use web::feed::CommitError;
use web::{ClientError, Problem, Unavailable};

use crate::model::Refusal;
use crate::state::NotSaved;
use crate::wire::tpm::TpmError;

/// Whatever is not answered with success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this address holds no lease of {0}; the machine has to get it from the head's DHCP first")]
    NoLease(domain::MacAddr),
    #[error("this address is none of {0}")]
    Elsewhere(String),
    #[error("{0} has the policy {1:?}; set join.policy for one of its groups in the document")]
    Policy(Xname, crate::Policy),
    #[error("no key of {0} is enrolled; enrol the one of its TPM: pilotctl join enroll {0} --ek FILE")]
    NotEnrolled(Xname),
    #[error("the TPM of {0} has another endorsement key than the one that is enrolled")]
    OtherKey(Xname),
    #[error("this answers no challenge of this machine; ask for another one")]
    WrongAnswer,
    #[error("{0} is not in the inventory; pilotctl nodes list shows what is")]
    NoNode(String),
    #[error("{0} has nothing of that kind enrolled")]
    NothingEnrolled(Xname),
    #[error("{0}")]
    Bad(&'static str),
    #[error(transparent)]
    Tpm(#[from] TpmError),
    #[error("too many machines ask at once; ask again in a minute")]
    Busy,
    #[error(transparent)]
    NotSaved(#[from] NotSaved),
    #[error("the token service does not answer; ask again in some seconds")]
    Auth(#[source] ClientError),
    #[error("who holds which address is not known now; ask again in some seconds")]
    Dhcp(#[source] ClientError),
    #[error("the key is not there yet: PostgreSQL was never reached")]
    NoKey,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the change is not served")]
    Commit(#[from] CommitError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the system gives no randomness")]
    Random,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        use StatusCode as Is;
        let text = self.to_string();
        match &self {
            Self::Refused(Refusal::Full)
            | Self::Busy
            | Self::NotSaved(_)
            | Self::NoKey
            | Self::Unavailable(_) => Problem::unavailable(text),
            Self::Auth(source) | Self::Dhcp(source) => {
                tracing::warn!("{text}: {source}");
                Problem::unavailable(text)
            }
            Self::Refused(_)
            | Self::NoLease(_)
            | Self::Elsewhere(_)
            | Self::Policy(..)
            | Self::NotEnrolled(_)
            | Self::OtherKey(_)
            | Self::WrongAnswer => Problem::own(Is::FORBIDDEN, "refused", text),
            Self::NoNode(_) => Problem::own(Is::NOT_FOUND, "no-such-node", text),
            Self::NothingEnrolled(_) => Problem::own(Is::NOT_FOUND, "not-enrolled", text),
            Self::Bad(_) | Self::Tpm(_) => Problem::own(Is::BAD_REQUEST, "bad-body", text),
            Self::Commit(_) | Self::Database(_) | Self::Random => Problem::internal(&self),
        }
        .into_response()
    }
}
