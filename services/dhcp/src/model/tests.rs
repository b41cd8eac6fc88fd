//! Every state a client can ask in, known and unknown.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use domain::feed::{Change as Row, View};
use domain::inventory::Inventory;
use serde_json::json;

use super::{Ack, Alarm, Arrival, Change, Decision, Leases, Stranger, Trace, World, decide};
use crate::config::Config;
use crate::wire::tests::packet;
use crate::wire::{Kind, Reply, Request, code};

pub(super) const HEAD: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 254);
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
pub(super) const POOL: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 200);
pub(super) const NOW: i64 = 1_000_000;

/// Networks by place: 0 nodes, 1 bmc, 2 remote, 3 shared.
pub(crate) fn config() -> Config {
    config_with("")
}

pub(super) fn config_with(more: &str) -> Config {
    let plane =
        |name: &str, rest: &str| format!("[[network.planes]]\nname = \"{name}\"\nkind = \"nodes\"\n{rest}\n");
    let subnet = |cidr: &str, rest: &str| format!("[[network.planes.subnets]]\ncidr = \"{cidr}\"\n{rest}\n");
    let nodes = "interface = \"eth1\"\naddresses = [\"172.16.0.254/24\"]";
    let text = [
        "version = 1\ncluster = { name = \"demo\", domain = \"cluster.example\" }\n".to_owned(),
        plane("nodes", nodes),
        subnet("172.16.0.0/24", "range = \"172.16.0.200-172.16.0.202\""),
        plane("bmc", "interface = \"eth2\"\naddresses = [\"10.1.0.254/16\"]"),
        plane("remote", ""),
        subnet("10.9.0.0/24", "router = \"10.9.0.1\"\nmtu = 9000"),
        plane("shared", "interface = \"eth3\"\nshared = true\naddresses = [\"10.2.0.254/16\"]"),
        subnet("10.2.0.0/16", "range = \"10.2.0.200-10.2.0.202\""),
        more.to_owned(),
    ];
    Config::of(&domain::Document::parse(&text.concat()).unwrap()).unwrap()
}

pub(super) fn row(mac: &str, component: &str, addresses: &[&str]) -> Row {
    let id = mac.replace(':', "");
    let addresses: Vec<_> = addresses.iter().map(|it| json!({ "address": it })).collect();
    Row::put("interface", &id, json!({"id": id, "mac": mac, "component": component, "addresses": addresses}))
}

/// Knows 52:54:00:00:00:01 if it is given addresses.
pub(super) fn inventory(addresses: Option<&[&str]>) -> Inventory {
    let mut inventory = Inventory::default();
    let node = "x1000c0s0b0n0";
    inventory.apply(&Row::put("component", node, json!({"id": node, "nid": 1}))).unwrap();
    if let Some(addresses) = addresses {
        inventory.apply(&row("52:54:00:00:00:01", node, addresses)).unwrap();
    }
    inventory.apply(&row("52:54:00:00:00:09", "x1000c0s0b1n0", &["172.16.0.201"])).unwrap();
    inventory
}

pub(super) fn request(kind: Kind, change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request::read(&packet(&[(53, &[u8::from(kind)])])).unwrap();
    change(&mut request);
    request
}

pub(super) fn on(places: &[usize], inventory: &Inventory, leases: &Leases, request: &Request) -> Decision {
    decide_with(&config(), places, inventory, leases, &[], request)
}

pub(super) fn decide_with(
    config: &Config,
    places: &[usize],
    inventory: &Inventory,
    leases: &Leases,
    acks: &[(Ipv4Addr, Ack)],
    request: &Request,
) -> Decision {
    let local = Ipv4Addr::new(172, 16, 0, 253);
    let arrival = Arrival { places, selected: None, local, proxy: false, now: NOW };
    let acks = acks.iter().copied().collect();
    decide(World { inventory, config, leases, acks: &acks }, &arrival, request, &mut Trace::Off)
}

