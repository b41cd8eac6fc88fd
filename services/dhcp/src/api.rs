//! The socket `http`: who has which address, who is unknown, whether dhcp answers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use domain::inventory::Interface;
use domain::{Document, MacAddr, Scope, Service};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use web::mirror::Freshness;
use web::{Json, Query, scoped};

use crate::client::{Lease, UnknownMachine};
use crate::config::Reservation;
use crate::model::Ack;
use crate::state::{State, now, word};

mod probe;
mod why;

/// Every path of dhcp.
pub(crate) fn router(state: Arc<State>, document: Arc<Document>) -> Router {
    let read = Scope::Read(Service::Dhcp);
    Router::new()
        .route("/readyz", get(show_readiness))
        .route("/pilothouse/v1/unknown", scoped(get(list_unknown), read))
        .route("/pilothouse/v1/leases", scoped(get(list_leases), read))
        .route("/pilothouse/v1/why", scoped(get(why::show), read))
        .route("/pilothouse/v1/probe", scoped(post(probe::run), Scope::Write(Service::Dhcp)))
        .layer(Extension(document))
        .with_state(state)
}

async fn show_readiness(Shared(state): Shared<Arc<State>>) -> Response {
    let freshness = state.inventory.freshness();
    let ready = freshness != Freshness::Empty;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Json(json!({"ready": ready, "inventory": word(freshness), "seq": state.inventory.seq(),
        "leases": if state.is_durable() { "kept" } else { "not kept: PostgreSQL is away" }}));
    let retry = (!ready).then_some([(axum::http::header::RETRY_AFTER, "5")]);
    match retry {
        Some(retry) => (status, retry, body).into_response(),
        None => (status, body).into_response(),
    }
}

async fn list_unknown(Shared(state): Shared<Arc<State>>) -> Json<Vec<UnknownMachine>> {
    let mut seen = state.unknown().list();
    // Added since it last asked.
    state.inventory.read(|inventory| {
        let known = |mac| inventory.interface_by_mac(mac).is_some_and(|it| first_ip(it).is_some());
        seen.retain(|it| it.reason == crate::model::Stranger::OtherPlane || !known(it.mac));
    });
    let leases = state.leases();
    let reason = |it| serde_json::to_value(it).ok().and_then(|it| it.as_str().map(str::to_owned));
    let list = seen.into_iter().map(|it| UnknownMachine {
        mac: it.mac,
        first_seen: instant(it.first),
        last_seen: instant(it.last),
        plane: it.plane,
        vendor_class: it.vendor_class,
        reason: reason(it.reason).unwrap_or_default(),
        count: it.count,
        ip: (0..state.config.planes.len())
            .filter_map(|place| leases.find(it.mac, place))
            .find(|lease| lease.bound && lease.expires > now())
            .map(|it| it.ip),
    });
    Json(list.collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    ip: Option<Ipv4Addr>,
    mac: Option<MacAddr>,
}

async fn list_leases(Shared(state): Shared<Arc<State>>, Query(filter): Query<Filter>) -> Json<Vec<Lease>> {
    let acks = state.acks();
    let mut leases: Vec<Lease> = state.inventory.read(|inventory| match filter {
        Filter { mac: Some(mac), .. } => {
            inventory.interface_by_mac(mac).and_then(|it| known(&state, it, &acks)).into_iter().collect()
        }
        Filter { ip: Some(ip), .. } => {
            let found = inventory.interface_by_ip(IpAddr::V4(ip));
            found.and_then(|it| known(&state, it, &acks)).into_iter().collect()
        }
        _ => inventory.interfaces().filter_map(|it| known(&state, it, &acks)).collect(),
    });
    drop(acks);
    let lent = state.leases().bound(now()).into_iter();
    leases.extend(lent.map(|it| Lease {
        ip: it.ip,
        mac: it.mac,
        node: None,
        plane: state.config.planes[it.place].name.clone(),
        expires: Some(instant(it.expires)),
    }));
    leases.extend(state.config.table.reservations.iter().map(|it| reserved(&state, it)));
    leases.retain(|it| filter.ip.is_none_or(|ip| ip == it.ip) && filter.mac.is_none_or(|mac| mac == it.mac));
    leases.sort_by_key(|it| it.ip);
    Json(leases)
}

/// What the inventory gives an interface, and until when it was last told so.
fn known(state: &State, interface: &Interface, acks: &HashMap<Ipv4Addr, Ack>) -> Option<Lease> {
    let told = |ip: Ipv4Addr| acks.get(&ip).filter(|it| it.mac == interface.mac && it.expires > now());
    let mut ips = interface.ips().filter_map(|it| match it {
        IpAddr::V4(it) => Some(it),
        IpAddr::V6(_) => None,
    });
    let ack = ips.find_map(|ip| Some((ip, told(ip)?)));
    let ip = ack.map(|it| it.0).or_else(|| first_ip(interface))?;
    let place = ack.map(|it| it.1.place).or_else(|| state.config.place_of(ip));
    let plane = place.map(|it| state.config.planes[it].name.clone()).unwrap_or_default();
    let node = interface.component.clone();
    Some(Lease { ip, mac: interface.mac, node, plane, expires: ack.map(|it| instant(it.1.expires)) })
}

/// What the settings give a machine that is in no inventory.
fn reserved(state: &State, reservation: &Reservation) -> Lease {
    let Reservation { mac, ip, .. } = *reservation;
    let ack = state.acks().get(&ip).copied().filter(|it| it.mac == mac && it.expires > now());
    let plane = state.config.place_of(ip).map(|it| state.config.planes[it].name.clone());
    let expires = ack.map(|it| instant(it.expires));
    Lease { ip, mac, node: None, plane: plane.unwrap_or_default(), expires }
}

fn first_ip(interface: &Interface) -> Option<Ipv4Addr> {
    interface.ips().find_map(|it| match it {
        IpAddr::V4(it) => Some(it),
        IpAddr::V6(_) => None,
    })
}

fn instant(seconds: i64) -> String {
    let instant = OffsetDateTime::from_unix_timestamp(seconds).ok();
    instant.and_then(|it| it.format(&Rfc3339).ok()).unwrap_or_default()
}
