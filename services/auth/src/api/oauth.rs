//! OAuth's and OpenID Connect's own paths: the token endpoint here, the others below.

mod authorize;
mod device;
mod form;
mod grants;
mod inspect;
mod page;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::Role;
use time::OffsetDateTime;
use web::{Caller, Json};

use super::tokens::TokenRequest;
use super::{Auth, Grant, TokenAnswer, clock};
use crate::error::{Error, OauthError};
use crate::model::{self, Client, check_assertion, scope_text};
use crate::password::Password;
use crate::store;
use form::{Credentials, Form, find_credentials, parse_form};

/// RFC 7523 section 2.2.
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/oauth2/token", post(give_client_token))
        .route("/oauth2/authorize", get(authorize::show).post(authorize::log_in))
        .route("/oauth2/device_authorization", post(device::create))
        .route("/oauth2/device", get(device::show).post(device::decide))
        .route("/oauth2/introspect", post(inspect::introspect))
        .route("/oauth2/revoke", post(inspect::revoke))
        .route("/oauth2/userinfo", get(inspect::show_user).post(inspect::show_user))
        .route("/token", get(give_any_token).post(give_any_token))
        // As other programs of this kind of cluster have them.
        .route("/login", get(device::lead_there))
        .route("/browser/login", get(device::lead_there))
        .route("/api/login", post(log_in))
        .route("/oidc/callback", get(authorize::show_code))
}

async fn give_client_token(
    State(auth): State<Auth>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<TokenAnswer, OauthError> {
    let now = clock();
    let form = parse_form(&headers, &body)?;
    let client = auth.find_client(&headers, &form, now).await?;
    match form.get("grant_type").map(|it| it.as_str()) {
        Some("client_credentials") => auth.give_to_client(&client, &form, now),
        Some("authorization_code") => auth.give_for_code(&client, &form, now).await,
        Some("refresh_token") => auth.give_for_refresh(&client, &form, now).await,
        Some(DEVICE_CODE) => auth.give_for_device(&client, &form, now).await,
        Some(_) => Err(OauthError::GrantType),
        None => Err(OauthError::Request("grant_type is missing")),
    }
}

/// A client by its secret, or an administrator or operator by their process on the head. Whoever comes over
/// the network has no process here, so without a secret they get nothing.
async fn give_any_token(
    State(auth): State<Auth>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OauthError> {
    let now = clock();
    let form = parse_form(&headers, &body)?;
    let answer = if find_credentials(&headers, &form)?.is_some() || form.contains_key("client_assertion") {
        let client = auth.find_client(&headers, &form, now).await?;
        auth.give_to_client(&client, &form, now)?
    } else {
        auth.give_to_peer(&caller, &TokenRequest::default(), now)?
    };
    Ok(answer.into_response())
}

/// A token for name and password, for programs of one's own that speak no OAuth.
async fn log_in(
    State(auth): State<Auth>,
    caller: Caller,
    Json(request): Json<LogIn>,
) -> Result<TokenAnswer, Error> {
    let now = clock();
    let account = auth.log_in(&request.username, request.password.0, &caller, now).await?;
    let scope = model::scope_for(account.role, request.scope.as_deref().unwrap_or(model::ALL));
    auth.give(Grant::new(&account.name, scope, auth.config.token_life.0), now)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    username: String,
    password: Password,
    scope: Option<String>,
}

impl Auth {
    /// Who asks at an endpoint for clients: by secret, by signature, or by name alone if it is public.
    async fn find_client(
        &self,
        headers: &HeaderMap,
        form: &Form,
        now: OffsetDateTime,
    ) -> Result<Client, OauthError> {
        if form.contains_key("client_assertion") || form.contains_key("client_assertion_type") {
            return self.find_signer(headers, form, now).await;
        }
        if let Some(Credentials { id, secret, basic }) = find_credentials(headers, form)? {
            let known = self.directory.read(|it| it.client_by_secret(&id, &secret));
            return known.ok_or_else(|| {
                tracing::warn!("a client was refused: {:?} or its secret is not known", shorten(&id));
                OauthError::Client { basic }
            });
        }
        let id = form.get("client_id").ok_or(OauthError::Client { basic: true })?;
        let client = self.directory.read(|it| it.client(id));
        client.filter(Client::is_public).ok_or(OauthError::Client { basic: true })
    }

    /// A client that signs what it asks; each assertion is taken once.
    async fn find_signer(
        &self,
        headers: &HeaderMap,
        form: &Form,
        now: OffsetDateTime,
    ) -> Result<Client, OauthError> {
        let refused = || OauthError::Client { basic: false };
        let assertion = form.get("client_assertion").ok_or_else(refused)?;
        if form.get("client_assertion_type").map(|it| it.as_str()) != Some(ASSERTION) {
            return Err(OauthError::Request("client_assertion_type is jwt-bearer's"));
        }
        if find_credentials(headers, form)?.is_some() {
            return Err(OauthError::Request("the client proves itself twice"));
        }
        let claims = web::jwt::Jws::parse(assertion).ok_or_else(refused)?;
        let id = claims.text("sub").ok_or_else(refused)?.to_owned();
        if form.get("client_id").is_some_and(|it| **it != id) {
            return Err(refused());
        }
        let client = self.directory.read(|it| it.client(&id)).ok_or_else(refused)?;
        let jwks = client.jwks.as_ref().ok_or_else(refused)?;
        let audiences = [self.issuer.to_string(), format!("{}/oauth2/token", self.issuer)];
        let seconds = now.unix_timestamp();
        let good = check_assertion(assertion, &id, jwks, &audiences, seconds).ok_or_else(refused)?;
        let mut tx = self.database.begin().await?;
        let expires = OffsetDateTime::from_unix_timestamp(good.expires).map_err(|_| refused())?;
        if !store::insert_assertion(&mut *tx, &good.digest, expires).await? {
            tracing::warn!("the client {id} was refused: its assertion was used before");
            return Err(refused());
        }
        tx.commit().await?;
        Ok(client)
    }

    fn give_to_client(
        &self,
        client: &Client,
        form: &Form,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, OauthError> {
        if client.is_public() {
            return Err(OauthError::Unauthorized("a client without a secret gets tokens for people alone"));
        }
        let role: Role = client.role().ok_or(OauthError::Client { basic: false })?;
        let asked = form.get("scope").map(|it| it.as_str());
        let scopes = model::narrow(&role.scopes(), asked).ok_or(OauthError::Scope)?;
        let grant = Grant::new(&client.id, scope_text(&scopes), self.config.token_life.0);
        let grant = Grant { client: Some(&client.id), algorithm: client.algorithm, ..grant };
        Ok(self.give(grant, now)?)
    }
}

/// An identifier for the log, which a stranger chose.
fn shorten(id: &str) -> String {
    id.chars().take(64).collect()
}
