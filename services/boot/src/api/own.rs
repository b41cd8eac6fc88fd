//! Paths of our own: what a node would boot and why, and from what is answered.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use web::mirror::Freshness;
use web::{Caller, Json, Path};

use super::Boot;
use super::script::{answer, origin};
use crate::client::Script;
use crate::model::{Asked, node_mac, node_of};

/// The script of a MAC address, an xname or a name, as the machine gets it. Not in the history, and no event.
pub(super) async fn show_script(
    State(boot): State<Boot>,
    caller: Caller,
    Path(word): Path<String>,
    headers: HeaderMap,
) -> Json<Script> {
    let asked = if domain::MacAddr::parse_bare(&word).is_ok() { Asked::Mac(word) } else { Asked::Name(word) };
    let pattern = &boot.config.node_name;
    // A node asks by its MAC address.
    let mac = boot.inventory.read(|it| node_of(it, &asked, pattern).and_then(|node| node_mac(it, node)));
    let asked = match (asked, mac) {
        (Asked::Name(_), Some(mac)) => Asked::Mac(mac.to_string()),
        (asked, _) => asked,
    };
    let answer = answer(&boot, &asked, None);
    let (script, source) = answer.render(None, 0, &origin(&boot.config, &caller, &headers));
    Json(Script { node: answer.node.map(|it| it.id), script, source })
}

/// 200 if scripts can be rendered, from whatever copy; the body says which.
pub(super) async fn show_readiness(State(boot): State<Boot>) -> Response {
    let word = |it| match it {
        Freshness::Empty => "empty",
        Freshness::LastGood => "last-good",
        Freshness::Live => "live",
    };
    let (inventory, parameters) = (boot.inventory.freshness(), boot.parameters.freshness());
    let ready = inventory != Freshness::Empty && parameters != Freshness::Empty;
    let database = boot.database.pool().is_ok() && !boot.database.is_lost();
    let body = json!({"ready": ready, "inventory": word(inventory), "parameters": word(parameters),
        "database": if database { "connected" } else { "lost" }});
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
