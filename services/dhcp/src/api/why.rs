//! Why a client gets what it gets: the server's own decision, with its reasons.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::State as Shared;
use domain::MacAddr;
use serde::Deserialize;
use web::{Json, Query};

use crate::client::{Answer, Why};
use crate::model::{self, Arrival, Trace, World};
use crate::state::{State, now};
use crate::wire::{Options, Reply, Request, code, ethernet_of};

/// Who asks, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    mac: MacAddr,
    /// The relay's address; none: on the wire of a plane of the head's.
    relay: Option<Ipv4Addr>,
    /// The plane's name; none: any that the head is on.
    plane: Option<String>,
    /// Option 93.
    arch: Option<u16>,
    /// Whether it is iPXE.
    #[serde(default)]
    ipxe: bool,
    /// Whether it boots by HTTP.
    #[serde(default)]
    http: bool,
}

/// What a DISCOVER would be answered now. Nothing is changed by it.
pub(super) async fn show(Shared(state): Shared<Arc<State>>, Query(question): Query<Question>) -> Json<Why> {
    let mut request = request(&question);
    let config = &state.config;
    state.inventory.read(|inventory| model::identify(&mut request, inventory, config));
    let local: Vec<usize> = (0..config.planes.len())
        .filter(|it| config.planes[*it].interface.is_some())
        .filter(|it| question.plane.as_ref().is_none_or(|name| *name == config.planes[*it].name))
        .collect();
    let mut trace = Trace::On(Vec::new());
    let (places, selected) = model::find_places(config, &local, &request, &mut trace);
    let heads = places.iter().chain(&local).filter_map(|it| config.planes[*it].head);
    let local = heads.chain(config.planes.iter().filter_map(|it| it.head)).next();
    let local = local.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let arrival = Arrival { places, selected, local, proxy: false, now: now() };
    let durable = state.is_durable();
    let decision = {
        let (leases, acks) = (state.leases(), state.acks());
        state.inventory.read(|inventory| {
            let world = World { inventory, config, leases: &leases, acks: &acks };
            model::decide(world, &arrival, &request, &mut trace)
        })
    };
    let lends = matches!(decision.change, Some(model::Change::Hold(_)));
    if lends && !durable {
        trace.say(|| "PostgreSQL is away: only who has a lease already gets it again".to_owned());
    }
    let Trace::On(rules) = trace else { return Json(Why::default()) };
    let plane = decision.place.map(|it| config.planes[it].name.clone());
    Json(Why { rules, node: decision.node, plane, answer: decision.reply.as_ref().map(answer) })
}

fn request(question: &Question) -> Request {
    let mut options = Options::default();
    if let Some(architecture) = question.arch {
        options.set(code::ARCHITECTURE, &architecture.to_be_bytes());
        options.set(code::CLASS, if question.http { b"HTTPClient" } else { b"PXEClient" });
    }
    let (octets, guid) = (question.mac.octets(), question.mac.guid());
    let mut chaddr = [0; 16];
    // An InfiniBand port is told by the client identifier (RFC 4390 section 2.1).
    let (hardware, mac) = match guid {
        Some(guid) => {
            options.set(code::CLIENT_ID, &[&[32], &guid[..]].concat());
            ((32, 0, chaddr), ethernet_of(guid))
        }
        None => {
            chaddr[..6].copy_from_slice(&octets[..6]);
            ((1, 6, chaddr), question.mac)
        }
    };
    Request {
        kind: crate::wire::Kind::Discover,
        xid: 0,
        hops: 0,
        secs: 0,
        broadcast: guid.is_some(),
        ciaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: question.relay.unwrap_or(Ipv4Addr::UNSPECIFIED),
        hardware,
        mac,
        guid,
        requested: None,
        server: None,
        architecture: question.arch,
        is_ipxe: question.ipxe,
        options,
    }
}

fn answer(reply: &Reply) -> Answer {
    let hex = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect::<Vec<_>>().join("");
    let options = reply.options.iter().map(|(code, value)| (code, hex(value))).collect();
    let lease = reply.options.get(code::LEASE_TIME).and_then(|it| <[u8; 4]>::try_from(it).ok());
    Answer {
        ip: Some(reply.yiaddr).filter(|it| !it.is_unspecified()),
        server: reply.server,
        lease_s: lease.map(u32::from_be_bytes),
        file: reply.file.clone(),
        options,
    }
}
