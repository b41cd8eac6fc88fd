//! How others ask auth.

use std::time::Duration;

use axum::http::Method;
use domain::{Role, Xname};
use serde::Deserialize;
use serde_json::json;
use web::{Client, ClientError};

use crate::model::role_word;

/// A token as auth gives it.
#[derive(Clone, Deserialize)]
pub struct Token {
    /// The token itself.
    pub access_token: String,
    /// How long it lives, in seconds.
    pub expires_in: u64,
    /// Its rights, separated by blanks.
    pub scope: String,
}

/// A token for the caller's own account, as the socket's peer credentials show it: an administrator or
/// operator on the head. None: the caller's own role, 12 h.
///
/// # Errors
///
/// If auth does not answer, or refuses.
pub async fn token(auth: &Client, role: Option<Role>, seconds: Option<u64>) -> Result<Token, ClientError> {
    let mut body = json!({});
    if let Some(role) = role {
        body["role"] = role_word(role).into();
    }
    if let Some(seconds) = seconds {
        body["seconds"] = seconds.into();
    }
    auth.call(Method::POST, "/pilothouse/v1/tokens", Some(&body)).await
}

/// A token for a booting node, for join alone: it reads that node's own secure data until it ends, within an hour.
///
/// # Errors
///
/// If auth does not answer, or refuses.
pub async fn node_token(auth: &Client, xname: &Xname, life: Duration) -> Result<Token, ClientError> {
    let body = json!({"xname": xname.to_string(), "seconds": life.as_secs()});
    auth.call(Method::POST, "/pilothouse/v1/node-tokens", Some(&body)).await
}
