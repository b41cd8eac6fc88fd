//! The routes of ca.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::{Scope, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use web::{Caller, Json, TokenError};

use crate::authority::Authorities;
use crate::error::Error;

/// What the routes work with.
#[derive(Clone)]
pub struct Ca {
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) leaf_life: Duration,
}

/// Every route. The root certificate is open to all: whoever verifies us needs it first.
pub fn router(ca: Ca) -> Router {
    Router::new()
        .route("/pilothouse/v1/head-certificate", post(create_head_certificate))
        .route("/pilothouse/v1/root.pem", get(show_root))
        .route("/root.pem", get(show_root))
        .route("/roots.pem", get(show_root))
        .route("/readyz", get(show_readiness))
        .with_state(ca)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadRequest {
    csr_pem: String,
}

/// The head's certificate, with the intermediate behind it.
#[derive(Debug, Serialize)]
struct HeadAnswer {
    chain_pem: String,
    not_before: String,
    not_after: String,
}

async fn create_head_certificate(
    State(ca): State<Ca>,
    caller: Caller,
    Json(request): Json<HeadRequest>,
) -> Result<Json<HeadAnswer>, Error> {
    if !is_gateway(&caller) {
        return Err(Error::Stranger);
    }
    let issued = ca.authorities.issue(&request.csr_pem, OffsetDateTime::now_utc(), ca.leaf_life)?;
    let show = |it: OffsetDateTime| it.format(&Rfc3339).unwrap_or_default();
    let (not_before, not_after) = (show(issued.validity.not_before), show(issued.validity.not_after));
    let names = ca.authorities.names();
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

async fn show_root(State(ca): State<Ca>) -> Result<Response, Error> {
    let authority = ca.authorities.current().ok_or(Error::NoAuthority)?;
    let kind = HeaderValue::from_static("application/x-pem-file");
    Ok(([(header::CONTENT_TYPE, kind)], authority.root_pem.clone()).into_response())
}

async fn show_readiness(State(ca): State<Ca>) -> Result<Json<Value>, Error> {
    ca.authorities.current().ok_or(Error::NoAuthority)?;
    Ok(Json(json!({"authority": "in memory"})))
}
