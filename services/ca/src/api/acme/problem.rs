//! What ACME clients are told when something is refused (RFC 8555 section 6.7).

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use web::Unavailable;

use crate::error::Error;
use crate::model::{IdentifierError, RequestError};
use crate::wire::Refused;

/// The algorithms that accounts may sign with.
const ALGORITHMS: [&str; 4] = ["ES256", "ES384", "EdDSA", "RS256"];

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct AcmeProblem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    subproblems: Vec<Value>,
    /// Where the thing is that stands in the way.
    pub(super) location: Option<String>,
    retry_after_s: Option<u32>,
}

impl AcmeProblem {
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let (subproblems, location, retry_after_s) = (Vec::new(), None, None);
        Self { status, kind, detail: detail.into(), subproblems, location, retry_after_s }
    }

    pub(crate) fn bad(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, detail)
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::bad("malformed", detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "unauthorized", detail)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "malformed", format!("there is no such {what}"))
    }

    pub(crate) fn limited(detail: impl Into<String>) -> Self {
        let limited = Self::new(StatusCode::TOO_MANY_REQUESTS, "rateLimited", detail);
        Self { retry_after_s: Some(600), ..limited }
    }

    /// Says which identifier is meant.
    pub(crate) fn about(mut self, kind: &str, identifier: &Value, detail: &str) -> Self {
        self.subproblems.push(json!({"type": urn(kind), "detail": detail, "identifier": identifier}));
        self
    }

    /// As it stands in a challenge.
    pub(crate) fn json(&self) -> Value {
        let mut value =
            json!({"type": urn(self.kind), "detail": self.detail, "status": self.status.as_u16()});
        if !self.subproblems.is_empty() {
            value["subproblems"] = self.subproblems.clone().into();
        }
        if self.kind == "badSignatureAlgorithm" {
            value["algorithms"] = json!(ALGORITHMS);
        }
        value
    }
}

fn urn(kind: &str) -> String {
    format!("urn:ietf:params:acme:error:{kind}")
}

impl fmt::Display for AcmeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

impl IntoResponse for AcmeProblem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(location) = self.location.and_then(|it| HeaderValue::try_from(it).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refused> for AcmeProblem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(why) => Self::malformed(why),
            Refused::Algorithm => Self::bad(
                "badSignatureAlgorithm",
                "the signature's algorithm is not taken, or not the one of its key",
            ),
            Refused::Key(why) => Self::bad("badPublicKey", why),
        }
    }
}

impl From<IdentifierError> for AcmeProblem {
    fn from(error: IdentifierError) -> Self {
        let kind = match &error {
            IdentifierError::Kind(_) => "unsupportedIdentifier",
            IdentifierError::Wildcard(_) => "rejectedIdentifier",
            IdentifierError::Name(_) | IdentifierError::Address(_) => "malformed",
        };
        Self::bad(kind, error.to_string())
    }
}

impl From<RequestError> for AcmeProblem {
    fn from(error: RequestError) -> Self {
        Self::bad("badCSR", error.to_string())
    }
}

impl From<Error> for AcmeProblem {
    fn from(error: Error) -> Self {
        match &error {
            Error::NoAuthority | Error::Unavailable(_) => {
                let unavailable =
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, "serverInternal", error.to_string());
                Self { retry_after_s: Some(5), ..unavailable }
            }
            _ => {
                // Writes the chain of causes to the journal.
                drop(web::Problem::internal(&error));
                let detail = "the request could not be served; the journal says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "serverInternal", detail)
            }
        }
    }
}

impl From<sqlx::Error> for AcmeProblem {
    fn from(error: sqlx::Error) -> Self {
        Error::Database(error).into()
    }
}

impl From<Unavailable> for AcmeProblem {
    fn from(error: Unavailable) -> Self {
        Error::Unavailable(error).into()
    }
}
