//! Networks, relays, options, other servers: what is not ordinary.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use domain::feed::{Change as Row, View};
use serde_json::json;

use super::tests::{
    HEAD, NODE, NOW, POOL, config, config_with, decide_with, inventory, kinds, on, request, row,
};
use super::{Ack, Alarm, Arrival, Leases, Trace, World, decide};
use crate::wire::{Kind, Request, code};

const MAC: domain::MacAddr = domain::MacAddr::new([0x52, 0x54, 0, 0, 0, 1]);
const OTHER: domain::MacAddr = domain::MacAddr::new([0x52, 0x54, 0, 0, 0, 2]);

#[test]
fn who_takes_another_servers_offer_raises_an_alarm_but_not_on_a_shared_wire() {
    let rival = Ipv4Addr::new(172, 16, 0, 66);
    let ask = request(Kind::Request, |it| (it.server, it.requested) = (Some(rival), Some(NODE)));
    let (known, leases) = (inventory(Some(&["172.16.0.1"])), Leases::default());
    let decision = on(&[0], &known, &leases, &ask);
    assert_eq!(decision.alarm, Some(Alarm::Rival { mac: MAC, server: rival }));
    assert_eq!(decision.reply, None);
    assert_eq!(on(&[3], &known, &leases, &ask).alarm, None);
}

#[test]
fn two_nics_that_are_up_never_get_one_address() {
    let mut both = inventory(Some(&["172.16.0.1"]));
    both.apply(&row("52:54:00:00:00:02", "x1000c0s0b0n0", &["172.16.0.1"])).unwrap();
    let leases = Leases::default();
    let second = request(Kind::Discover, |it| it.mac = OTHER);
    let ask = |acks: &[(Ipv4Addr, Ack)]| decide_with(&config(), &[0], &both, &leases, acks, &second);
    let ack = |mac, expires| [(NODE, Ack { mac, place: 0, expires })];
    // The first is up: the second is lent an address, and somebody hears of it.
    let lent = ask(&ack(MAC, NOW + 1));
    assert_ne!(lent.reply.as_ref().unwrap().yiaddr, NODE);
    assert_eq!(lent.alarm, Some(Alarm::Duplicate { mac: OTHER, other: MAC, ip: NODE }));
    // The first is not up, or it is itself: it has the node's address.
    assert_eq!(ask(&ack(MAC, NOW)).reply.unwrap().yiaddr, NODE);
    assert_eq!(ask(&ack(OTHER, NOW + 1)).reply.unwrap().yiaddr, NODE);
}

#[test]
fn options_come_from_all_the_network_the_group_and_the_node_in_this_order() {
    let more = r#"
        [dhcp.options]
        mtu = 1400
        domain = "all.example"
        search = ["all.example"]
        ntp = "192.0.2.1"
        [dhcp.subnets."172.16.0.0/24".options]
        domain = "net.example"
        router = "172.16.0.250"
        routes = ["10.0.0.0/8 via 172.16.0.253"]
        [dhcp.groups.compute.options]
        mtu = 9000
        [dhcp.nodes.x1000c0s0b0n0.options]
        "224" = "0102"
    "#;
    let mut known = inventory(Some(&["172.16.0.1"]));
    let group = json!({"label": "compute", "members": ["x1000c0s0b0n0"]});
    known.apply(&Row::put("group", "compute", group)).unwrap();
    let discover = request(Kind::Discover, |_| {});
    let decision = decide_with(&config_with(more), &[0], &known, &Leases::default(), &[], &discover);
    let options = decision.reply.unwrap().options;
    for (code, value) in [
        (code::MTU, &[0x23, 0x28][..]),
        (code::DOMAIN, b"net.example"),
        (code::NTP, &[192, 0, 2, 1]),
        (119, b"\x03all\x07example\0"),
        (224, &[1, 2]),
        (code::ROUTES, &[8, 10, 172, 16, 0, 253, 0, 172, 16, 0, 250]),
    ] {
        assert_eq!(options.get(code), Some(value), "{code}");
    }
}

