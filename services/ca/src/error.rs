//! What ca refuses on its own paths; what ACME clients are told stands in `api/acme/problem.rs`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use web::{Problem, Unavailable};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the head's certificate is given to the gateway's own process alone")]
    Stranger,
    #[error("there is no authority yet; the first one is made once the database answers")]
    NoAuthority,
    #[error("csr_pem is no certificate request (RFC 2986) with a good signature")]
    Request(#[source] rcgen::Error),
    #[error("the request's key is to be ECDSA P-256, signed with SHA-256")]
    Key,
    #[error("the certificate cannot be made")]
    Issue(#[source] rcgen::Error),
    #[error("the authorities cannot be used")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the chain is not taken: {0}")]
    Chain(String),
    #[error("there is no such revocation list")]
    NoList,
    #[error("there is no key {0} for external accounts; pilotctl ca eab list names them")]
    NoEab(String),
    #[error("description is one line of at most 200 characters")]
    Description,
    #[error("there are {0} keys for external accounts already; remove those that are not needed")]
    ManyEab(i64),
    #[error("the secret cannot be sealed")]
    Seal(#[from] web::SealError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        let bad = |kind| Problem::own(StatusCode::BAD_REQUEST, kind, text.clone());
        match &self {
            Self::Stranger => Problem::own(StatusCode::FORBIDDEN, "forbidden", text),
            Self::NoAuthority | Self::Unavailable(_) => Problem::unavailable(text),
            Self::Request(cause) => bad("bad-request").error("/csr_pem", cause.to_string()),
            Self::Key => bad("bad-key").error("/csr_pem", "another key"),
            Self::Chain(why) => bad("bad-chain").error("/chain_pem", why.clone()),
            Self::Description => bad("bad-body").error("/description", "too long, or several lines"),
            Self::NoList | Self::NoEab(_) => Problem::own(StatusCode::NOT_FOUND, "not-found", text),
            Self::ManyEab(_) => Problem::own(StatusCode::CONFLICT, "too-many", text),
            Self::Issue(_) | Self::Authority(_) | Self::Seal(_) | Self::Database(_) => {
                Problem::internal(&self)
            }
        }
        .into_response()
    }
}
