//! Every state a client can ask in, known and unknown.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};
use domain::feed::{Change as Row, View};
use domain::inventory::Inventory;
use serde_json::json;

use super::{Arrival, Change, Decision, Leases, Stranger, decide};
use crate::config::{Config, Plane, Table};
use crate::wire::tests::packet;
use crate::wire::{Reply, Request};

const HEAD: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 254);
const NODE: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const POOL: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 200);
const NOW: i64 = 1_000_000;

fn config() -> Config {
    let plane = |name: &str, net: &str, head: Option<&str>, pool: Option<&str>| Plane {
        name: name.into(),
        net: net.parse().unwrap(),
        head: head.map(|it| it.parse().unwrap()),
        interface: head.map(|_| format!("eth-{name}")),
        router: (name == "remote").then_some(Ipv4Addr::new(10, 9, 0, 1)),
        pool: pool.map(|it| it.parse().unwrap()),
        shared: name == "shared",
    };
    let pool = Some("172.16.0.200-172.16.0.202");
    Config {
        table: Table::default(),
        planes: vec![
            plane("nodes", "172.16.0.0/24", Some("172.16.0.254"), pool),
            plane("bmc", "10.1.0.0/16", Some("10.1.0.254"), None),
            plane("remote", "10.9.0.0/24", None, None),
            plane("shared", "172.16.0.0/24", Some("172.16.0.254"), pool),
        ],
        domain: "cluster.example".into(),
        pattern: "nid{nid:03}".into(),
        dns: vec![],
    }
}

fn row(mac: &str, component: &str, addresses: &[&str]) -> Row {
    let id = mac.replace(':', "");
    let addresses: Vec<_> = addresses.iter().map(|it| json!({ "address": it })).collect();
    Row::put("interface", &id, json!({"id": id, "mac": mac, "component": component, "addresses": addresses}))
}

/// Knows 52:54:00:00:00:01 if it is given addresses.
fn inventory(addresses: Option<&[&str]>) -> Inventory {
    let mut inventory = Inventory::default();
    let node = "x1000c0s0b0n0";
    inventory.apply(&Row::put("component", node, json!({"id": node, "nid": 1}))).unwrap();
    if let Some(addresses) = addresses {
        inventory.apply(&row("52:54:00:00:00:01", node, addresses)).unwrap();
    }
    inventory.apply(&row("52:54:00:00:00:09", "x1000c0s0b1n0", &["172.16.0.201"])).unwrap();
    inventory
}

fn request(kind: MessageType, change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request::read(&packet(&[(53, &[u8::from(kind)])])).unwrap();
    change(&mut request);
    request
}

fn on(planes: &[usize], inventory: &Inventory, leases: &Leases, request: &Request) -> Decision {
    let config = config();
    let planes = planes.iter().map(|it| &config.planes[*it]).collect();
    let arrival = Arrival { planes, local: Ipv4Addr::new(172, 16, 0, 253), now: NOW };
    decide(inventory, &config, leases, &arrival, request)
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
    decision.reply.and_then(|it| crate::wire::write(request, &it)).map_or(0, |it| it.len())
}

fn kinds(reply: Option<Reply>) -> Option<MessageType> {
    reply.map(|it| it.kind)
}

#[test]
fn a_known_machine_is_offered_its_own_address_and_options() {
    let reply = known(&request(MessageType::Discover, |_| {})).unwrap();
    assert_eq!((reply.kind, reply.yiaddr, reply.server), (MessageType::Offer, NODE, HEAD));
    let expected = vec![
        DhcpOption::AddressLeaseTime(86_400),
        DhcpOption::Renewal(43_200),
        DhcpOption::Rebinding(75_600),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::BroadcastAddr(Ipv4Addr::new(172, 16, 0, 255)),
        DhcpOption::DomainNameServer(vec![HEAD]),
        DhcpOption::Hostname("nid001".into()),
        DhcpOption::DomainName("cluster.example".into()),
        DhcpOption::NtpServers(vec![HEAD]),
    ];
    assert_eq!(
        reply.options, expected,
        "no router: the plane has none; no boot file: it did not ask to boot"
    );
}