#[test]
fn a_controller_and_a_reserved_machine_have_an_address_and_boot_nothing() {
    let reserved =
        "[[dhcp.reservations]]\nmac = \"52:54:00:00:00:02\"\nip = \"172.16.0.9\"\nname = \"pdu1\"\n";
    let mut all = inventory(None);
    all.apply(&row("52:54:00:00:00:01", "x1000c0s0b0", &["172.16.0.101"])).unwrap();
    let config = config_with(reserved);
    for (mac, ip, name) in
        [(MAC, [172, 16, 0, 101], None), (OTHER, [172, 16, 0, 9], Some(b"pdu1".as_slice()))]
    {
        let discover = request(Kind::Discover, |it| {
            (it.mac, it.architecture) = (mac, Some(0));
        });
        let reply = decide_with(&config, &[0], &all, &Leases::default(), &[], &discover).reply.unwrap();
        assert_eq!((reply.yiaddr, &reply.file), (ip.into(), &None));
        assert_eq!(reply.options.get(code::HOST_NAME), name);
    }
}

#[test]
fn beside_another_server_a_node_gets_its_boot_file_and_no_address() {
    let (known, leases) = (inventory(Some(&[])), Leases::default());
    let pxe = request(Kind::Discover, |it| it.architecture = Some(7));
    let reply = on(&[3], &known, &leases, &pxe).reply.unwrap();
    assert_eq!((reply.kind, reply.yiaddr), (Kind::Offer, Ipv4Addr::UNSPECIFIED));
    assert_eq!((reply.file.as_deref(), reply.siaddr), (Some("snponly.efi"), Ipv4Addr::new(10, 2, 0, 254)));
    assert_eq!(reply.options.get(code::CLASS), Some(b"PXEClient".as_slice()));
    assert_eq!(reply.options.get(code::LEASE_TIME), None);
    assert_eq!(on(&[3], &known, &leases, &request(Kind::Discover, |_| {})).reply, None, "it does not boot");
    assert_eq!(on(&[3], &inventory(None), &leases, &pxe).reply, None, "a stranger");
    // The port of boot servers.
    let config = config();
    let arrival = Arrival { places: &[3], selected: None, local: HEAD, proxy: true, now: NOW };
    let ask =
        request(Kind::Request, |it| (it.architecture, it.ciaddr) = (Some(7), Ipv4Addr::new(10, 2, 0, 9)));
    let acks = std::collections::HashMap::new();
    let world = World { inventory: &known, config: &config, leases: &leases, acks: &acks };
    let reply = decide(world, &arrival, &ask, &mut Trace::Off).reply.unwrap();
    assert_eq!(
        (reply.kind, reply.yiaddr, reply.file.as_deref()),
        (Kind::Ack, Ipv4Addr::UNSPECIFIED, Some("snponly.efi"))
    );
}

#[test]
fn who_is_remembered_by_nobody_is_not_answered_when_it_reboots() {
    let leases = Leases::default();
    let reboot = |ip| {
        let ask = request(Kind::Request, |it| it.requested = Some(ip));
        on(&[0], &inventory(None), &leases, &ask).reply
    };
    assert_eq!(reboot(POOL), None, "RFC 2131 section 4.3.2: no record, silence");
    assert_eq!(kinds(reboot(Ipv4Addr::new(192, 168, 1, 5))), Some(Kind::Nak), "it is on another network");
    let renew = request(Kind::Request, |it| it.ciaddr = POOL);
    assert_eq!(kinds(on(&[0], &inventory(None), &leases, &renew).reply), Some(Kind::Ack));
}

