//! Paths of our own: what a node would boot and why, every entry, and from what is answered.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::mirror::Freshness;
use web::{Caller, Json, Path, Problem, Query};

use super::Boot;
use super::parameters::apply;
use super::script::{Answer, origin};
use crate::client::{Considered, ImageWish, Script, SeenNodes};
use crate::error::Error;
use crate::model::{Asked, Found, Outcome, Selected, explain, node_mac, node_of};
use crate::wire::{Entry, Origin, parse_write};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct As {
    /// As a machine that has said this architecture; else the inventory's word counts
    arch: Option<String>,
}

/// From what is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// `empty`, `last-good`, `live`
    inventory: &'static str,
    /// The same
    parameters: &'static str,
    /// `connected`, `lost`
    database: &'static str,
}

/// The script of a MAC address, an xname or a name, as the machine gets it. Not in the history, and no event.
#[utoipa::path(
    get, path = "/pilothouse/v1/script/{word}", params(
        ("word" = String, Path, description = "A MAC address, an xname or a node's name"),
        As,
    ),
    description = "What a machine would boot now, which entry says so, and which others were considered.",
    responses(
        (status = 200, body = Script, content_type = "application/json"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "No word"),
    )
)]
pub(super) async fn show_script(
    State(boot): State<Boot>,
    caller: Caller,
    Path(word): Path<String>,
    Query(As { arch }): Query<As>,
    headers: HeaderMap,
) -> Json<Script> {
    let asked = Asked::of_word(&word);
    let pattern = &boot.config.node_name;
    let nonce = boot.nonce_nic(&asked);
    let origin = Origin { nonce, ..origin(&boot.config, &caller, &headers) };
    let arch = arch.as_deref();
    Json(boot.inventory.read(|inventory| {
        // A node asks by its MAC address.
        let mac = node_of(inventory, &asked, pattern).and_then(|it| node_mac(inventory, it));
        let asked = match (asked, mac) {
            (Asked::Name(_), Some(mac)) => Asked::Mac(mac.to_string()),
            (asked, _) => asked,
        };
        boot.parameters.read(|parameters| {
            let known = boot.known(inventory, parameters);
            let answer = Answer::find(inventory, known, &asked, arch, |id| boot.seen.is_spent(id));
            let used = match &answer.outcome {
                Outcome::Boot(found) | Outcome::Ask(found) => Some(found),
                Outcome::Wait => None,
            };
            let considered = explain(known, &asked, arch);
            let considered = considered.into_iter().map(|(target, source, settings)| Considered {
                used: used.is_some_and(|it| it.target == target && it.source == source),
                target: target.to_string(),
                source: source.to_string(),
                kernel: settings.map(|it| it.image(answer.architecture(arch)).kernel.to_owned()),
            });
            // Without an architecture the machine would only be asked for it.
            let boot = |it: &Found| answer.boot(it, arch, 0, &origin).0;
            Script {
                node: answer.node.map(|it| it.id.clone()),
                source: used.map_or_else(|| "none".to_owned(), |it| it.source.to_string()),
                target: used.map(|it| it.target.to_string()),
                script: used.map_or_else(|| answer.render(arch, 0, &origin).0, boot),
                image: used.map(|it| it.settings.reference().to_owned()).filter(|it| !it.is_empty()),
                considered: considered.collect(),
            }
        })
    }))
}

#[utoipa::path(
    get, path = "/pilothouse/v1/parameters",
    description = "Every entry, also those of groups, names and `Default`.",
    responses((status = 200, body = Vec<Entry>, content_type = "application/json"))
)]
pub(super) async fn list_parameters(State(boot): State<Boot>) -> Json<Vec<Entry>> {
    Json(boot.parameters.read(|it| {
        let entries = it.entries(Selected::All);
        entries.iter().map(|(targets, settings)| Entry::of(targets, settings)).collect()
    }))
}

#[utoipa::path(
    put, path = "/pilothouse/v1/parameters",
    description = "Has targets boot an image. The digests that the reference stands for now are what they boot until \
        they are set again; the image is kept from being removed as long.",
    request_body = ImageWish,
    responses(
        (status = 200, description = "Set"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "No target, or what iPXE would not take as it is meant"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such image"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Somebody locked a node that is named: who, since when and why"),
    )
)]
pub(super) async fn replace_image(
    State(boot): State<Boot>,
    Json(wish): Json<ImageWish>,
) -> Result<Response, Error> {
    let targets = serde_json::json!({"hosts": wish.hosts, "macs": wish.macs, "nids": wish.nids}).to_string();
    let targets = parse_write(targets.as_bytes(), false)?.targets;
    if targets.is_empty() {
        return Err(Error::NoTargets);
    }
    let image = boot.resolve(&wish.image).await?;
    let turn = boot.images_turn.lock().await;
    boot.pin(&image).await?;
    let params = wish.params.as_deref();
    let done = apply(&boot, targets, true, |old| image.settings(params, old)).await;
    drop(turn);
    boot.unpin_later();
    done
}

#[utoipa::path(
    get, path = "/pilothouse/v1/seen",
    description = "When each node last asked for its script or said that it is done, since the service was started.",
    responses((status = 200, body = SeenNodes, content_type = "application/json"))
)]
pub(super) async fn list_seen(State(boot): State<Boot>) -> Json<SeenNodes> {
    Json(SeenNodes { nodes: boot.seen.lives() })
}

/// 200 if scripts can be rendered, from whatever copy; the body says which.
#[utoipa::path(
    get, path = "/readyz", description = "Whether scripts can be rendered, and from which copies.",
    responses(
        (status = 200, body = Readiness, content_type = "application/json"),
        (status = 503, body = Readiness, content_type = "application/json", description = "Nothing was read yet"),
    )
)]
pub(super) async fn show_readiness(State(boot): State<Boot>) -> Response {
    let word = |it| match it {
        Freshness::Empty => "empty",
        Freshness::LastGood => "last-good",
        Freshness::Live => "live",
    };
    let (inventory, parameters) = (boot.inventory.freshness(), boot.parameters.freshness());
    let ready = inventory != Freshness::Empty && parameters != Freshness::Empty;
    let there = boot.database.pool().is_ok() && !boot.database.is_lost();
    let database = if there { "connected" } else { "lost" };
    let body = Readiness { ready, inventory: word(inventory), parameters: word(parameters), database };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
