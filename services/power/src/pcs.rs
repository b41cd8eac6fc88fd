//! OpenCHAMI's power-control: transitions, power status, power caps (`/transitions`, `/power-status`, `/power-cap`).
//!
//! What clients may ask for later is kept in memory, bounded, for a day: a transition that a restart of the service
//! broke off is gone, and whoever watches it is told 404 and looks at the power itself.

mod caps;
mod shelf;
mod status;
mod transitions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use domain::{NODES_MAX, Scope, Service};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;
use web::{Json, Problem, scoped};

use crate::command::Switchboard;
use caps::CapTask;
use shelf::Shelf;
use transitions::Transition;

/// What the handlers share.
pub(crate) struct Pcs {
    board: Arc<Switchboard>,
    transitions: Mutex<Shelf<Transition>>,
    caps: Mutex<Shelf<CapTask>>,
}

impl Pcs {
    pub(crate) fn new(board: Arc<Switchboard>) -> Arc<Self> {
        Arc::new(Self { board, transitions: Mutex::default(), caps: Mutex::default() })
    }

    fn transitions(&self) -> MutexGuard<'_, Shelf<Transition>> {
        self.transitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn caps(&self) -> MutexGuard<'_, Shelf<CapTask>> {
        self.caps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn router(pcs: Arc<Pcs>) -> Router {
    let (read, control) = (Scope::Read(Service::Power), Scope::PowerControl);
    let routes = Router::new()
        .route(
            "/transitions",
            scoped(get(transitions::list), read).merge(scoped(post(transitions::create), control)),
        )
        .route(
            "/transitions/{id}",
            scoped(get(transitions::show), read).merge(scoped(delete(transitions::abort), control)),
        )
        .route("/power-status", scoped(get(status::show).post(status::query), read))
        .route("/power-cap", scoped(get(caps::list), read).merge(scoped(patch(caps::change), control)))
        .route("/power-cap/snapshot", scoped(post(caps::snapshot), control))
        .route("/power-cap/{id}", scoped(get(caps::show), read))
        .with_state(pcs);
    let alive = || get(async || StatusCode::NO_CONTENT);
    let service =
        Router::new().route("/liveness", alive()).route("/readiness", alive()).route("/health", get(health));
    // Every path is there under its version, too.
    Router::new().merge(routes.clone()).merge(service.clone()).nest("/v1", routes.merge(service))
}

/// In the words of power-control, as `ochami pcs service status` shows them.
async fn health() -> Response {
    Json(json!({
        "KvStore": "connected, in memory",
        "DistributedLocking": "not needed, one instance",
        "StateManager": "connected, responsive",
        "Vault": "not needed, accounts are in the inventory",
        "TaskRunnerStatus": "running",
        "TaskRunnerMode": "local",
    }))
    .into_response()
}

/// RFC 3339.
fn written(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn full() -> Problem {
    Problem::unavailable("too many tasks are under way; ask again when some have ended")
}

/// The id of a path.
fn parse_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| bad(format!("{text:?} is no UUID")))
}

fn check_count(count: usize) -> Result<(), Problem> {
    match count {
        1..=NODES_MAX => Ok(()),
        _ => Err(bad(format!("name 1 to {NODES_MAX} xnames"))),
    }
}

/// What was made, and where it is.
fn created(path: &str, id: Uuid, body: serde_json::Value) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("../{path}/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// How many tasks are in which state.
fn counts<'a>(words: impl Iterator<Item = &'a str>) -> serde_json::Value {
    let (mut total, mut by) = (0, std::collections::HashMap::new());
    for word in words {
        total += 1;
        *by.entry(word).or_insert(0) += 1;
    }
    let count = |word: &str| by.get(word).copied().unwrap_or(0);
    json!({
        "total": total,
        "new": count("new"),
        "in-progress": count("in-progress"),
        "failed": count("failed"),
        "succeeded": count("succeeded"),
        "un-supported": count("unsupported"),
    })
}
