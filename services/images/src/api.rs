//! Routes of the UNIX socket; nodes fetch from TCP, which [`crate::answer`] serves.

mod blobs;
mod files;
mod images;
mod pins;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use domain::{Scope, Service};
use web::{Json, feed, scoped};

use crate::floor::Floor;

type Shared = State<Arc<Floor>>;

pub(crate) fn router(floor: Arc<Floor>) -> Router {
    let (read, write) = (Scope::Read(Service::Images), Scope::Write(Service::Images));
    let feed = feed::routes(Service::Images, floor.database.clone(), &floor.catalog);
    Router::new()
        .route("/pilothouse/v1/images", scoped(get(images::list), read))
        .route("/pilothouse/v1/images", scoped(post(images::publish).delete(images::remove), write))
        .route("/pilothouse/v1/images/resolve", scoped(get(images::resolve), read))
        .route("/pilothouse/v1/images/verify", scoped(post(verify::verify), write))
        .route("/pilothouse/v1/images/gc", scoped(post(images::clean_up), write))
        .route("/pilothouse/v1/blobs/{digest}", scoped(get(blobs::show), read))
        .route("/pilothouse/v1/uploads", scoped(post(blobs::begin), write))
        .route(
            "/pilothouse/v1/uploads/{id}",
            scoped(put(blobs::append).post(blobs::finish).delete(blobs::cancel).get(blobs::progress), write),
        )
        .route("/pins", scoped(get(pins::list), read))
        .route("/pins/{service}/{id}", scoped(put(pins::create).delete(pins::remove), write))
        .route("/readyz", get(show_readiness))
        .fallback(get(files::show))
        .with_state(floor)
        .merge(feed)
}

async fn show_readiness(State(floor): Shared) -> Response {
    let database = if floor.database.is_lost() { "lost" } else { "there" };
    let (inventory, images) =
        (floor.inventory.freshness().to_string(), floor.catalog.freshness().to_string());
    Json(serde_json::json!({
        "ready": true, "inventory": inventory, "images": images, "database": database,
    }))
    .into_response()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
