//! What cannot be done: it is told, with what to check, and holds nobody else up.

use std::net::UdpSocket;

use serde_json::json;

use super::head::{Head, component, node, until};
use super::simulator::Simulator;

/// A BMC's address at which nothing ever answers.
fn silent() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn each_fault_is_told_and_the_others_go_on() {
    let bmc = Simulator::start();
    let (_socket, silent) = silent();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut rows = [node(1, bmc.port), node(4, bmc.port), node(5, silent), node(6, closed)].concat();
    rows.push(component(3));
    let head = Head::with_accounts(rows, "", &[1, 5, 6]).await;
    let nodes = ["nid999", "nid003", "nid004", "nid005", "nid006", "x0c0s1b0", "nid001"];
    let outcomes = head.ask(json!({"nodes": nodes, "action": "on"})).await;
    let (last, failed) = outcomes.split_last().unwrap();
    assert!(last.ok, "{last:?}");
    let expected: [&[&str]; 6] = [
        &["nid999", "pilotctl nodes list"],
        &["x0c0s3b0n0 has no BMC", "bmc_ip"],
        &["BMC x0c0s4b0", "no account", "pilotctl bmc set"],
        &["BMC x0c0s5b0", &format!("127.0.0.1:{silent}"), "session", "no answer", "check"],
        &["BMC x0c0s6b0", &format!("127.0.0.1:{closed}"), "session", "refused", "check"],
        &["no node is called x0c0s1b0"],
    ];
    for (outcome, words) in failed.iter().zip(expected) {
        let reason = outcome.error.as_deref().unwrap();
        assert!(!outcome.ok && outcome.state.is_none());
        assert!(words.iter().all(|it| reason.contains(it)), "{reason} lacks one of {words:?}");
    }
    assert_eq!(bmc.events(), ["power 1"]);
}

#[tokio::test]
async fn a_dead_bmc_delays_nobody_else() {
    let bmc = Simulator::start();
    let (_socket, silent) = silent();
    let rows = [node(1, bmc.port), node(2, silent)].concat();
    // Room for two: of three commands for the dead BMC two wait for it, and take none.
    let head = Head::with_accounts(rows, "[power]\nconcurrency = 2\n", &[1, 2]).await;
    let dead = async {
        tokio::join!(head.refused("nid002", None), head.refused("nid002", None), head.refused("nid002", None))
    };
    let alive = async {
        until(async || head.asked(2) > 0).await;
        head.done("nid001", Some("on")).await
    };
    tokio::select! {
        biased;
        told = dead => panic!("the dead BMC came first: {told:?}"),
        state = alive => assert_eq!(state, "on"),
    }
}

#[tokio::test]
async fn a_request_ends_by_its_deadline() {
    let (_socket, silent) = silent();
    let head = Head::with_accounts(node(1, silent), "[power]\ndeadline_s = 1\n", &[1]).await;
    let (first, second) =
        tokio::join!(head.refused("nid001", Some("on")), head.refused("nid001", Some("off")));
    // Which of the two it is for the other hangs on which deadline is seen first.
    let late = |reason: &str| reason.contains("BMC x0c0s1b0 did not get done within 1 s");
    let waited = |reason: &str| reason.contains("BMC x0c0s1b0: its turn did not come");
    assert!(late(&first) || late(&second), "{first}\n{second}");
    assert!([first, second].iter().all(|it| late(it) || waited(it)));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_dead_bmc() {
    let (_socket, silent) = silent();
    let head = Head::with_accounts(node(1, silent), "", &[1]).await;
    let stopped = async {
        until(async || head.asked(1) > 0).await;
        head.stop.cancel();
    };
    let (first, second, ()) =
        tokio::join!(head.refused("nid001", None), head.refused("nid001", None), stopped);
    assert!(first.contains("no answer") || second.contains("no answer"), "{first} {second}");
    assert!(first.contains("service stops") || second.contains("service stops"), "{first} {second}");
    head.stop().await;
}