#[test]
fn the_client_identifier_decides_nothing() {
    for id in [vec![1, 2], vec![255, 0, 0, 0, 7]] {
        let reply = known(&request(MessageType::Discover, |it| it.client_id = Some(id))).unwrap();
        assert_eq!(reply.yiaddr, NODE);
    }
}

#[test]
fn a_request_is_answered_in_every_state_of_rfc_2131() {
    let other = Ipv4Addr::new(172, 16, 0, 77);
    let ask = |change: fn(&mut Request)| kinds(known(&request(MessageType::Request, change)));
    let (ack, nak) = (Some(MessageType::Ack), Some(MessageType::Nak));
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
    assert_eq!(kinds(known(&request(MessageType::Request, |it| it.ciaddr = other))), nak);
    assert_eq!(ask(|_| {}), None);
}

#[test]
fn inform_is_answered_without_a_lease_and_the_rest_with_silence() {
    let reply = known(&request(MessageType::Inform, |it| it.ciaddr = NODE)).unwrap();
    assert_eq!((reply.kind, reply.yiaddr), (MessageType::Ack, Ipv4Addr::UNSPECIFIED));
    assert!(
        !reply
            .options
            .iter()
            .any(|it| matches!(it, DhcpOption::AddressLeaseTime(_) | DhcpOption::Renewal(_)))
    );
    let all = inventory(Some(&["172.16.0.1"]));
    for kind in [MessageType::Decline, MessageType::Release] {
        let decision = on(&[0], &all, &Leases::default(), &request(kind, |it| it.requested = Some(NODE)));
        assert!(decision.reply.is_none() && decision.note.is_some());
    }
    for kind in [MessageType::Offer, MessageType::Ack, MessageType::LeaseQuery, MessageType::Unknown(99)] {
        assert_eq!(known(&request(kind, |_| {})), None);
    }
}

#[test]
fn the_address_is_the_one_of_the_plane_it_asks_on() {
    let both = inventory(Some(&["fe80::1", "no address", "10.1.0.7", "172.16.0.1"]));
    let discover = request(MessageType::Discover, |_| {});
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
    let discover = request(MessageType::Discover, |it| it.giaddr = Ipv4Addr::new(10, 9, 0, 1));
    let reply = on(&[2], &far, &Leases::default(), &discover).reply.unwrap();
    assert_eq!(reply.server, Ipv4Addr::new(172, 16, 0, 253));
    assert!(reply.options.contains(&DhcpOption::Router(vec![Ipv4Addr::new(10, 9, 0, 1)])));
}

#[test]
fn on_a_shared_wire_nobody_is_refused_and_no_stranger_is_answered() {
    let (all, leases) = (inventory(Some(&["172.16.0.1"])), Leases::default());
    let discover = request(MessageType::Discover, |_| {});
    assert_eq!(on(&[3], &all, &leases, &discover).reply.unwrap().yiaddr, NODE);
    assert_eq!(on(&[3], &inventory(None), &leases, &discover).reply, None);
    let wrong = request(MessageType::Request, |it| it.requested = Some(POOL));
    assert_eq!(on(&[3], &all, &leases, &wrong).reply, None);
}

/// An unknown machine and its leases, from DISCOVER to ACK.
fn leased(inventory: &Inventory) -> (Leases, Ipv4Addr) {
    let mut leases = Leases::default();
    let offer = on(&[0], inventory, &leases, &request(MessageType::Discover, |_| {}));
    let ip = offer.reply.unwrap().yiaddr;
    assert!(!leases.apply(offer.change.unwrap()), "an offer need not be durable");
    let ask = request(MessageType::Request, |it| (it.server, it.requested) = (Some(HEAD), Some(ip)));
    let ack = on(&[0], inventory, &leases, &ask);
    let reply = ack.reply.unwrap();
    assert_eq!((reply.kind, reply.yiaddr), (MessageType::Ack, ip));
    assert!(reply.options.contains(&DhcpOption::AddressLeaseTime(300)));
    assert!(leases.apply(ack.change.unwrap()), "a lease is durable");
    (leases, ip)
}

