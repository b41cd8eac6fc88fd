//! What is no ACME: the head's certificate, roots, revocation lists, a site's own PKI.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{Scope, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use web::{Caller, Json, Path, TokenError};

use crate::api::Ca;
use crate::authority::Revoked;
use crate::error::Error;
use crate::store;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadRequest {
    csr_pem: String,
}

/// The head's certificate, with the intermediate behind it.
#[derive(Debug, Serialize)]
pub(super) struct HeadAnswer {
    chain_pem: String,
    not_before: String,
    not_after: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    chain_pem: String,
    /// Do not wait until clients know the site's root.
    #[serde(default)]
    at_once: bool,
}

pub(super) async fn create_head_certificate(
    State(ca): State<Ca>,
    caller: Caller,
    Json(request): Json<HeadRequest>,
) -> Result<Json<HeadAnswer>, Error> {
    if !is_gateway(&caller) {
        return Err(Error::Stranger);
    }
    let issued = ca.authorities.issue(&request.csr_pem, OffsetDateTime::now_utc(), ca.leaf_life)?;
    let (not_before, not_after) = (show(issued.validity.not_before), show(issued.validity.not_after));
    let names = ca.authorities.policy().names();
    daemon::event!(
        domain::event::CERTIFICATE_ISSUED,
        "issued the head's certificate for {names}, good until {not_after}"
    );
    Ok(Json(HeadAnswer { chain_pem: issued.chain_pem, not_before, not_after }))
}

/// The gateway's process speaking for itself. A request it passes on has its uid too, but a forwarded address
/// or a token, and with those not the gateway's own rights.
fn is_gateway(caller: &Caller) -> bool {
    caller.uid == Some(Service::Gateway.uid())
        && caller.token == Err(TokenError::Missing)
        && caller.scopes.contains(&Scope::Write(Service::Ca))
}

pub(super) async fn show_roots(State(ca): State<Ca>) -> Result<Response, Error> {
    // Those of this moment: the clock may have jumped.
    let authority = ca.authorities.at(OffsetDateTime::now_utc())?;
    let kind = HeaderValue::from_static("application/x-pem-file");
    Ok(([(header::CONTENT_TYPE, kind)], authority.roots_pem.clone()).into_response())
}

/// `/crl/<issuer>.crl`
pub(super) async fn show_list(State(ca): State<Ca>, Path(name): Path<String>) -> Result<Response, Error> {
    let name = name.strip_suffix(".crl").ok_or(Error::NoList)?;
    let issuer = ca.authorities.find_issuer(name).ok_or(Error::NoList)?;
    let now = OffsetDateTime::now_utc();
    let rows = store::list_revoked(ca.acme.database.pool()?, &issuer, now).await?;
    let revoked: Vec<_> = rows
        .into_iter()
        .map(|(serial, at, reason)| Revoked {
            serial: hex::decode(serial).unwrap_or_default(),
            at,
            reason: reason.and_then(|it| u8::try_from(it).ok()).unwrap_or_default(),
        })
        .collect();
    let list = ca.authorities.crl(&issuer, &revoked, now).map_err(|it| Error::Authority(it.into()))?;
    let kind = HeaderValue::from_static("application/pkix-crl");
    Ok(([(header::CONTENT_TYPE, kind)], list).into_response())
}

/// A new key for an intermediate under the site's own root; the request goes to the site's PKI.
pub(super) async fn create_request(State(ca): State<Ca>) -> Result<Json<Value>, Error> {
    let der = ca.authorities.request_site(&ca.acme.database, OffsetDateTime::now_utc()).await?;
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|it| text.get(it..text.len().min(it + 64))).collect();
    let kind = "CERTIFICATE REQUEST";
    Ok(Json(json!({
        "csr_pem": format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n")),
        "name_constraints": ca.authorities.policy().constraints(),
    })))
}

pub(super) async fn install_chain(
    State(ca): State<Ca>,
    Json(chain): Json<Chain>,
) -> Result<Json<Value>, Error> {
    let now = OffsetDateTime::now_utc();
    let from = ca.authorities.install_site(&ca.acme.database, &chain.chain_pem, chain.at_once, now).await?;
    tracing::info!("the site's intermediate is taken, and used from {}", show(from));
    Ok(Json(json!({"used_from": show(from), "at_once": from <= now})))
}

pub(super) async fn show_readiness(State(ca): State<Ca>) -> Result<Json<Value>, Error> {
    ca.authorities.current().ok_or(Error::NoAuthority)?;
    Ok(Json(json!({"authority": "in memory"})))
}

fn show(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_default()
}
