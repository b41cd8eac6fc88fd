//! What auth refuses, and how it says so: OAuth's JSON on OAuth's paths (RFC 6749 section 5.2), problem
//! documents on our own.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use web::feed::CommitError;
use web::{Problem, Unavailable};

use crate::keys::SignError;

/// Whatever an own path refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "tokens are given to administrators and operators on the head itself, and to service clients with \
             their secret; log in on the head and run gen_access_token"
    )]
    Stranger,
    #[error("the role {asked} is above your own, {own}; ask for {own} or less")]
    RoleAbove { asked: &'static str, own: &'static str },
    #[error("a token lives 1 to {0} seconds")]
    Life(u64),
    #[error("the client {0} exists already; remove it first, or choose another id")]
    ClientTaken(String),
    #[error("there is no client {0}")]
    NoClient(String),
    #[error("{0:?} is no client id; letters, digits, '.', '_' and '-', at most 64")]
    ClientId(String),
    #[error("{0}")]
    Role(String),
    #[error("the system gives no randomness")]
    Random,
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the change is not served")]
    Commit(#[from] CommitError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match self {
            Self::Stranger => Problem::own(StatusCode::FORBIDDEN, "forbidden", text),
            Self::RoleAbove { .. } => {
                Problem::own(StatusCode::FORBIDDEN, "role-above-own", text).error("/role", "above your own")
            }
            Self::Life(_) => {
                Problem::own(StatusCode::BAD_REQUEST, "bad-life", text).error("/seconds", "out of range")
            }
            Self::ClientTaken(_) => Problem::own(StatusCode::CONFLICT, "client-exists", text),
            Self::NoClient(_) => Problem::own(StatusCode::NOT_FOUND, "no-such-client", text),
            Self::ClientId(_) => {
                Problem::own(StatusCode::BAD_REQUEST, "bad-client-id", text).error("/id", "no id")
            }
            Self::Role(_) => {
                Problem::own(StatusCode::BAD_REQUEST, "bad-role", text).error("/role", "no role")
            }
            Self::Sign(SignError::NoKey) => Problem::unavailable(text),
            Self::Unavailable(error) => return error.into_response(),
            Self::Commit(CommitError::Lagging(_)) => Problem::unavailable(text),
            Self::Random | Self::Sign(_) | Self::Commit(_) | Self::Database(_) => Problem::internal(&self),
        }
        .into_response()
    }
}

/// What the token endpoint refuses.
#[derive(Debug)]
pub(crate) enum OauthError {
    /// `invalid_request`: what is wrong with its form.
    Request(&'static str),
    /// `invalid_client`; `basic`: whether it tried `Authorization: Basic`.
    Client { basic: bool },
    /// `unsupported_grant_type`
    Grant,
    /// `invalid_scope`
    Scope,
    /// Not the client's fault.
    Own(Error),
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let (status, error, text) = match self {
            Self::Request(text) => (StatusCode::BAD_REQUEST, "invalid_request", text),
            Self::Client { .. } => {
                (StatusCode::UNAUTHORIZED, "invalid_client", "the client or its secret is not known")
            }
            Self::Grant => {
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", "grant_type is client_credentials here")
            }
            Self::Scope => {
                (StatusCode::BAD_REQUEST, "invalid_scope", "the client may not have all of these scopes")
            }
            Self::Own(error) => return error.into_response(),
        };
        let mut response = (status, Json(json!({"error": error, "error_description": text}))).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::Client { basic: true }) {
            let realm = HeaderValue::from_static("Basic realm=\"pilothouse\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}
