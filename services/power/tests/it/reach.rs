//! BMCs out of reach and accounts that are refused, as health issues.

use std::net::UdpSocket;

use super::head::{Head, endpoint, node, until};
use super::simulator::{PASSWORD, Simulator};

#[tokio::test]
async fn a_bmc_out_of_reach_is_an_issue_until_it_is_found_again() {
    let bmc = Simulator::start();
    // Nothing ever answers there.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let rows = [node(1, bmc.port), node(2, socket.local_addr().unwrap().port())].concat();
    let head = Head::with_accounts(rows, "", &[1, 2]).await;
    head.done("nid001", None).await;
    head.refused("nid002", None).await;
    until(async || head.issues().contains("bmc-unreachable")).await;
    let issues = head.issues();
    assert!(issues.contains("1 BMCs do not answer: x0c0s2b0") && !issues.contains("x0c0s1b0"), "{issues}");
    head.tell(endpoint(2, bmc.port, 1)).await;
    until(async || !head.issues().contains("bmc-unreachable")).await;
    head.stop().await;
}

#[tokio::test]
async fn an_account_that_is_refused_is_an_issue_until_the_right_one_is_set() {
    let bmc = Simulator::start();
    let head = Head::start(node(1, bmc.port), "").await;
    head.set_account(1, "wrong");
    head.refused("nid001", None).await;
    until(async || head.issues().contains("bmc-account-refused")).await;
    head.set_account(1, PASSWORD);
    head.done("nid001", None).await;
    until(async || !head.issues().contains("bmc-account-refused")).await;
    head.stop().await;
}
