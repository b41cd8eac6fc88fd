//! Routes and handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::Context;
use domain::inventory::Inventory;
use serde_json::json;
use time::OffsetDateTime;
use web::mirror::Mirror;
use web::{Database, Json};

use crate::wire::Event;

/// What every handler works with. Clones share it.
#[derive(Clone)]
pub struct Timeline(pub(crate) Arc<Inner>);

/// What clones share.
pub struct Inner {
    pub(crate) context: Context,
    pub(crate) inventory: Mirror<Inventory>,
    pub(crate) database: Database,
}

impl Timeline {
    pub(crate) fn new(context: Context, inventory: Mirror<Inventory>, database: Database) -> Self {
        Self(Arc::new(Inner { context, inventory, database }))
    }

    /// Takes a step.
    pub(crate) fn take(&self, event: Event, now: OffsetDateTime) {
        tracing::debug!(at = %now, "{} {}", event.stage, event.detail);
    }
}

/// Every path of the service.
pub fn router(timeline: Timeline) -> Router {
    Router::new().route("/readyz", get(show_readiness)).with_state(timeline)
}

async fn show_readiness(State(timeline): State<Timeline>) -> Response {
    let inventory = timeline.inventory.freshness().to_string();
    let database =
        if timeline.database.pool().is_err() || timeline.database.is_lost() { "empty" } else { "live" };
    Json(json!({"ready": true, "inventory": inventory, "database": database})).into_response()
}
