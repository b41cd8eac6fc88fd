//! Paths of our own: what a node would be given and why, and from what is answered.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use web::mirror::Freshness;
use web::{Json, Path, Problem};

use super::CloudInit;
use crate::client::Rendered;
use crate::model::{Store, subject_of};
use crate::wire::{to_yaml, user_data};

/// What a node is given by its address, or a group by its label, from the open store.
pub(super) async fn render(State(service): State<CloudInit>, Path(word): Path<String>) -> Response {
    let subject = service.inventory.read(|it| subject_of(it, &word, &service.config.host_pattern));
    let merged = service.entries.read(|it| it.merge(Store::Open, &subject));
    let merged = match (&subject.node, merged) {
        (Some(node), merged) => merged.unwrap_or_default().complete(node),
        (None, Some(merged)) => merged,
        (None, None) => {
            let word: String = word.chars().take(64).collect();
            let detail =
                format!("{word:?} is no node of the inventory and no entry; see pilotctl nodes list");
            return Problem::own(StatusCode::NOT_FOUND, "unknown-node", detail).into_response();
        }
    };
    Json(Rendered {
        node: subject.node.map(|it| it.xname),
        meta_data: to_yaml(&merged.metadata),
        user_data: user_data(&merged.userdata),
        vendor_data: to_yaml(&merged.vendordata),
        sources: merged.sources,
    })
    .into_response()
}

/// 200 if nodes can be answered, from whatever copy; the body says which.
pub(super) async fn show_readiness(State(service): State<CloudInit>) -> Response {
    let word = |it| match it {
        Freshness::Empty => "empty",
        Freshness::LastGood => "last-good",
        Freshness::Live => "live",
    };
    let (inventory, entries) = (service.inventory.freshness(), service.entries.freshness());
    let ready = inventory != Freshness::Empty && entries != Freshness::Empty;
    let database = service.database.pool().is_ok() && !service.database.is_lost();
    let body = json!({"ready": ready, "inventory": word(inventory), "entries": word(entries),
        "database": if database { "connected" } else { "lost" }});
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
