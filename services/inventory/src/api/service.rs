//! /service, /readyz, and the collections of the SMD API that are empty here (recording `smd-service`).

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::XnameKind;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use web::mirror::Freshness;
use web::{Json, Path, Problem, scoped};

use super::{App, READ, path};
use crate::error::Error;
use crate::model::interface::stamp;
use crate::model::words::{self, Words};

pub(super) fn routes() -> Router<App> {
    let empty = |body: Value| path("GET", scoped(get(async move || Json(body.clone())), READ));
    Router::new()
        .route("/readyz", path("GET", get(show_readiness)))
        .route("/hsm/v2/service/ready", path("GET", get(show_health)))
        .route("/hsm/v2/service/liveness", path("GET", get(async || StatusCode::NO_CONTENT)))
        .route("/hsm/v2/service/values", path("GET", get(list_values)))
        .route("/hsm/v2/service/values/{name}", path("GET", get(show_values)))
        .route("/hsm/v2/Inventory/ServiceEndpoints", empty(json!({"ServiceEndpoints": []})))
        .route("/hsm/v2/Inventory/Hardware", empty(json!([])))
        .route("/hsm/v2/Inventory/HardwareByFRU", empty(json!([])))
        .route("/hsm/v2/Inventory/DiscoveryStatus", path("GET", scoped(get(list_discoveries), READ)))
        .route("/hsm/v2/Subscriptions/SCN", empty(json!({"SubscriptionList": null})))
        .route("/hsm/v2/sysinfo/powermaps", empty(json!([])))
        .route("/hsm/v2/Defaults/NodeMaps", empty(json!({"NodeMaps": []})))
        .route("/hsm/v2/locks/status", path("GET", scoped(get(show_locks), READ)))
}

/// From what this service answers: its database as of now, or its last good copy.
async fn show_readiness(State(app): State<App>) -> Response {
    let (catalog, database) = (&app.store.catalog, &app.store.database);
    let (answers, status) = match catalog.freshness() {
        Freshness::Live => ("live", StatusCode::OK),
        Freshness::LastGood => ("last-good", StatusCode::OK),
        Freshness::Empty => ("nothing", StatusCode::SERVICE_UNAVAILABLE),
    };
    let state = match (database.pool().is_ok(), database.is_lost()) {
        (_, true) => "lost",
        (true, false) => "migrated",
        (false, false) => "not migrated yet",
    };
    (status, Json(json!({"answers_from": answers, "seq": catalog.seq(), "database": state}))).into_response()
}

async fn show_health(State(app): State<App>) -> Response {
    if app.store.catalog.freshness() == Freshness::Live && !app.store.database.is_lost() {
        return Json(json!({"code": 0, "message": "HSM is healthy"})).into_response();
    }
    Problem::unavailable("the database cannot be reached; reads are answered from memory").into_response()
}

fn values_of(words: &Words) -> (String, Value) {
    (words.title.to_owned(), words.list().collect())
}

fn types() -> (String, Value) {
    ("Type".to_owned(), XnameKind::all().chain(words::MORE_TYPES).collect())
}

async fn list_values() -> Response {
    let tables =
        [words::ARCH, words::CLASS, words::FLAG, words::NET_TYPE, words::ROLE, words::SUB_ROLE, words::STATE];
    let mut all: Map<String, Value> = tables.iter().map(values_of).collect();
    all.extend([types()]);
    Json(all).into_response()
}

async fn show_values(Path(name): Path<String>) -> Response {
    let (title, list) = match name.as_str() {
        "arch" => values_of(&words::ARCH),
        "class" => values_of(&words::CLASS),
        "flag" => values_of(&words::FLAG),
        "nettype" => values_of(&words::NET_TYPE),
        "role" => values_of(&words::ROLE),
        "subrole" => values_of(&words::SUB_ROLE),
        "state" => values_of(&words::STATE),
        "type" => types(),
        _ => return (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    };
    Json(json!({title: list})).into_response()
}

async fn list_discoveries() -> Response {
    let now = stamp(OffsetDateTime::now_utc());
    Json(json!([{"ID": 0, "Status": "NotStarted", "LastUpdateTime": now, "Details": {}}])).into_response()
}

/// Nothing can be locked yet, so that no component has a lock (`smd-service-015`).
async fn show_locks() -> Error {
    Error::bad("Component not found")
}
