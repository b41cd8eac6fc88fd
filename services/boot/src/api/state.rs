//! What BSS tells about itself: hosts, state, history, status; and the end of a node's cloud-init.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use daemon::BootEvent;
use domain::inventory::{Component, Inventory};
use domain::{BootStage, Nid, Service, Xname};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::mirror::Freshness;
use web::{Caller, Problem, Query};

use super::Boot;
use super::reply::{Body, JSON, json, status};
use crate::error::Error;
use crate::model::{Asked, Selected, node_of};
use crate::wire::{BodyError, Entry, Host, ShownEntry, parse_object};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichHost {
    /// A MAC address; the first of the three that is there counts
    mac: Option<String>,
    /// An xname or a node's name
    name: Option<String>,
    /// A node's number
    nid: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichAccess {
    /// An xname
    name: Option<String>,
    /// `bootscript`; others have no accesses
    endpoint: Option<String>,
}

/// An access of a node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Access {
    /// The node's xname
    name: String,
    endpoint: &'static str,
    /// When, in seconds since 1970
    last_epoch: i64,
}

/// Everything that scripts are made from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Dump {
    components: Vec<Host>,
    params: Vec<ShownEntry>,
}

/// How the service does.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    bss_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bss_version: Option<&'static str>,
    /// What is known of the inventory: `connected`, `last good copy`, `error`
    #[serde(skip_serializing_if = "Option::is_none")]
    bss_status_hsm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bss_storage_backend: Option<Storage>,
}

/// Where parameters are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Storage {
    name: &'static str,
    /// `connected` or `error`
    status: &'static str,
}

fn shown(inventory: &Inventory, node: &Component) -> Host {
    let macs: Vec<_> = inventory.interfaces_of(&node.id).map(|it| it.mac).collect();
    Host::of(node, &macs, inventory.controller_of(&node.id).is_some())
}

fn hosts(inventory: &Inventory) -> Vec<Host> {
    inventory.components().filter(|it| it.id.is_node()).map(|it| shown(inventory, it)).collect()
}

#[utoipa::path(
    get, path = "/boot/v1/hosts", params(WhichHost),
    description = "The nodes of the inventory as BSS knows them.",
    responses(
        (status = 200, body = Vec<Host>, content_type = "application/json; charset=UTF-8"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "No such number"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such node"),
    )
)]
pub(super) async fn list_hosts(
    State(boot): State<Boot>,
    Query(which): Query<WhichHost>,
) -> Result<Response, Error> {
    let pattern = &boot.config.node_name;
    let asked = match (which.mac, which.name, which.nid) {
        (Some(mac), ..) => Some((Asked::Mac(mac), "MAC address")),
        (None, Some(name), _) => Some((Asked::Name(name), "host")),
        (None, None, Some(nid)) => {
            let parsed = nid.parse::<Nid>().map_err(|_| Error::BadNid(nid))?;
            Some((Asked::Nid(parsed), "NID"))
        }
        (None, None, None) => None,
    };
    let found = boot.inventory.read(|inventory| match &asked {
        None => Some(hosts(inventory)),
        Some((asked, _)) => node_of(inventory, asked, pattern).map(|it| vec![shown(inventory, it)]),
    });
    match (found, asked) {
        (Some(hosts), _) => Ok(json(&hosts)),
        (None, asked) => {
            let (value, kind) = asked.map_or((String::new(), "host"), |(it, kind)| (it.value(), kind));
            Err(Error::UnknownHost(kind, value.chars().take(64).collect()))
        }
    }
}

#[utoipa::path(
    post, path = "/boot/v1/hosts",
    description = "Made BSS read SMD again; here the Mirror is always up to date.",
    responses((status = 204, description = "Done"))
)]
pub(super) async fn read_hosts_again() -> Response {
    (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-cache")], [(header::CONTENT_TYPE, JSON)])
        .into_response()
}

#[utoipa::path(
    get, path = "/boot/v1/dumpstate", description = "Nodes and boot parameters.",
    responses((status = 200, body = Dump, content_type = "application/json; charset=UTF-8"))
)]
pub(super) async fn dump(State(boot): State<Boot>) -> Response {
    let components = boot.inventory.read(hosts);
    let params = boot.parameters.read(|it| {
        let entries = it.entries(Selected::Machines);
        entries.iter().map(|(targets, settings)| Entry::of(targets, settings).shown()).collect()
    });
    json(&Dump { components, params })
}

