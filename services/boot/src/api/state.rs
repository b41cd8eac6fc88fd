//! What BSS tells about itself: hosts, state, history, status; and the end of a node's cloud-init.

use std::collections::{HashMap, VecDeque};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use daemon::BootEvent;
use domain::inventory::{Component, Inventory};
use domain::{BootStage, Nid, Service, Xname};
use serde::Deserialize;
use serde_json::{Value, json};
use web::mirror::Freshness;
use web::{Caller, Query};

use super::Boot;
use super::parameters::{JSON, json as answer_json};
use crate::error::Error;
use crate::model::{Asked, node_of};
use crate::wire::{BodyError, Entry, host, parse_object};

/// Accesses kept, of all nodes together: five boots of 10,000 nodes.
const HISTORY_MAX: usize = 50_000;
/// How often one stranger is logged.
const STRANGER_EVERY: Duration = Duration::from_secs(60);
/// Strangers remembered; more at once are a flood, and are not logged.
const STRANGERS_MAX: usize = 4096;

/// Every access of a known node that was given a script, the oldest first (recording `bss-script-036`).
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(Xname, i64)>);

impl History {
    pub(super) fn note(&mut self, node: &Xname, epoch: i64) {
        if self.0.len() >= HISTORY_MAX {
            self.0.pop_front();
        }
        self.0.push_back((node.clone(), epoch));
    }
}

/// When those that wait were last logged.
#[derive(Debug, Default)]
pub(super) struct Strangers(HashMap<String, Instant>);

impl Strangers {
    fn is_news(&mut self, name: &str, now: Instant) -> bool {
        if self.0.get(name).is_some_and(|it| now.duration_since(*it) < STRANGER_EVERY) {
            return false;
        }
        if self.0.len() >= STRANGERS_MAX {
            self.0.retain(|_, it| now.duration_since(*it) < STRANGER_EVERY);
            if self.0.len() >= STRANGERS_MAX {
                return false;
            }
        }
        self.0.insert(name.to_owned(), now);
        true
    }
}

impl Boot {
    /// Whether this one was not logged within the last minute.
    pub(super) fn is_news(&self, name: &str) -> bool {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).is_news(name, Instant::now())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    mac: Option<String>,
    name: Option<String>,
    nid: Option<String>,
    endpoint: Option<String>,
}

fn shown(inventory: &Inventory, node: &Component) -> Value {
    let macs: Vec<_> = inventory.interfaces_of(&node.id).map(|it| it.mac).collect();
    host(node, &macs, inventory.controller_of(&node.id).is_some())
}

fn hosts(inventory: &Inventory) -> Vec<Value> {
    inventory.components().filter(|it| it.id.is_node()).map(|it| shown(inventory, it)).collect()
}

pub(super) async fn list_hosts(
    State(boot): State<Boot>,
    Query(which): Query<Which>,
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
        (Some(hosts), _) => Ok(answer_json(&hosts.into())),
        (None, asked) => {
            let (value, kind) = asked.map_or((String::new(), "host"), |(it, kind)| (it.value(), kind));
            Err(Error::UnknownHost(kind, value.chars().take(64).collect()))
        }
    }
}

/// POST /hosts made BSS read SMD again; the Mirror is always up to date.
pub(super) async fn read_hosts_again() -> Response {
    (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-cache"), (header::CONTENT_TYPE, JSON)])
        .into_response()
}

pub(super) async fn dump(State(boot): State<Boot>) -> Response {
    let components = boot.inventory.read(hosts);
    let params: Vec<Value> = boot.parameters.read(|it| {
        it.entries(None).iter().map(|(targets, settings)| Entry::of(targets, settings).shown()).collect()
    });
    answer_json(&json!({"Components": components, "Params": params}))
}

pub(super) async fn list_history(State(boot): State<Boot>, Query(which): Query<Which>) -> Response {
    let scripts = which.endpoint.as_deref().is_none_or(|it| it == "bootscript");
    let wanted = |node: &Xname| scripts && which.name.as_deref().is_none_or(|it| it == node.as_str());
    let history = boot.history.lock().unwrap_or_else(PoisonError::into_inner);
    let show =
        |(node, epoch): &(Xname, i64)| json!({"name": node, "endpoint": "bootscript", "last_epoch": epoch});
    answer_json(&history.0.iter().filter(|(node, _)| wanted(node)).map(show).collect())
}

/// Status answers are JSON that says it is plain text (recording `bss-params-057`).
fn status(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{body}\n")).into_response()
}

impl Boot {
    fn inventory_status(&self) -> &'static str {
        match self.inventory.freshness() {
            Freshness::Live => "connected",
            Freshness::LastGood => "last good copy",
            Freshness::Empty => "error",
        }
    }

    fn storage_status(&self) -> Value {
        let there = self.database.pool().is_ok() && !self.database.is_lost();
        json!({"name": "postgres", "status": if there { "connected" } else { "error" }})
    }
}

pub(super) async fn show_status() -> Response {
    status(&json!({"bss-status": "running"}))
}

pub(super) async fn show_version() -> Response {
    status(&json!({"bss-version": env!("CARGO_PKG_VERSION")}))
}

pub(super) async fn show_inventory(State(boot): State<Boot>) -> Response {
    status(&json!({"bss-status-hsm": boot.inventory_status()}))
}

pub(super) async fn show_storage(State(boot): State<Boot>) -> Response {
    status(&json!({"bss-storage-backend": boot.storage_status()}))
}

pub(super) async fn show_all(State(boot): State<Boot>) -> Response {
    status(&json!({"bss-status": "running", "bss-status-hsm": boot.inventory_status(),
        "bss-storage-backend": boot.storage_status()}))
}

/// cloud-init's phone_home. JSON is answered as BSS does, which cannot store it (recording `bss-script-045`);
/// the form that cloud-init itself sends is answered with success. Both are the event.
pub(super) async fn phone_home(
    State(boot): State<Boot>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
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
    let event = BootEvent::new(Service::Boot, BootStage::PhoneHome, format!("{node} finished cloud-init"));
    event.node(Some(&node)).mac(Some(mac)).ip(ip).send();
    if form { Ok(StatusCode::OK.into_response()) } else { Err(Error::NoChange) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Duration, History, Instant, STRANGERS_MAX, Strangers};

    #[test]
    fn a_stranger_is_news_once_a_minute_and_a_flood_is_none() {
        let mut strangers = Strangers::default();
        let start = Instant::now();
        assert!(strangers.is_news("a", start));
        assert!(!strangers.is_news("a", start + Duration::from_secs(59)));
        assert!(strangers.is_news("a", start + Duration::from_secs(61)));
        let known = (0..2 * STRANGERS_MAX).filter(|it| strangers.is_news(&it.to_string(), start)).count();
        assert!(known <= STRANGERS_MAX && strangers.0.len() <= STRANGERS_MAX);
        assert!(strangers.is_news("b", start + Duration::from_secs(200)));
    }

    #[test]
    fn history_forgets_the_oldest() {
        let mut history = History::default();
        let node = "x1000c1s7b1n0".parse().unwrap();
        (0..super::HISTORY_MAX as i64 + 5).for_each(|it| history.note(&node, it));
        assert_eq!(history.0.len(), super::HISTORY_MAX);
        assert_eq!(history.0.front().unwrap().1, 5);
    }
}
