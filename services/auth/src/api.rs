//! The routes of auth: OpenID Connect's and OAuth's, and our own administration.

mod clients;
mod discovery;
mod oauth;
mod people;
mod tokens;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use domain::feed::Change;
use domain::{Scope, Service};
use serde::Serialize;
use serde_json::json;
use sqlx::PgTransaction;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::jwt::Algorithm;
use web::mirror::Mirror;
use web::{Database, Json, Problem, Revoked, SealKey, feed, scoped};

use crate::Config;
use crate::config::LIFE_MAX;
use crate::error::Error;
use crate::keys::{Keys, SignError};
use crate::model::{AccessClaims, Directory, RevokedRow, Throttle};
use crate::outer::Outer;
use crate::password::Passwords;
use crate::store;

/// So many revocations are in force at once: each service holds them all.
const REVOKED_MAX: usize = 10_000;

/// What the routes work with.
#[derive(Clone)]
pub struct Auth {
    pub(crate) issuer: Arc<str>,
    pub(crate) cluster: Arc<str>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) seal: Arc<SealKey>,
    pub(crate) directory: Mirror<Directory>,
    pub(crate) outer: Arc<Outer>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) throttle: Arc<Mutex<Throttle>>,
    pub(crate) device_throttle: Arc<Mutex<Throttle>>,
    pub(crate) database: Database,
    pub(crate) config: Arc<Config>,
    /// This process, so that nobody takes its counts for another's.
    pub(crate) life: Uuid,
    pub(crate) stop: CancellationToken,
}

/// Every route.
pub fn router(auth: Auth) -> Router {
    let read = |routes| scoped(routes, Scope::Read(Service::Auth));
    let write = |routes| scoped(routes, Scope::Write(Service::Auth));
    let own = Router::new()
        .route("/pilothouse/v1/verifier", read(get(discovery::show_verifier)))
        .route("/pilothouse/v1/tokens", post(tokens::create_token))
        .route("/pilothouse/v1/node-tokens", post(tokens::create_node_token))
        .route("/pilothouse/v1/node-tokens/{xname}", delete(tokens::end_node_tokens))
        .route("/pilothouse/v1/revocations", write(post(tokens::create_revocation)))
        .route("/pilothouse/v1/keys", read(get(tokens::list_keys)))
        .route("/pilothouse/v1/keys/rotate", write(post(tokens::rotate_keys)))
        .route(
            "/pilothouse/v1/clients",
            read(get(clients::list_clients)).merge(write(post(clients::create_client))),
        )
        .route("/pilothouse/v1/clients/{id}", write(delete(clients::remove_client)))
        .route("/pilothouse/v1/users", read(get(people::list_users)).merge(write(post(people::create_user))))
        .route("/pilothouse/v1/users/{name}", write(put(people::replace_user).delete(people::remove_user)))
        .route("/readyz", get(show_readiness));
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery::show_configuration))
        .route("/.well-known/oauth-authorization-server", get(discovery::show_configuration))
        .route("/.well-known/jwks.json", get(discovery::show_keys))
        .merge(oauth::routes())
        .merge(own)
        .with_state(auth)
}

async fn show_readiness(State(auth): State<Auth>) -> Response {
    if auth.keys.is_empty() {
        return Problem::unavailable(SignError::NoKey.to_string()).into_response();
    }
    let directory = auth.directory.freshness().to_string();
    Json(json!({"keys": "in memory", "directory": directory})).into_response()
}

/// A token, once.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

impl IntoResponse for TokenAnswer {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(self)).into_response()
    }
}

/// What a token is to say.
pub(crate) struct Grant<'a> {
    pub(crate) subject: &'a str,
    pub(crate) scope: String,
    pub(crate) client: Option<&'a str>,
    pub(crate) session: Option<Uuid>,
    pub(crate) xname: Option<&'a domain::Xname>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) life: Duration,
}

impl<'a> Grant<'a> {
    pub(crate) fn new(subject: &'a str, scope: String, life: Duration) -> Self {
        Self { subject, scope, client: None, session: None, xname: None, algorithm: None, life }
    }
}

/// The time, read here and handed on.
pub(crate) fn clock() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

impl Auth {
    /// Signs a token.
    pub(crate) fn give(&self, grant: Grant<'_>, now: OffsetDateTime) -> Result<TokenAnswer, Error> {
        let jti = Uuid::new_v4();
        // Given in the second in which all before were revoked, it is after them.
        let before = self.directory.read(|it| it.revoked_before(grant.subject));
        let given = before.map_or(now.unix_timestamp(), |it| now.unix_timestamp().max(it + 1));
        let claims = AccessClaims {
            iss: &self.issuer,
            sub: grant.subject,
            aud: [web::AUDIENCE],
            iat: given,
            nbf: now.unix_timestamp(),
            exp: given.saturating_add_unsigned(grant.life.min(LIFE_MAX).as_secs()),
            jti,
            scope: &grant.scope,
            client_id: grant.client,
            sid: grant.session,
            xname: grant.xname,
        };
        let algorithm = grant.algorithm.unwrap_or(self.config.algorithm);
        let access_token = self.keys.sign("at+jwt", &claims, algorithm, now)?;
        let seconds = grant.life.as_secs();
        tracing::info!("gave {} a token for {seconds} s, jti {jti}", grant.subject);
        Ok(TokenAnswer {
            access_token,
            token_type: "Bearer",
            expires_in: seconds,
            scope: grant.scope,
            ..TokenAnswer::default()
        })
    }

    /// Puts revocations in force, with whatever else the transaction changes; the services hear of it at once.
    pub(crate) async fn commit_revoked(
        &self,
        mut tx: PgTransaction<'static>,
        revoked: Vec<Revoked>,
        mut changes: Vec<Change>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let known = self.directory.read(Directory::revoked_count);
        if known + revoked.len() > REVOKED_MAX {
            return Err(Error::RevokedMax(REVOKED_MAX));
        }
        for mut revoked in revoked {
            if let Revoked::Subject { id, before } = &mut revoked
                && let Some(known) = self.directory.read(|it| it.revoked_before(id))
            {
                // What was given since then bears a later second than the clock may show.
                *before = (*before).max(known + 1);
            }
            // Whatever it is about has ended by itself then.
            let expires = (now + LIFE_MAX).unix_timestamp() + 60;
            let row = RevokedRow { revoked, expires };
            store::insert_revoked(&mut *tx, &row).await?;
            let id = store::revoked_id(&row.revoked);
            changes.push(Change::put("revoked", id, serde_json::to_value(&row).unwrap_or_default()));
        }
        feed::commit(tx, &changes, &self.directory).await?;
        Ok(())
    }
}