#[test]
fn the_networks_of_a_request_are_its_relays_or_its_wires() {
    let config = config_with("[dhcp]\nrelays = [\"10.9.0.0/24\", \"172.16.0.9\"]\n");
    let find = |change: fn(&mut Request)| {
        let (places, selected) =
            super::find_places(&config, &[0], &request(Kind::Discover, change), &mut Trace::Off);
        (places.to_vec(), selected)
    };
    assert_eq!(find(|_| {}), (vec![0], None));
    assert_eq!(find(|it| it.giaddr = Ipv4Addr::new(10, 9, 0, 1)), (vec![2], Some(2)));
    assert_eq!(find(|it| it.giaddr = Ipv4Addr::new(10, 1, 0, 1)).0, [] as [usize; 0], "no relay we know");
    let link = |it: &mut Request| {
        it.giaddr = Ipv4Addr::new(172, 16, 0, 9);
        it.options.set(code::RELAY, &[1, 1, 9, 5, 4, 10, 9, 0, 0]);
    };
    assert_eq!(find(link), (vec![2], Some(2)), "RFC 3527: the relay says where the client is");
    assert_eq!(find(|it| it.ciaddr = Ipv4Addr::new(10, 9, 0, 7)).0, [2], "it renews through its router");
}

#[test]
fn a_decision_says_why_in_sentences() {
    let config = config();
    let known = inventory(Some(&["172.16.0.1"]));
    let (leases, acks) = (Leases::default(), std::collections::HashMap::new());
    let arrival = Arrival { places: &[0], selected: None, local: HEAD, proxy: false, now: NOW };
    let world = World { inventory: &known, config: &config, leases: &leases, acks: &acks };
    let mut trace = Trace::On(Vec::new());
    decide(world, &arrival, &request(Kind::Discover, |it| it.architecture = Some(6)), &mut trace);
    let Trace::On(said) = trace else { unreachable!() };
    let said = said.join("\n");
    for word in ["an interface of x1000c0s0b0n0", "its own address here is 172.16.0.1", "dhcp.loaders.6"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn an_infiniband_port_is_known_by_its_guid_whatever_its_queue_pair_is() {
    let guid = [0xec, 0x0d, 0x9a, 0x03, 0x00, 0xab, 0xcd, 0xef];
    let port = |pair: &str| format!("80:00:{pair}:fe:80:00:00:00:00:00:00:ec:0d:9a:03:00:ab:cd:ef");
    let mut known = inventory(None);
    known.apply(&row(&port("02:08"), "x1000c0s0b0n0", &["172.16.0.1"])).unwrap();
    let ask = |kind| {
        request(kind, |it| {
            (it.hardware, it.broadcast, it.guid, it.is_ipxe) = ((32, 0, [0; 16]), true, Some(guid), true);
            it.mac = crate::wire::ethernet_of(guid);
        })
    };
    let mut discover = ask(Kind::Discover);
    let stranger = on(&[0], &known, &Leases::default(), &discover);
    assert_eq!(stranger.unknown, Some(super::Stranger::NotInInventory));
    super::identify(&mut discover, &known, &config());
    let reply = on(&[0], &known, &Leases::default(), &discover).reply.unwrap();
    assert_eq!(reply.yiaddr, NODE);
    let script = format!("http://172.16.0.254:8081/boot/v1/bootscript?mac={}", port("02:08"));
    assert!(script.len() < 128, "it fits the field `file`");
    assert_eq!(reply.file, Some(script));
    // What the inventory has by the Ethernet address that is made of the GUID is that one's.
    known.apply(&row("ec:0d:9a:ab:cd:ef", "x1000c0s0b1n0", &["172.16.0.9"])).unwrap();
    let mut discover = ask(Kind::Discover);
    super::identify(&mut discover, &known, &config());
    assert_eq!(discover.mac, discover.holder());
    // The settings know ports too.
    let reserved =
        config_with(&format!("[[dhcp.reservations]]\nmac = \"{}\"\nip = \"172.16.0.77\"\n", port("04:99")));
    let mut discover = ask(Kind::Discover);
    super::identify(&mut discover, &inventory(None), &reserved);
    let decision = decide_with(&reserved, &[0], &inventory(None), &Leases::default(), &[], &discover);
    assert_eq!(decision.reply.unwrap().yiaddr, Ipv4Addr::new(172, 16, 0, 77));
}