/// A known node on its own plane.
fn known(request: &Request) -> Option<Reply> {
    on(&[0], &inventory(Some(&["172.16.0.1"])), &Leases::default(), request).reply
}

/// Used by the mutation test: any readable request, known and unknown.
pub(crate) fn answer_any(request: &Request) -> usize {
    thread_local! {
        static KNOWN: Inventory = inventory(Some(&["172.16.0.1"]));
    }
    let decision = KNOWN.with(|it| on(&[0, 1], it, &Leases::default(), request));
    let mut packet = Vec::new();
    if let Some(reply) = decision.reply {
        crate::wire::write(request, &reply, &mut packet);
    }
    packet.len()
}

pub(super) fn kinds(reply: Option<Reply>) -> Option<Kind> {
    reply.map(|it| it.kind)
}

#[test]
fn a_known_machine_is_offered_its_own_address_and_options() {
    let reply = known(&request(Kind::Discover, |_| {})).unwrap();
    assert_eq!((reply.kind, reply.yiaddr, reply.server), (Kind::Offer, NODE, HEAD));
    let head: &[u8] = &HEAD.octets();
    let expected: Vec<(u8, &[u8])> = vec![
        (code::LEASE_TIME, &[0, 1, 0x51, 0x80]),
        (code::RENEWAL, &[0, 0, 0xa8, 0xc0]),
        (code::REBINDING, &[0, 1, 0x27, 0x50]),
        (code::MASK, &[255, 255, 255, 0]),
        (code::DNS, head),
        (code::HOST_NAME, b"nid001"),
        (code::DOMAIN, b"cluster.example"),
        (code::BROADCAST, &[172, 16, 0, 255]),
        (code::NTP, head),
    ];
    // No router: the plane has none; no boot file: it did not ask to boot.
    assert_eq!(reply.options.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_client_identifier_decides_nothing() {
    for id in [vec![1, 2], vec![255, 0, 0, 0, 7]] {
        let reply = known(&request(Kind::Discover, |it| it.options.set(code::CLIENT_ID, &id))).unwrap();
        assert_eq!(reply.yiaddr, NODE);
    }
}

#[test]
fn a_request_is_answered_in_every_state_of_rfc_2131() {
    let other = Ipv4Addr::new(172, 16, 0, 77);
    let ask = |change: fn(&mut Request)| kinds(known(&request(Kind::Request, change)));
    let (ack, nak) = (Some(Kind::Ack), Some(Kind::Nak));
    // Selecting.
    assert_eq!(ask(|it| (it.server, it.requested) = (Some(HEAD), Some(NODE))), ack);
    assert_eq!(ask(|it| (it.server, it.requested) = (Some(HEAD), Some(POOL))), nak);
    assert_eq!(
        ask(|it| (it.server, it.requested) = (Some(POOL), Some(NODE))),
        None,
        "it chose another server"
    );
    // Init-reboot.
    assert_eq!(ask(|it| it.requested = Some(NODE)), ack);
    assert_eq!(ask(|it| it.requested = Some(Ipv4Addr::new(192, 168, 1, 5))), nak, "it was moved here");
    // Renewing and rebinding.
    assert_eq!(ask(|it| it.ciaddr = NODE), ack);
    assert_eq!(ask(|it| (it.ciaddr, it.broadcast) = (NODE, true)), ack);
    assert_eq!(kinds(known(&request(Kind::Request, |it| it.ciaddr = other))), nak);
    assert_eq!(ask(|_| {}), None);
}

#[test]
fn inform_is_answered_without_a_lease_and_the_rest_with_silence() {
    let reply = known(&request(Kind::Inform, |it| it.ciaddr = NODE)).unwrap();
    assert_eq!((reply.kind, reply.yiaddr), (Kind::Ack, Ipv4Addr::UNSPECIFIED));
    assert!(reply.options.get(code::LEASE_TIME).or(reply.options.get(code::RENEWAL)).is_none());
    let all = inventory(Some(&["172.16.0.1"]));
    for kind in [Kind::Decline, Kind::Release] {
        let decision = on(&[0], &all, &Leases::default(), &request(kind, |it| it.requested = Some(NODE)));
        assert!(decision.reply.is_none() && decision.note.is_some());
    }
    for kind in [Kind::Offer, Kind::Ack, Kind::Other(99)] {
        assert_eq!(known(&request(kind, |_| {})), None);
    }
}

#[test]
fn the_address_is_the_one_of_the_plane_it_asks_on() {
    let both = inventory(Some(&["fe80::1", "no address", "10.1.0.7", "172.16.0.1"]));
    let discover = request(Kind::Discover, |_| {});
    let leases = Leases::default();
    assert_eq!(on(&[0], &both, &leases, &discover).reply.unwrap().yiaddr, NODE);
    let on_bmc = on(&[1], &both, &leases, &discover).reply.unwrap();
    assert_eq!((on_bmc.yiaddr, on_bmc.server), (Ipv4Addr::new(10, 1, 0, 7), Ipv4Addr::new(10, 1, 0, 254)));
    let shared = on(&[0, 1], &both, &leases, &discover);
    assert_eq!(
        shared.reply.unwrap().yiaddr,
        Ipv4Addr::new(10, 1, 0, 7),
        "planes on one NIC: the first address"
    );
    let elsewhere = on(&[2], &both, &leases, &discover);
    assert_eq!((elsewhere.reply, elsewhere.unknown), (None, Some(Stranger::OtherPlane)));
    assert_eq!(on(&[], &both, &leases, &discover).reply, None, "no plane, no answer");
}

#[test]
fn a_relayed_client_reaches_the_head_where_its_relay_does() {
    let far = inventory(Some(&["10.9.0.5"]));
    let discover = request(Kind::Discover, |it| it.giaddr = Ipv4Addr::new(10, 9, 0, 1));
    let reply = on(&[2], &far, &Leases::default(), &discover).reply.unwrap();
    assert_eq!(reply.server, Ipv4Addr::new(172, 16, 0, 253));
    assert_eq!(reply.options.get(code::ROUTER), Some([10, 9, 0, 1].as_slice()));
    assert_eq!(reply.options.get(code::MTU), Some([0x23, 0x28].as_slice()));
}

#[test]
fn on_a_shared_wire_nobody_is_refused_and_no_stranger_is_answered() {
    let (all, leases) = (inventory(Some(&["10.2.0.1"])), Leases::default());
    let discover = request(Kind::Discover, |_| {});
    assert_eq!(on(&[3], &all, &leases, &discover).reply.unwrap().yiaddr, Ipv4Addr::new(10, 2, 0, 1));
    assert_eq!(on(&[3], &inventory(None), &leases, &discover).reply, None);
    let wrong = request(Kind::Request, |it| it.requested = Some(POOL));
    assert_eq!(on(&[3], &all, &leases, &wrong).reply, None);
}

/// An unknown machine and its leases, from DISCOVER to ACK.
fn leased(inventory: &Inventory) -> (Leases, Ipv4Addr) {
    let mut leases = Leases::default();
    let offer = on(&[0], inventory, &leases, &request(Kind::Discover, |_| {}));
    let ip = offer.reply.unwrap().yiaddr;
    assert!(!leases.apply(offer.change.unwrap(), &config()), "an offer need not be durable");
    let ask = request(Kind::Request, |it| (it.server, it.requested) = (Some(HEAD), Some(ip)));
    let ack = on(&[0], inventory, &leases, &ask);
    let reply = ack.reply.unwrap();
    assert_eq!((reply.kind, reply.yiaddr), (Kind::Ack, ip));
    assert_eq!(reply.options.get(code::LEASE_TIME), Some([0, 0, 1, 44].as_slice()));
    assert!(leases.apply(ack.change.unwrap(), &config()), "a lease is durable");
    (leases, ip)
}

#[test]
fn an_unknown_machine_loops_on_a_pool_address_until_it_is_known() {
    let (mut leases, ip) = leased(&inventory(None));
    assert!([200, 202].contains(&ip.octets()[3]), "{ip}: 201 is a node's");
    let renew = request(Kind::Request, |it| it.ciaddr = ip);
    assert_eq!(kinds(on(&[0], &inventory(None), &leases, &renew).reply), Some(Kind::Ack));
    // It is added to the inventory: its next request is refused, then it is offered its own.
    let added = inventory(Some(&["172.16.0.1"]));
    let refused = on(&[0], &added, &leases, &renew);
    assert_eq!(kinds(refused.reply), Some(Kind::Nak));
    leases.apply(refused.change.unwrap(), &config());
    assert!(leases.bound(NOW).is_empty());
    let offer = on(&[0], &added, &leases, &request(Kind::Discover, |_| {}));
    assert_eq!(offer.reply.unwrap().yiaddr, NODE);
}

#[test]
fn without_a_pool_an_unknown_machine_gets_no_answer() {
    for kind in [Kind::Discover, Kind::Request, Kind::Inform] {
        let ask = request(kind, |it| it.requested = Some(Ipv4Addr::new(10, 1, 0, 9)));
        let decision = on(&[1], &inventory(None), &Leases::default(), &ask);
        assert_eq!((decision.reply, decision.unknown), (None, Some(Stranger::NotInInventory)));
    }
    let no_address = on(&[0], &inventory(Some(&[])), &Leases::default(), &request(Kind::Discover, |_| {}));
    assert_eq!(no_address.unknown, Some(Stranger::NoAddress));
    assert!(no_address.reply.is_some(), "an interface without an address counts as unknown");
}

#[test]
fn a_pool_gives_each_address_once_and_then_none() {
    let (all, mut leases) = (inventory(None), Leases::default());
    let mut given = Vec::new();
    for last in 1..=4u8 {
        let mac = domain::MacAddr::new([2, 0, 0, 0, 0, last]);
        let decision = on(&[0], &all, &leases, &request(Kind::Discover, |it| it.mac = mac));
        if let Some(change) = decision.change {
            leases.apply(change, &config());
        }
        given.extend(decision.reply.map(|it| it.yiaddr.octets()[3]));
    }
    given.sort_unstable();
    assert_eq!(given, [200, 202], "201 is a node's");
    let late = request(Kind::Discover, |it| it.mac = domain::MacAddr::new([2, 0, 0, 0, 0, 9]));
    assert!(on(&[0], &all, &leases, &late).exhausted);
    let told: Vec<i64> = (0..130).filter(|it| leases.note_exhausted(0, NOW + it)).collect();
    assert_eq!(told, [0, 60, 120], "the journal is told once a minute");
}

#[test]
fn a_pool_address_of_another_or_in_use_is_refused() {
    let (mut leases, ip) = leased(&inventory(None));
    let other = domain::MacAddr::new([2, 0, 0, 0, 0, 7]);
    let steal = request(Kind::Request, |it| (it.mac, it.requested) = (other, Some(ip)));
    assert_eq!(kinds(on(&[0], &inventory(None), &leases, &steal).reply), Some(Kind::Nak));
    let decline = request(Kind::Decline, |it| it.requested = Some(ip));
    let declined = on(&[0], &inventory(None), &leases, &decline);
    assert!(matches!(declined.change, Some(Change::Refuse { .. })));
    assert_eq!(declined.alarm, Some(Alarm::Declined { mac: decline.mac, ip }));
    leases.apply(declined.change.unwrap(), &config());
    let offer = on(&[0], &inventory(None), &leases, &request(Kind::Discover, |_| {}));
    assert_ne!(offer.reply.unwrap().yiaddr, ip);
}
