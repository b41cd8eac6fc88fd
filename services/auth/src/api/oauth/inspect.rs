//! What a token is worth: userinfo, introspection (RFC 7662), revocation (RFC 7009).

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use web::{Caller, Claims, Guard, Json, Revoked};

use super::form::parse_form;
use crate::api::{Auth, clock};
use crate::error::OauthError;
use crate::model::{role_of, role_word, words};

/// The claims of the person a token is about (OpenID Connect Core section 5.3).
pub(super) async fn show_user(
    State(auth): State<Auth>,
    caller: Caller,
    Extension(guard): Extension<Guard>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()?.split_once(' '));
    let claims = token.and_then(|(_, token)| auth.claims_of(&guard, token.trim()));
    let (status, challenge) = match (caller.token, claims) {
        (Ok(()), Some(claims)) if words(&claims.scope).any(|it| it == "openid") => {
            let mut user = json!({"sub": claims.sub, "preferred_username": claims.sub});
            if let Some(role) = role_of(&claims.scopes()) {
                user["role"] = role_word(role).into();
            }
            return ([(header::CACHE_CONTROL, "no-store")], Json(user)).into_response();
        }
        (Ok(()), Some(_)) => (StatusCode::FORBIDDEN, "Bearer error=\"insufficient_scope\", scope=\"openid\""),
        _ => (StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\""),
    };
    let mut response = status.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

impl Auth {
    /// What a good token of ours says: also of the revocations that this process has just put in force.
    fn claims_of(&self, guard: &Guard, token: &str) -> Option<std::sync::Arc<Claims>> {
        let claims = guard.verifier.verify(token).ok()?;
        let good = claims.iss == *self.issuer && !self.directory.read(|it| it.is_revoked(&claims));
        good.then_some(claims)
    }
}

/// For clients that prove themselves; of what is not good nothing is told but that.
pub(super) async fn introspect(
    State(auth): State<Auth>,
    Extension(guard): Extension<Guard>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OauthError> {
    let now = clock();
    let form = parse_form(&headers, &body)?;
    let client = auth.find_client(&headers, &form, now).await?;
    if client.is_public() {
        return Err(OauthError::Client { basic: true });
    }
    let token = form.get("token").ok_or(OauthError::Request("token is missing"))?;
    let told: Value = match auth.claims_of(&guard, token) {
        None => json!({"active": false}),
        Some(claims) => json!({
            "active": true, "token_type": "Bearer", "scope": claims.scope, "client_id": claims.client,
            "username": claims.sub, "sub": claims.sub, "aud": web::AUDIENCE, "iss": claims.iss,
            "iat": claims.iat, "nbf": claims.iat, "exp": claims.expires(), "jti": claims.jti,
        }),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(told)).into_response())
}

/// Ends a token: with a refresh token its log-in, and what was given for it. What is not known is as good as ended.
pub(super) async fn revoke(
    State(auth): State<Auth>,
    Extension(guard): Extension<Guard>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, OauthError> {
    let now = clock();
    let form = parse_form(&headers, &body)?;
    let client = auth.find_client(&headers, &form, now).await?;
    let token = form.get("token").ok_or(OauthError::Request("token is missing"))?;
    if let Some((id, _)) = auth.open_refresh(token, &client.id) {
        auth.end_session(auth.database.begin().await?, &id, now).await?;
    } else if let Some(claims) = auth.claims_of(&guard, token)
        && claims.client.as_deref() == Some(&*client.id)
    {
        let revoked = Revoked::Token { id: claims.jti.clone() };
        auth.commit_revoked(auth.database.begin().await?, vec![revoked], Vec::new(), now).await?;
    }
    Ok(StatusCode::OK)
}
