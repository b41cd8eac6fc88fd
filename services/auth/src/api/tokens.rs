//! Tokens for whoever is known by their process, for nodes, and what is done with all of them: keys, revocation.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{Scope, Service, Xname};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use web::{Caller, Json, Path, Revoked, TokenError};

use super::{Auth, Grant, TokenAnswer, clock};
use crate::config::LIFE_MAX;
use crate::error::Error;
use crate::keys::Rotate;
use crate::model::{self, role_word, scope_text};

/// The service that hands tokens to booting nodes, and how long those may live at most.
const JOIN: &str = "join";
const NODE_LIFE_MAX: Duration = Duration::from_secs(3600);

/// What a caller of our own path wants.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    seconds: Option<u64>,
    role: Option<String>,
}

pub(super) async fn create_token(
    State(auth): State<Auth>,
    caller: Caller,
    Json(request): Json<TokenRequest>,
) -> Result<Response, Error> {
    let role = request.role.as_deref().unwrap_or("their own");
    web::deed(&caller, format_args!("a token with the role {}", role.chars().take(16).collect::<String>()));
    auth.give_to_peer(&caller, &request, clock()).map(TokenAnswer::into_response)
}

impl Auth {
    /// A token for whoever is known by their process on this head: never beyond their own role, and never for
    /// one who is known by a token, which would then live for ever.
    pub(super) fn give_to_peer(
        &self,
        caller: &Caller,
        request: &TokenRequest,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, Error> {
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
        self.give(Grant::new(&account_of(caller), scope_text(&role.scopes()), life), now)
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeTokenRequest {
    xname: Xname,
    seconds: u64,
}

/// A booting node's token, for join alone: not for root either, who could otherwise hand them out unseen.
pub(super) async fn create_node_token(
    State(auth): State<Auth>,
    caller: Caller,
    Json(request): Json<NodeTokenRequest>,
) -> Result<TokenAnswer, Error> {
    check_join(&caller)?;
    let life = Duration::from_secs(request.seconds);
    if life.is_zero() || life > NODE_LIFE_MAX {
        return Err(Error::Life(NODE_LIFE_MAX.as_secs()));
    }
    let subject = request.xname.to_string();
    let grant = Grant::new(&subject, Scope::Node.to_string(), life);
    auth.give(Grant { xname: Some(&request.xname), ..grant }, clock())
}

/// Ends a node's tokens, for join, which has seen that two machines pass for the node.
pub(super) async fn end_node_tokens(
    State(auth): State<Auth>,
    caller: Caller,
    Path(node): Path<Xname>,
) -> Result<StatusCode, Error> {
    check_join(&caller)?;
    let now = clock();
    let revoked = Revoked::Subject { id: node.to_string(), before: now.unix_timestamp() };
    let tx = auth.database.begin().await?;
    tracing::info!("join ended the tokens of {node}");
    auth.commit_revoked(tx, vec![revoked], Vec::new(), now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// On its own socket connection, not by a token.
fn check_join(caller: &Caller) -> Result<(), Error> {
    let service = caller.uid.and_then(Service::of_uid);
    let is_join = service.is_some_and(|it| it.name() == JOIN) && caller.token == Err(TokenError::Missing);
    if is_join { Ok(()) } else { Err(Error::NotJoin) }
}

/// Puts an end to tokens: to one by its `jti`, to a log-in by its `sid`, to everything of someone.
pub(super) async fn create_revocation(
    State(auth): State<Auth>,
    caller: Caller,
    Json(what): Json<RevocationRequest>,
) -> Result<StatusCode, Error> {
    let now = clock();
    let revoked = match what {
        RevocationRequest::Token(id) => Revoked::Token { id },
        RevocationRequest::Session(id) => Revoked::Session { id },
        RevocationRequest::Subject(id) => Revoked::Subject { id, before: now.unix_timestamp() },
    };
    let mut tx = auth.database.begin().await?;
    match &revoked {
        Revoked::Subject { id, .. } => crate::store::delete_account_sessions(&mut *tx, id).await?,
        Revoked::Session { id } => {
            if let Ok(id) = id.parse() {
                crate::store::delete_session(&mut *tx, id).await?;
            }
        }
        Revoked::Token { .. } => {}
    }
    tracing::info!("{} revoked {}", caller.subject, crate::store::revoked_id(&revoked));
    auth.commit_revoked(tx, vec![revoked], Vec::new(), now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which tokens end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RevocationRequest {
    /// The one of this `jti`.
    Token(String),
    /// All of a log-in, by their `sid`.
    Session(String),
    /// All of someone, given up to now.
    Subject(String),
}

pub(super) async fn list_keys(State(auth): State<Auth>) -> Json<Value> {
    Json(json!(auth.keys.list(clock())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateRequest {
    /// The old keys are thrown away now, and every token ends.
    #[serde(default)]
    at_once: bool,
}

pub(super) async fn rotate_keys(
    State(auth): State<Auth>,
    caller: Caller,
    Json(request): Json<RotateRequest>,
) -> Result<Response, Error> {
    let (now, how) = (clock(), if request.at_once { Rotate::AtOnce } else { Rotate::Next });
    tracing::info!("{} rotates the signing keys, {how:?}", caller.subject);
    match auth.keys.rotate(&auth.database, now, how).await {
        Ok(()) => Ok(Json(json!(auth.keys.list(now))).into_response()),
        Err(error) => match error.downcast::<web::Unavailable>() {
            Ok(unavailable) => Err(unavailable.into()),
            Err(error) => Err(Error::Keys(format!("{error:#}"))),
        },
    }
}
