//! Routes and handlers: OpenCHAMI remote-console's paths, and the search of the logs.

mod attach;
mod search;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::{Scope, Service};
use tokio::sync::Semaphore;
use web::mirror::Mirror;
use web::{Json, scoped};

use crate::hub::Hub;
use crate::nodes::Nodes;

/// Searches at once: each reads as fast as the disk does.
const SEARCHES_MAX: usize = 2;

#[derive(Clone)]
struct Floor {
    mirror: Mirror<Nodes>,
    hub: Arc<Hub>,
    searches: Arc<Semaphore>,
}

pub(crate) fn router(mirror: Mirror<Nodes>, hub: Arc<Hub>) -> Router {
    let searches = Arc::new(Semaphore::new(SEARCHES_MAX));
    Router::new()
        .route("/remote-console/consoles", scoped(get(list_consoles), Scope::Read(Service::Console)))
        .route("/remote-console/consoles/{node}", scoped(get(attach::attach), Scope::ConsoleAttach))
        .route("/remote-console/health", get(show_health))
        .route("/remote-console/liveness", get(async || StatusCode::NO_CONTENT))
        .route("/remote-console/readiness", get(async || StatusCode::NO_CONTENT))
        .route("/pilothouse/v1/search", scoped(post(search::search), Scope::ConsoleAttach))
        .route("/readyz", get(show_readiness))
        .with_state(Floor { mirror, hub, searches })
}

async fn show_readiness(State(floor): State<Floor>) -> Response {
    let (consoles, connected) = floor.hub.count();
    let from = floor.mirror.freshness().to_string();
    let body = serde_json::json!({
        "ready": true, "inventory": from, "consoles": consoles, "connected": connected
    });
    Json(body).into_response()
}

/// As OpenCHAMI's remote-console has it, whose number is a text.
async fn show_health(State(floor): State<Floor>) -> Response {
    let (consoles, connected) = floor.hub.count();
    let body = serde_json::json!({
        "consoles": consoles.to_string(),
        "hardwareupdate": floor.mirror.freshness().to_string(),
        "connected": connected.to_string(),
    });
    Json(body).into_response()
}

async fn list_consoles(State(floor): State<Floor>) -> Response {
    Json(serde_json::json!({ "consoles": floor.hub.list() })).into_response()
}