#[utoipa::path(
    get, path = "/boot/v1/endpoint-history", params(WhichAccess),
    description = "Every script that booted a known node, the oldest first; the last 50,000.",
    responses((status = 200, body = Vec<Access>, content_type = "application/json; charset=UTF-8"))
)]
pub(super) async fn list_history(State(boot): State<Boot>, Query(which): Query<WhichAccess>) -> Response {
    let scripts = which.endpoint.as_deref().is_none_or(|it| it == "bootscript");
    let wanted = |node: &Xname| scripts && which.name.as_deref().is_none_or(|it| it == node.as_str());
    json(&boot.seen.accesses(|node, last_epoch| {
        wanted(node).then(|| Access { name: node.to_string(), endpoint: "bootscript", last_epoch })
    }))
}

impl Boot {
    fn inventory_status(&self) -> &'static str {
        match self.inventory.freshness() {
            Freshness::Live => "connected",
            Freshness::LastGood => "last good copy",
            Freshness::Empty => "error",
        }
    }

    fn storage(&self) -> Storage {
        let there = self.database.pool().is_ok() && !self.database.is_lost();
        Storage { name: "postgres", status: if there { "connected" } else { "error" } }
    }
}

#[utoipa::path(
    get, path = "/boot/v1/service/status", description = "Whether the service runs.",
    responses((status = 200, body = Status, content_type = "text/plain; charset=utf-8"))
)]
pub(super) async fn show_status() -> Response {
    status(&Status { bss_status: Some("running"), ..Status::default() })
}

#[utoipa::path(
    get, path = "/boot/v1/service/version", description = "Its version.",
    responses((status = 200, body = Status, content_type = "text/plain; charset=utf-8"))
)]
pub(super) async fn show_version() -> Response {
    status(&Status { bss_version: Some(env!("CARGO_PKG_VERSION")), ..Status::default() })
}

#[utoipa::path(
    get, path = "/boot/v1/service/hsm", description = "Whether it hears from the inventory.",
    responses((status = 200, body = Status, content_type = "text/plain; charset=utf-8"))
)]
pub(super) async fn show_inventory(State(boot): State<Boot>) -> Response {
    status(&Status { bss_status_hsm: Some(boot.inventory_status()), ..Status::default() })
}

#[utoipa::path(
    get, path = "/boot/v1/service/storage/status", description = "Whether it reaches its database.",
    responses((status = 200, body = Status, content_type = "text/plain; charset=utf-8"))
)]
pub(super) async fn show_storage(State(boot): State<Boot>) -> Response {
    status(&Status { bss_storage_backend: Some(boot.storage()), ..Status::default() })
}

#[utoipa::path(
    get, path = "/boot/v1/service/status/all", description = "All of that.",
    responses((status = 200, body = Status, content_type = "text/plain; charset=utf-8"))
)]
pub(super) async fn show_all(State(boot): State<Boot>) -> Response {
    status(&Status {
        bss_status: Some("running"),
        bss_status_hsm: Some(boot.inventory_status()),
        bss_storage_backend: Some(boot.storage()),
        bss_version: None,
    })
}

/// What cloud-init's phone_home sends.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it is documented, and not kept")]
pub(super) struct PhoneHome {
    pub_key_rsa: Option<String>,
    pub_key_ecdsa: Option<String>,
    pub_key_ed25519: Option<String>,
    instance_id: Option<String>,
    hostname: Option<String>,
    fqdn: Option<String>,
}

/// cloud-init's phone_home. JSON is answered as BSS does, which cannot store it (recording `bss-script-045`);
/// the form that cloud-init itself sends is answered with success. Both are the event.
#[utoipa::path(
    post, path = "/phone-home",
    description = "What cloud-init tells when it has finished. JSON of a known node is answered with 404 as BSS does.",
    request_body(content(
        (PhoneHome = "application/x-www-form-urlencoded"),
        (PhoneHome = "application/json"),
    )),
    responses(
        (status = 200, description = "Noted; the node sent a form"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "No JSON object"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No node has this address, or the node sent JSON"),
    )
)]
pub(super) async fn phone_home(
    State(boot): State<Boot>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let form = kind.starts_with("application/x-www-form-urlencoded");
    if !form {
        parse_object(&body).map_err(|_| BodyError::Plain)?;
    }
    let ip = caller.address.ok_or(Error::UnknownAddress)?;
    let node = boot.inventory.read(|it| {
        let interface = it.interface_by_ip(ip)?;
        interface.component.clone().map(|node| (node, interface.mac))
    });
    let (node, mac) = node.ok_or(Error::UnknownAddress)?;
    boot.seen.note_life(&node, super::script::now());
    let event = BootEvent::new(Service::Boot, BootStage::PhoneHome, format!("{node} finished cloud-init"));
    event.node(Some(&node)).mac(Some(mac)).ip(ip).send();
    boot.report(&node, ip, join::client::host_keys(form, &body)).await;
    if form { Ok(StatusCode::OK.into_response()) } else { Err(Error::NoChange) }
}
