//! Routes and handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::{NODES_MAX, Scope, Service};
use web::{Caller, Json, Problem, scoped};

use crate::client::{Request, Results};
use crate::command::Switchboard;

pub(crate) fn router(board: Arc<Switchboard>) -> Router {
    Router::new()
        .route("/pilothouse/v1/power", scoped(post(change_power), Scope::PowerControl))
        .route("/pilothouse/v1/power-status", scoped(post(show_power), Scope::Read(Service::Power)))
        .route("/readyz", get(show_readiness))
        .with_state(board)
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
