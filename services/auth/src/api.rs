//! The routes of auth: OpenID Connect's discovery and token endpoint, and our own administration.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::feed::Change;
use domain::{Role, Scope, Scopes, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;
use web::mirror::Mirror;
use web::{Caller, Database, Json, Path, Problem, TokenError, feed, scoped};

use crate::Config;
use crate::config::LIFE_MAX;
use crate::error::Error;
use crate::keys::{Keys, SignError};
use crate::model::{self, Bearer, Claims, Client, Clients, role_word};
use crate::store;

mod oauth;

/// What the routes work with.
#[derive(Clone)]
pub struct Auth {
    pub(crate) issuer: Arc<str>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clients: Mirror<Clients>,
    pub(crate) database: Database,
    pub(crate) config: Config,
}

/// Every route.
pub fn router(auth: Auth) -> Router {
    let read = |routes| scoped(routes, Scope::Read(Service::Auth));
    let write = |routes| scoped(routes, Scope::Write(Service::Auth));
    Router::new()
        .route("/.well-known/openid-configuration", get(show_configuration))
        .route("/.well-known/oauth-authorization-server", get(show_configuration))
        .route("/.well-known/jwks.json", get(show_keys))
        .route("/oauth2/token", post(oauth::give_client_token))
        .route("/token", get(oauth::give_any_token).post(oauth::give_any_token))
        .route("/pilothouse/v1/tokens", post(create_token))
        .route("/pilothouse/v1/clients", read(get(list_clients)).merge(write(post(create_client))))
        .route("/pilothouse/v1/clients/{id}", write(delete(remove_client)))
        .route("/readyz", get(show_readiness))
        .with_state(auth)
}

/// The discovery document (OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2).
async fn show_configuration(State(auth): State<Auth>) -> Json<Value> {
    let issuer = &auth.issuer;
    let scopes: Vec<String> = Role::Admin.scopes().iter().map(ToString::to_string).collect();
    Json(json!({
        "issuer": &**issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "scopes_supported": scopes,
    }))
}

async fn show_keys(State(auth): State<Auth>) -> Result<Response, Error> {
    let keys = auth.keys.public().ok_or(SignError::NoKey)?;
    let cache = HeaderValue::from_static("public, max-age=60");
    Ok(([(header::CACHE_CONTROL, cache)], Json(keys)).into_response())
}

async fn show_readiness(State(auth): State<Auth>) -> Response {
    if auth.keys.is_empty() {
        return Problem::unavailable(SignError::NoKey.to_string()).into_response();
    }
    let clients = auth.clients.freshness().to_string();
    Json(json!({"keys": "in memory", "clients": clients})).into_response()
}

/// What a caller of our own path wants.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    seconds: Option<u64>,
    role: Option<String>,
}

/// A token, once.
#[derive(Debug, Serialize)]
struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
}

async fn create_token(
    State(auth): State<Auth>,
    caller: Caller,
    Json(request): Json<TokenRequest>,
) -> Result<Response, Error> {
    auth.give_to_peer(&caller, &request).map(TokenAnswer::into_response)
}

impl IntoResponse for TokenAnswer {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(self)).into_response()
    }
}

impl Auth {
    /// A token for whoever is known by their process on this head: never beyond their own role, and never for
    /// one who is known by a token, which would then live for ever.
    fn give_to_peer(&self, caller: &Caller, request: &TokenRequest) -> Result<TokenAnswer, Error> {
        let own = match caller.token {
            Err(TokenError::Missing) => model::role_of(&caller.scopes).ok_or(Error::Stranger)?,
            _ => return Err(Error::Stranger),
        };
        let role = match &request.role {
            None => own,
            Some(text) => text.parse().map_err(Error::Role)?,
        };
        if role > own {
            return Err(Error::RoleAbove { asked: role_word(role), own: role_word(own) });
        }
        let life = request.seconds.map_or(self.config.token_life.0, Duration::from_secs);
        if life.is_zero() || life > LIFE_MAX {
            return Err(Error::Life(LIFE_MAX.as_secs()));
        }
        let bearer = Bearer { subject: account_of(caller), is_client: false };
        self.give(bearer, &role.scopes(), life)
    }

    fn give(&self, bearer: Bearer, scopes: &Scopes, life: Duration) -> Result<TokenAnswer, Error> {
        let (jti, subject) = (Uuid::new_v4(), bearer.subject.clone());
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = Claims::new(&self.issuer, bearer, scopes, now, life, jti);
        let scope = claims.scope().to_owned();
        let access_token = self.keys.sign(&claims)?;
        tracing::info!("gave {subject} a token for {} s, jti {jti}", life.as_secs());
        Ok(TokenAnswer { access_token, token_type: "Bearer", expires_in: life.as_secs(), scope })
    }
}

/// The account's name; `uid:N` for one without.
fn account_of(caller: &Caller) -> String {
    let user = caller.uid.map(|it| nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(it)));
    match user {
        Some(Ok(Some(user))) => user.name,
        _ => caller.subject.clone(),
    }
}

/// A client as it is shown: never anything of its secret.
#[derive(Debug, Serialize)]
struct ClientAnswer {
    id: String,
    role: String,
    description: String,
    created: String,
    /// Shown once, when the client is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl ClientAnswer {
    fn new(client: Client, secret: Option<String>) -> Self {
        let Client { id, role, description, created, secret_sha256: _ } = client;
        Self { id, role, description, created, secret }
    }
}

async fn list_clients(State(auth): State<Auth>) -> Json<Vec<ClientAnswer>> {
    let clients = auth.clients.read(Clients::list);
    Json(clients.into_iter().map(|it| ClientAnswer::new(it, None)).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewClient {
    id: String,
    role: String,
    #[serde(default)]
    description: String,
}

async fn create_client(State(auth): State<Auth>, Json(new): Json<NewClient>) -> Result<Response, Error> {
    if !model::is_client_id(&new.id) {
        return Err(Error::ClientId(new.id));
    }
    let role: Role = new.role.parse().map_err(Error::Role)?;
    let secret = model::new_secret().map_err(|_| Error::Random)?;
    let secret_sha256 = model::digest_of(&secret);
    let digest = URL_SAFE_NO_PAD.decode(&secret_sha256).unwrap_or_default();
    let mut tx = auth.database.begin().await?;
    let created = store::insert_client(&mut *tx, &new.id, &digest, role, &new.description).await?;
    let created = created.format(&Rfc3339).unwrap_or_default();
    let NewClient { id, role, description } = new;
    let client = Client { id, role, description, created, secret_sha256 };
    let row = serde_json::to_value(&client).unwrap_or_default();
    feed::commit(tx, &[Change::put("client", &client.id, row)], &auth.clients).await?;
    let answer = ClientAnswer::new(client, Some(secret.to_string()));
    let place = format!("/pilothouse/v1/clients/{}", answer.id);
    let headers = [(header::LOCATION, place), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}

async fn remove_client(State(auth): State<Auth>, Path(id): Path<String>) -> Result<StatusCode, Error> {
    let mut tx = auth.database.begin().await?;
    if !store::delete_client(&mut *tx, &id).await? {
        return Err(Error::NoClient(id));
    }
    feed::commit(tx, &[Change::delete("client", &id)], &auth.clients).await?;
    Ok(StatusCode::NO_CONTENT)
}
