//! What each command does, and that it is done whoever goes away meanwhile.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::head::{Head, node, until};
use super::simulator::Simulator;

#[tokio::test]
async fn every_command_reaches_the_chassis() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    assert_eq!(head.done("nid001", None).await, "off");
    assert_eq!(head.done("x0c0s1b0n0", Some("on")).await, "on");
    assert_eq!(head.done("nid001", Some("on")).await, "on", "on already, so nothing is sent");
    assert_eq!(head.done("nid001", Some("reset")).await, "on");
    assert_eq!(head.done("nid001", Some("soft")).await, "on", "its system takes its time");
    assert_eq!(head.done("nid001", Some("cycle")).await, "on");
    assert_eq!(head.done("nid001", Some("off")).await, "off");
    let expected = ["power 1", "reset 1", "shutdown 1", "power 0", "power 1", "power 0"];
    assert_eq!(bmc.events(), expected);
    head.stop().await;
}

#[tokio::test]
async fn the_boot_device_is_set_before_the_node_starts() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    let refused = head.ask(json!({"nodes": ["nid001"], "action": "reset", "boot": "pxe"})).await;
    assert!(!refused[0].ok && bmc.events().is_empty(), "what is refused leaves nothing behind");
    let on = head.ask(json!({"nodes": ["nid001"], "action": "on", "boot": "pxe"})).await;
    assert!(on[0].ok, "{on:?}");
    let events = bmc.events();
    assert!(events.first().is_some_and(|it| it == "boot pxe"), "{events:?}");
    assert!(events.last().is_some_and(|it| it == "power 1"), "{events:?}");
    let alone = head.ask(json!({"nodes": ["nid001"], "boot": "bios"})).await;
    assert!(alone[0].ok && alone[0].state.is_some_and(|it| it.name() == "on"), "{alone:?}");
    assert!(bmc.events().contains(&"boot bios".to_owned()), "{:?}", bmc.events());
}

#[tokio::test]
async fn a_node_that_is_off_is_switched_on_by_a_cycle_and_not_reset() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    let reason = head.refused("nid001", Some("reset")).await;
    assert!(reason.contains("off") && reason.contains("power on"), "{reason}");
    assert_eq!(head.done("nid001", Some("soft")).await, "off");
    assert_eq!(head.done("nid001", Some("cycle")).await, "on");
    assert_eq!(bmc.events(), ["power 1"]);
}

#[tokio::test]
async fn commands_for_one_bmc_follow_one_another() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    head.done("nid001", Some("on")).await;
    let (first, second) =
        tokio::join!(head.done("nid001", Some("cycle")), head.done("nid001", Some("cycle")));
    assert_eq!((first, second), ("on", "on"));
    assert_eq!(bmc.events(), ["power 1", "power 0", "power 1", "power 0", "power 1"]);
}

#[tokio::test]
async fn a_node_named_twice_is_switched_once() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    head.done("nid001", Some("on")).await;
    let outcomes = head.ask(json!({"nodes": ["nid001", "x0c0s1b0n0"], "action": "reset"})).await;
    assert!(outcomes.iter().all(|it| it.ok), "{outcomes:?}");
    assert_eq!(bmc.events(), ["power 1", "reset 1"]);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_node_undone() {
    let (first, second) = (Simulator::start(), Simulator::start());
    let rows = [node(1, first.port), node(2, second.port)].concat();
    // One after the other, so that the second has not begun when the client goes.
    let head = Head::with_accounts(rows, "[power]\nconcurrency = 1\n", &[1, 2]).await;
    let body = json!({"nodes": ["nid001", "nid002"], "action": "on"}).to_string();
    let mut stream = UnixStream::connect(&head.socket).await.unwrap();
    let request = format!(
        "POST /pilothouse/v1/power HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until(async || head.asked(1) + head.asked(2) > 0).await;
    drop(stream);
    until(async || !first.events().is_empty() && !second.events().is_empty()).await;
}

#[tokio::test]
async fn a_stop_lets_a_command_come_to_its_end() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    head.done("nid001", Some("on")).await;
    let stopped = async {
        until(async || bmc.events().contains(&"power 0".to_owned())).await;
        head.stop.cancel();
    };
    let (state, ()) = tokio::join!(head.done("nid001", Some("cycle")), stopped);
    assert_eq!(state, "on");
    head.stop().await;
    assert_eq!(bmc.events(), ["power 1", "power 0", "power 1"]);
}
