//! Authorizations and their challenges (RFC 8555 section 7.5).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::Duration;
use web::Path;

use super::{AcmeProblem, Base, Signed, link, now, show_time};
use crate::api::Ca;
use crate::model::{AuthorizationStatus, Identifier};
use crate::probe::{Kind, Proof};
use crate::store::{self, Account, Authorization};

/// Who looks for a challenge and says nothing for so long has been stopped; then another looks.
const STALE: Duration = Duration::minutes(2);
/// How often a client is to ask meanwhile.
const RETRY_S: u32 = 1;

#[derive(Debug, Deserialize)]
struct Update {
    status: String,
}

pub(super) async fn show(
    State(ca): State<Ca>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    let db = ca.acme.database.pool()?;
    let mut authorization = own(&signed, store::find_authorization(db, &id).await?)?;
    if !signed.payload.is_empty() {
        let update: Update = signed.json()?;
        if update.status != "deactivated" {
            return Err(AcmeProblem::malformed("an authorization's status becomes deactivated, if at all"));
        }
        store::deactivate_authorization(db, &id).await?;
        authorization = own(&signed, store::find_authorization(db, &id).await?)?;
    } else if authorization.status == AuthorizationStatus::Processing
        && let Some(kind) = authorization.challenge.as_deref().and_then(Kind::parse)
    {
        // Whoever looked for it may be gone.
        look(&ca, signed.account()?, &authorization, kind).await?;
    }
    let body = show_authorization(&ca, &signed.base, &authorization);
    Ok((waiting(&authorization), web::Json(body)).into_response())
}

/// The authorization, if it is the signer's.
fn own(signed: &Signed, authorization: Option<Authorization>) -> Result<Authorization, AcmeProblem> {
    let authorization = authorization.ok_or_else(|| AcmeProblem::not_found("authorization"))?;
    let is_own = authorization.account == signed.account()?.id;
    is_own
        .then_some(authorization)
        .ok_or_else(|| AcmeProblem::unauthorized("this is another account's authorization"))
}

/// The client says that it is ready; or reads.
pub(super) async fn challenge(
    State(ca): State<Ca>,
    Path((id, kind)): Path<(String, String)>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    let db = ca.acme.database.pool()?;
    let mut authorization = own(&signed, store::find_authorization(db, &id).await?)?;
    let offered = offered(&ca, &authorization);
    let kind = Kind::parse(&kind).filter(|it| offered.contains(it));
    let kind = kind.ok_or_else(|| AcmeProblem::not_found("challenge"))?;
    if !signed.payload.is_empty() {
        signed.json::<Map<String, Value>>()?;
        if now() >= authorization.expires {
            return Err(AcmeProblem::malformed("the authorization ran out; order anew"));
        }
        look(&ca, signed.account()?, &authorization, kind).await?;
        authorization = own(&signed, store::find_authorization(db, &id).await?)?;
    }
    let mut headers = waiting(&authorization);
    link(&mut headers, &signed.base.url(&format!("authorization/{id}")), "up");
    Ok((headers, web::Json(show_challenge(&signed.base, &authorization, kind))).into_response())
}

fn waiting(authorization: &Authorization) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if matches!(authorization.status, AuthorizationStatus::Pending | AuthorizationStatus::Processing) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_S));
    }
    headers
}

/// Looks for a challenge beside this request, if nobody does.
async fn look(
    ca: &Ca,
    account: &Account,
    authorization: &Authorization,
    kind: Kind,
) -> Result<(), AcmeProblem> {
    let now_then = now();
    let db = ca.acme.database.pool()?;
    let started =
        store::start_authorization(db, &authorization.id, kind.word(), now_then, now_then - STALE).await?;
    if !started {
        return Ok(());
    }
    let identifier: Identifier = authorization.identifier.parse()?;
    let is_head = ca.authorities.policy().is_head(&identifier);
    let proof = Proof::new(identifier, is_head, &authorization.token, &account.thumbprint);
    let (ca, id) = (ca.clone(), authorization.id.clone());
    let looking = ca.acme.looking.clone();
    looking.spawn(async move {
        let found = tokio::select! {
            // It stays as it is, and who asks for it next starts anew.
            () = ca.acme.stop.cancelled() => return,
            found = ca.acme.probe.look(&proof, kind, ca.authorities.policy()) => found,
        };
        if let Err(error) = keep(&ca, &id, &proof, found).await {
            tracing::warn!("what was found of a challenge is not kept: {error}");
        }
    });
    Ok(())
}

async fn keep(ca: &Ca, id: &str, proof: &Proof, found: Result<(), AcmeProblem>) -> Result<(), AcmeProblem> {
    let problem = found.err().map(|it| {
        tracing::info!("no proof for {}: {it}", proof.identifier());
        it.json().to_string()
    });
    let db = ca.acme.database.pool()?;
    Ok(store::finish_authorization(db, id, problem.as_deref(), now()).await?)
}

/// The head's own names are proven at the gateway's port, where only tls-alpn-01 is answered.
fn offered(ca: &Ca, authorization: &Authorization) -> Vec<Kind> {
    let identifier = authorization.identifier.parse::<Identifier>();
    match identifier.map(|it| ca.authorities.policy().is_head(&it)) {
        Ok(false) => vec![Kind::Http, Kind::TlsAlpn],
        _ => vec![Kind::TlsAlpn],
    }
}

fn show_authorization(ca: &Ca, base: &Base, authorization: &Authorization) -> Value {
    // Once one was tried, it is the only one that counts.
    let tried = authorization.challenge.as_deref().and_then(Kind::parse);
    let kinds = tried.map_or_else(|| offered(ca, authorization), |it| vec![it]);
    let challenges: Vec<_> = kinds.into_iter().map(|it| show_challenge(base, authorization, it)).collect();
    json!({
        "status": authorization.status.shown(authorization.expires, now()),
        "expires": show_time(authorization.expires),
        "identifier": authorization.identifier.parse::<Identifier>().map(|it| it.json()).unwrap_or_default(),
        "challenges": challenges,
    })
}

fn show_challenge(base: &Base, authorization: &Authorization, kind: Kind) -> Value {
    let is_tried = authorization.challenge.as_deref() == Some(kind.word());
    let status = match authorization.status {
        AuthorizationStatus::Processing if is_tried => "processing",
        AuthorizationStatus::Valid if is_tried => "valid",
        AuthorizationStatus::Invalid if is_tried => "invalid",
        _ => "pending",
    };
    let mut body = json!({
        "type": kind.word(),
        "url": base.url(&format!("challenge/{}/{}", authorization.id, kind.word())),
        "status": status,
        "token": authorization.token,
    });
    if let (true, "valid", Some(at)) = (is_tried, status, authorization.tried) {
        body["validated"] = show_time(at).into();
    }
    let problem = authorization.problem.as_deref().and_then(|it| serde_json::from_str::<Value>(it).ok());
    if let (true, Some(problem)) = (is_tried, problem) {
        body["error"] = problem;
    }
    body
}
