//! What auth refuses, and how it says so: OAuth's JSON on OAuth's paths (RFC 6749 section 5.2), problem
//! documents on our own.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use web::feed::CommitError;
use web::{Problem, Unavailable};

use crate::keys::SignError;
use crate::password::PasswordError;

/// Whatever an own path refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "tokens are given to administrators and operators on the head itself, to people who log in, and to \
             service clients with their secret; on the head run gen_access_token, elsewhere pilotctl login"
    )]
    Stranger,
    #[error("only the service join asks for the tokens of nodes")]
    NotJoin,
    #[error("the role {asked} is above your own, {own}; ask for {own} or less")]
    RoleAbove { asked: &'static str, own: &'static str },
    #[error("a token lives 1 to {0} seconds")]
    Life(u64),
    #[error("the client {0} exists already; remove it first, or choose another id")]
    ClientTaken(String),
    #[error("there is no client {0}; pilotctl client list shows them")]
    NoClient(String),
    #[error(
        "{0:?} is no client id; letters, digits, '.', '_' and '-', at most 64, and not pilotctl or pilothouse"
    )]
    ClientId(String),
    #[error("{0}")]
    Client(String),
    #[error("{0} exists already; pilotctl user set-password changes the password")]
    AccountTaken(String),
    #[error("there is nobody called {0}; pilotctl user list shows them")]
    NoAccount(String),
    #[error(
        "{0:?} is no name of a person; letters, digits, '.', '_' and '-', at most 64, and not pilotctl or pilothouse"
    )]
    AccountName(String),
    #[error("{0} is taken by a client; names are one space, since rights go by them")]
    NameOfClient(String),
    #[error("{0} is taken by a person; names are one space, since rights go by them")]
    NameOfPerson(String),
    #[error("{0}")]
    Role(String),
    #[error("the name or the password is not right")]
    LogIn,
    #[error("too many tries; come back in {0} s")]
    Throttled(i64),
    #[error("more than {0} revocations are in force; they end with their tokens, within a day")]
    RevokedMax(usize),
    #[error(transparent)]
    Password(#[from] PasswordError),
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
    #[error("the keys cannot be changed: {0}")]
    Keys(String),
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Random
    }
}

impl Error {
    /// Status, kind and the member of the body, for what is the caller's to mend.
    fn problem(&self) -> Option<(StatusCode, &'static str, Option<&'static str>)> {
        Some(match self {
            Self::Stranger | Self::NotJoin => (StatusCode::FORBIDDEN, "forbidden", None),
            Self::RoleAbove { .. } => (StatusCode::FORBIDDEN, "role-above-own", Some("/role")),
            Self::Life(_) => (StatusCode::BAD_REQUEST, "bad-life", Some("/seconds")),
            Self::ClientTaken(_) => (StatusCode::CONFLICT, "client-exists", None),
            Self::NoClient(_) => (StatusCode::NOT_FOUND, "no-such-client", None),
            Self::ClientId(_) => (StatusCode::BAD_REQUEST, "bad-client-id", Some("/id")),
            Self::Client(_) => (StatusCode::BAD_REQUEST, "bad-client", None),
            Self::AccountTaken(_) => (StatusCode::CONFLICT, "user-exists", None),
            Self::NoAccount(_) => (StatusCode::NOT_FOUND, "no-such-user", None),
            Self::AccountName(_) => (StatusCode::BAD_REQUEST, "bad-user-name", Some("/name")),
            Self::NameOfClient(_) | Self::NameOfPerson(_) => (StatusCode::CONFLICT, "name-taken", None),
            Self::Role(_) => (StatusCode::BAD_REQUEST, "bad-role", Some("/role")),
            Self::LogIn => (StatusCode::UNAUTHORIZED, "wrong-password", None),
            Self::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many-tries", None),
            Self::Password(PasswordError::Length) => {
                (StatusCode::BAD_REQUEST, "bad-password", Some("/password"))
            }
            _ => return None,
        })
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        if let Some((status, kind, member)) = self.problem() {
            let problem = Problem::own(status, kind, text);
            let problem = match member {
                Some(member) => problem.error(member, "not what is taken"),
                None => problem,
            };
            return retry_after(problem.into_response(), &self);
        }
        match self {
            Self::Sign(SignError::NoKey) | Self::Password(PasswordError::Busy) | Self::RevokedMax(_) => {
                Problem::unavailable(text)
            }
            Self::Unavailable(error) => return error.into_response(),
            Self::Commit(CommitError::Lagging(_)) => Problem::unavailable(text),
            _ => Problem::internal(&self),
        }
        .into_response()
    }
}

fn retry_after(mut response: Response, error: &Error) -> Response {
    if let Error::Throttled(seconds) = error {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
    }
    response
}

/// What OAuth's paths refuse, by OAuth's words.
#[derive(Debug)]
pub(crate) enum OauthError {
    /// `invalid_request`: what is wrong with its form.
    Request(&'static str),
    /// `invalid_client`; `basic`: whether it tried `Authorization: Basic`.
    Client { basic: bool },
    /// `unsupported_grant_type`
    GrantType,
    /// `invalid_grant`: what was brought is not good, or not any more.
    Grant(&'static str),
    /// `unauthorized_client`: it may not do this.
    Unauthorized(&'static str),
    /// `invalid_scope`
    Scope,
    /// `authorization_pending` (RFC 8628 section 3.5)
    Pending,
    /// `slow_down`
    SlowDown,
    /// `expired_token`
    Expired,
    /// `access_denied`
    Denied,
    /// Not the client's fault.
    Own(Error),
}

impl<E: Into<Error>> From<E> for OauthError {
    fn from(error: E) -> Self {
        Self::Own(error.into())
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let (error, text) = match &self {
            Self::Request(text) => ("invalid_request", *text),
            Self::Client { .. } => ("invalid_client", "the client, its secret or its signature is not known"),
            Self::GrantType => {
                ("unsupported_grant_type", "the discovery document names the grant types there are")
            }
            Self::Grant(text) => ("invalid_grant", *text),
            Self::Unauthorized(text) => ("unauthorized_client", *text),
            Self::Scope => ("invalid_scope", "the client may not have all of these scopes"),
            Self::Pending => ("authorization_pending", "nobody has said yes yet"),
            Self::SlowDown => ("slow_down", "ask 5 seconds later from now on"),
            Self::Expired => ("expired_token", "the code has expired; begin anew"),
            Self::Denied => ("access_denied", "it was refused"),
            Self::Own(_) => ("", ""),
        };
        let status = match self {
            Self::Client { .. } => StatusCode::UNAUTHORIZED,
            Self::Own(error) => return error.into_response(),
            _ => StatusCode::BAD_REQUEST,
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
