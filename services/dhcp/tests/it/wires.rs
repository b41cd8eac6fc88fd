//! The head's own wires: poor links are health issues, and a probe hears who else is there.

use std::net::Ipv4Addr;
use std::time::Instant;

use axum::http::Method;
use serde_json::Value;

use super::LIMIT;
use super::inventory::Inventory;
use super::lab::{Lab, ip};
use super::service::{DOCUMENT, Service, wait};
use super::wire::offer;

/// Waits until the issues hold these ids, and no other.
fn until(service: &Service, expected: &[&str]) -> Vec<Value> {
    let path = service.run_folder().join("dhcp/issues.json");
    let began = Instant::now();
    loop {
        // Nothing was ever wrong as long as there is no file.
        let text = std::fs::read(&path).unwrap_or_else(|_| b"[]".to_vec());
        let mut issues: Vec<Value> = serde_json::from_slice(&text).unwrap();
        // There is no database here.
        issues.retain(|it| it["id"] != "leases-not-kept");
        let mut ids: Vec<_> = issues.iter().filter_map(|it| it["id"].as_str()).collect();
        ids.sort_unstable();
        if ids == expected {
            return issues;
        }
        assert!(began.elapsed() < LIMIT, "expected {expected:?}, there is {ids:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_wire_that_is_pulled_out_is_an_issue_until_it_is_in_again() {
    let lab = Lab::new();
    let service = Service::start(&lab, DOCUMENT, &[]);
    ip(&["-n", &lab.node, "link", "set", "node", "down"]);
    let issues = until(&service, &["link-down/head"]);
    assert!(issues[0]["summary"].as_str().unwrap().contains("the plane \"nodes\" has no link"), "{issues:?}");
    let metrics = || wait(service.plain.text(Method::GET, "/metrics", None::<&()>)).unwrap();
    let shown = String::from_utf8(metrics()).unwrap();
    assert!(shown.contains("pilothouse_health_issues{severity=\"error\"} 1\n"), "{shown}");
    ip(&["-n", &lab.node, "link", "set", "node", "up"]);
    until(&service, &[]);
    let shown = String::from_utf8(metrics()).unwrap();
    assert!(shown.contains("pilothouse_health_issues{severity=\"error\"} 0\n"), "{shown}");
    ip(&["-n", &lab.head, "link", "del", "head"]);
    until(&service, &["link-missing/head"]);
}

#[test]
fn a_link_slower_than_it_should_be_and_an_mtu_that_does_not_fit_are_issues() {
    let lab = Lab::new();
    let document = DOCUMENT.replacen("range =", "mtu = 9000\nrange =", 1);
    // A veth says that it runs at 10 Gbit/s.
    let document = format!("{document}\n[dhcp]\nlink_mbps = 25000\n");
    let service = Service::start(&lab, &document, &[]);
    let issues = until(&service, &["link-slow/head", "mtu-mismatch/head"]);
    assert!(
        issues[0]["summary"].as_str().unwrap().contains("runs at 10000 Mbit/s, not at 25000"),
        "{issues:?}"
    );
    ip(&["-n", &lab.head, "link", "set", "head", "mtu", "9000"]);
    until(&service, &["link-slow/head"]);
    assert!(service.stop().success());
    let service = Service::start(&lab, &document.replace("25000", "10000"), &[]);
    ip(&["-n", &lab.head, "link", "set", "head", "mtu", "1500"]);
    until(&service, &["mtu-mismatch/head"]);
}

#[test]
fn more_machines_than_the_kernel_keeps_neighbours_of_are_an_issue() {
    let limit: usize = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
        .ok()
        .and_then(|it| it.trim().parse().ok())
        .unwrap_or(1024);
    if limit > 4096 {
        // Machines are made one by one here; the decision has a test of its own.
        return;
    }
    let lab = Lab::new();
    let inventory = Inventory::start(&lab.path("head"));
    let document =
        DOCUMENT.replace("172.16.0.254/24", "172.16.0.254/16").replace("172.16.0.0/24", "172.16.0.0/16");
    let service = Service::start(&lab, &document, &[]);
    let set = |number: usize, there: bool| {
        let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
        let mac = format!("02:00:00:00:{high:02x}:{low:02x}");
        let address = format!("172.16.{}.{low}", high + 1);
        let addresses = [address.as_str()];
        inventory.set_interface(&mac, if there { &addresses } else { &[] });
    };
    for number in 0..=limit {
        set(number, true);
    }
    let issues = until(&service, &["neighbours-short"]);
    assert_eq!(issues[0]["severity"], "error", "{issues:?}");
    assert_eq!(issues[0]["context"]["limit"], limit);
    for number in limit / 2..=limit {
        set(number, false);
    }
    until(&service, &[]);
}

#[test]
fn a_probe_finds_another_server_and_a_bridge_that_makes_nodes_wait() {
    let lab = Lab::new();
    let service = Service::start(&lab, DOCUMENT, &[]);
    let probed = wait(service.client.probe(1)).unwrap();
    let nic = &probed[0];
    assert_eq!((probed.len(), nic.interface.as_str(), nic.plane.as_str()), (1, "head", "nodes"));
    assert!(nic.there && nic.carrier && nic.mtu == Some(1500), "{nic:?}");
    assert!(nic.servers.is_empty() && nic.bridges.is_empty(), "{nic:?}");
    // A switch at the other end, and behind it a server of somebody's.
    let on_node = |words: &[&str]| ip(&[&["-n", &lab.node], words].concat());
    on_node(&["link", "add", "bridge", "type", "bridge", "stp_state", "1", "forward_delay", "400"]);
    on_node(&["link", "set", "node", "master", "bridge"]);
    on_node(&["addr", "add", "172.16.0.66/24", "dev", "bridge"]);
    on_node(&["link", "set", "bridge", "up"]);
    let server = lab.socket_on_node("0.0.0.0:67");
    server.set_broadcast(true).unwrap();
    std::thread::spawn(move || {
        // It answers who asks, and says nothing of its own accord.
        let mut buffer = [0; 1500];
        while server.recv(&mut buffer).is_ok_and(|_| buffer[242] == 1) {
            server.send_to(&offer(Ipv4Addr::new(172, 16, 0, 66)), "172.16.0.255:68").unwrap();
        }
    });
    let began = Instant::now();
    let nic = loop {
        // The port of the bridge passes frames after twice its delay.
        let probed = wait(service.client.probe(3)).unwrap();
        if !probed[0].servers.is_empty() && !probed[0].bridges.is_empty() {
            break probed[0].clone();
        }
        assert!(began.elapsed() < LIMIT, "{probed:?}");
    };
    assert_eq!(nic.servers[0].server.to_string(), "172.16.0.66");
    let bridge = &nic.bridges[0];
    assert_eq!((bridge.protocol.as_str(), bridge.forward_delay_s), ("stp", 4));
    let wrong = wait(service.client.probe(0)).unwrap_err().to_string();
    assert!(wrong.contains("seconds: 0 is out of range"), "{wrong}");
}
