//! Routes and handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::{NODES_MAX, Scope, Service};
use web::{Caller, Json, Problem, scoped};

use crate::client::{RecoveryRequest, Request, Results};
use crate::command::Switchboard;
use crate::recover::Recoverer;

pub(crate) fn router(board: Arc<Switchboard>, recoverer: Arc<Recoverer>) -> Router {
    let recover = scoped(post(begin_recovery), Scope::PowerControl)
        .merge(scoped(get(show_recovery), Scope::Read(Service::Power)));
    let recovery = Router::new().route("/pilothouse/v1/recover", recover).with_state(recoverer);
    Router::new()
        .route("/pilothouse/v1/power", scoped(post(change_power), Scope::PowerControl))
        .route("/pilothouse/v1/power-status", scoped(post(show_power), Scope::Read(Service::Power)))
        .route("/readyz", get(show_readiness))
        .with_state(board)
        .merge(recovery)
}

/// The last recovery, or null.
async fn show_recovery(Shared(recoverer): Shared<Arc<Recoverer>>) -> Response {
    Json(recoverer.show()).into_response()
}

async fn begin_recovery(
    Shared(recoverer): Shared<Arc<Recoverer>>,
    caller: Caller,
    Json(request): Json<RecoveryRequest>,
) -> Result<Response, Problem> {
    if request.nodes.len() > NODES_MAX || request.stage == Some(0) {
        return Err(bad_body(&format!("name at most {NODES_MAX} nodes, and a stage of 1 or more")));
    }
    let (dry, subject) = (request.dry, caller.subject);
    let begun = recoverer
        .begin(request)
        .map_err(|busy| Problem::own(StatusCode::CONFLICT, "busy", busy.to_string()))?;
    let what = if dry { "a look for" } else { "recovery of" };
    tracing::info!(pilothouse_audit = 1, "{what} nodes that have not booted asked by {subject}");
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

async fn show_readiness(Shared(board): Shared<Arc<Switchboard>>) -> Response {
    let nodes = board.mirror.read(|it| it.components().len());
    let from = board.mirror.freshness().to_string();
    Json(serde_json::json!({"ready": true, "inventory": from, "components": nodes})).into_response()
}

async fn show_power(
    Shared(board): Shared<Arc<Switchboard>>,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    if request.changes() {
        return Err(bad_body("power-status only looks; POST /pilothouse/v1/power changes"));
    }
    carry_out(board, request).await
}

async fn change_power(
    Shared(board): Shared<Arc<Switchboard>>,
    caller: Caller,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    if !request.changes() {
        return Err(bad_body("say what to do in `action` or `boot`; POST /pilothouse/v1/power-status looks"));
    }
    let what = request.action.map_or("boot device", |it| it.name());
    let (nodes, subject) = (request.nodes.len(), caller.subject);
    tracing::info!(pilothouse_audit = 1, "power {what} of {nodes} nodes asked by {subject}");
    carry_out(board, request).await
}

async fn carry_out(board: Arc<Switchboard>, request: Request) -> Result<Response, Problem> {
    if request.nodes.is_empty() || request.nodes.len() > NODES_MAX {
        return Err(bad_body(&format!("name 1 to {NODES_MAX} nodes in `nodes`")));
    }
    let results = board.carry_out(request).await.map_err(|it| Problem::internal(&it))?;
    Ok(Json(Results { results }).into_response())
}

fn bad_body(detail: &str) -> Problem {
    Problem::own(StatusCode::BAD_REQUEST, "bad-body", detail)
}
