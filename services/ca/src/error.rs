//! What ca refuses.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use web::Problem;

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
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match &self {
            Self::Stranger => Problem::own(StatusCode::FORBIDDEN, "forbidden", text),
            Self::NoAuthority => Problem::unavailable(text),
            Self::Request(cause) => Problem::own(StatusCode::BAD_REQUEST, "bad-request", text)
                .error("/csr_pem", cause.to_string()),
            Self::Key => {
                Problem::own(StatusCode::BAD_REQUEST, "bad-key", text).error("/csr_pem", "another key")
            }
            Self::Issue(_) => Problem::internal(&self),
        }
        .into_response()
    }
}
