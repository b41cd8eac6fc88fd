//! What is told about us: the discovery document, the keys, and to the services what they verify tokens with.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::Role;
use serde::Deserialize;
use serde_json::{Value, json};
use web::{Json, Query, Trust};

use super::{Auth, clock};
use crate::error::Error;
use crate::keys::SignError;
use crate::model::{ALL, words};

/// How long a service waits for the next change before it asks again; below the bounds of a request.
const HELD_MAX: Duration = Duration::from_secs(20);
const GRANTS: [&str; 4] = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
];

/// The discovery document (OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2).
pub(super) async fn show_configuration(State(auth): State<Auth>) -> Json<Value> {
    let issuer = &auth.issuer;
    let rights = crate::model::scope_text(&Role::Admin.scopes());
    let scopes: Vec<&str> =
        ["openid", "profile", "offline_access", ALL].into_iter().chain(words(&rights)).collect();
    let at = |path: &str| format!("{issuer}{path}");
    let with_secret = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
    let with_none = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    let algorithms = ["ES256", "RS256"];
    Json(json!({
        "issuer": &**issuer,
        "authorization_endpoint": at("/oauth2/authorize"),
        "token_endpoint": at("/oauth2/token"),
        "userinfo_endpoint": at("/oauth2/userinfo"),
        "jwks_uri": at("/.well-known/jwks.json"),
        "device_authorization_endpoint": at("/oauth2/device_authorization"),
        "introspection_endpoint": at("/oauth2/introspect"),
        "revocation_endpoint": at("/oauth2/revoke"),
        "grant_types_supported": GRANTS,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": with_none,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": with_secret,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": with_none,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported":
            ["iss", "sub", "aud", "iat", "exp", "auth_time", "nonce", "sid", "preferred_username", "role"],
        "scopes_supported": scopes,
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "claims_parameter_supported": false,
    }))
}

/// The JWK set (RFC 7517).
pub(super) async fn show_keys(State(auth): State<Auth>) -> Result<Response, Error> {
    let keys = auth.keys.public();
    if keys.is_empty() {
        return Err(SignError::NoKey.into());
    }
    let cache = HeaderValue::from_static("public, max-age=60");
    Ok(([(header::CACHE_CONTROL, cache)], Json(json!({"keys": keys}))).into_response())
}

#[derive(Debug, Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: String,
}

/// Keys, other issuers and revocations, for the services. Who names what they have is answered when there is
/// something else, or after a while.
pub(super) async fn show_verifier(
    State(auth): State<Auth>,
    Query(query): Query<After>,
) -> Result<Json<Trust>, Error> {
    let mut keys = auth.keys.subscribe();
    let mut outer = auth.outer.subscribe();
    let mut directory = auth.directory.subscribe();
    let changed = async {
        // Without a key there is nothing to tell: who asks at the start hears of the first one at once.
        while auth.keys.public().is_empty() || auth.generation() == query.after {
            tokio::select! {
                _ = keys.changed() => {}
                _ = outer.changed() => {}
                _ = directory.changed() => {}
                () = auth.stop.cancelled() => return,
            }
        }
    };
    // Ended by the clock it is the same again.
    if tokio::time::timeout(HELD_MAX, changed).await.is_err() {
        tracing::debug!("nothing has changed for the verifiers");
    }
    // Asked before the rest is read: then nothing old is taken for new.
    let generation = auth.generation();
    let keys = auth.keys.public();
    if keys.is_empty() {
        return Err(SignError::NoKey.into());
    }
    let revoked = auth.directory.read(|it| it.revoked(clock().unix_timestamp()));
    Ok(Json(Trust { generation, keys, trusted: auth.outer.told(), revoked }))
}

impl Auth {
    fn generation(&self) -> String {
        let keys = *self.keys.subscribe().borrow();
        let outer = *self.outer.subscribe().borrow();
        format!("{}.{}.{keys}.{outer}", self.life.simple(), self.directory.generation())
    }
}