#[test]
fn an_unknown_machine_loops_on_a_pool_address_until_it_is_known() {
    let (mut leases, ip) = leased(&inventory(None));
    assert!([200, 202].contains(&ip.octets()[3]), "{ip}: 201 is a node's");
    let renew = request(MessageType::Request, |it| it.ciaddr = ip);
    assert_eq!(kinds(on(&[0], &inventory(None), &leases, &renew).reply), Some(MessageType::Ack));
    // It is added to the inventory: its next request is refused, then it is offered its own.
    let added = inventory(Some(&["172.16.0.1"]));
    let refused = on(&[0], &added, &leases, &renew);
    assert_eq!(kinds(refused.reply), Some(MessageType::Nak));
    leases.apply(refused.change.unwrap());
    assert!(leases.bound(NOW).is_empty());
    let offer = on(&[0], &added, &leases, &request(MessageType::Discover, |_| {}));
    assert_eq!(offer.reply.unwrap().yiaddr, NODE);
}

#[test]
fn without_a_pool_an_unknown_machine_gets_no_answer() {
    for kind in [MessageType::Discover, MessageType::Request, MessageType::Inform] {
        let ask = request(kind, |it| it.requested = Some(Ipv4Addr::new(10, 1, 0, 9)));
        let decision = on(&[1], &inventory(None), &Leases::default(), &ask);
        assert_eq!((decision.reply, decision.unknown), (None, Some(Stranger::NotInInventory)));
    }
    let no_address =
        on(&[0], &inventory(Some(&[])), &Leases::default(), &request(MessageType::Discover, |_| {}));
    assert_eq!(no_address.unknown, Some(Stranger::NoAddress));
    assert!(no_address.reply.is_some(), "an interface without an address counts as unknown");
}

#[test]
fn a_pool_gives_each_address_once_and_then_none() {
    let (all, mut leases) = (inventory(None), Leases::default());
    let mut given = Vec::new();
    for last in 1..=4u8 {
        let mac = domain::MacAddr::new([2, 0, 0, 0, 0, last]);
        let decision = on(&[0], &all, &leases, &request(MessageType::Discover, |it| it.mac = mac));
        if let Some(change) = decision.change {
            leases.apply(change);
        }
        given.extend(decision.reply.map(|it| it.yiaddr.octets()[3]));
    }
    given.sort_unstable();
    assert_eq!(given, [200, 202], "201 is a node's");
    let late = request(MessageType::Discover, |it| it.mac = domain::MacAddr::new([2, 0, 0, 0, 0, 9]));
    assert!(on(&[0], &all, &leases, &late).exhausted);
    let told: Vec<i64> = (0..130).filter(|it| leases.note_exhausted("nodes", NOW + it)).collect();
    assert_eq!(told, [0, 60, 120], "the journal is told once a minute");
}

#[test]
fn a_pool_address_of_another_or_in_use_is_refused() {
    let (mut leases, ip) = leased(&inventory(None));
    let other = domain::MacAddr::new([2, 0, 0, 0, 0, 7]);
    let steal = request(MessageType::Request, |it| (it.mac, it.requested) = (other, Some(ip)));
    assert_eq!(kinds(on(&[0], &inventory(None), &leases, &steal).reply), Some(MessageType::Nak));
    let decline = request(MessageType::Decline, |it| it.requested = Some(ip));
    let declined = on(&[0], &inventory(None), &leases, &decline);
    assert!(matches!(declined.change, Some(Change::Refuse { .. })));
    leases.apply(declined.change.unwrap());
    let offer = on(&[0], &inventory(None), &leases, &request(MessageType::Discover, |_| {}));
    assert_ne!(offer.reply.unwrap().yiaddr, ip);
}
