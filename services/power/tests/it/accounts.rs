//! Which account is used, and when it is read again.

use serde_json::json;

use super::head::{Head, endpoint, node};
use super::simulator::{PASSWORD, Simulator};

#[tokio::test]
async fn a_refused_account_is_read_again() {
    let bmc = Simulator::start();
    let head = Head::start(node(1, bmc.port), "").await;
    head.set_account(1, "swordfish");
    let reason = head.refused("nid001", Some("on")).await;
    assert!(reason.contains("BMC x0c0s1b0") && reason.contains("check user name and password"), "{reason}");
    assert!(!reason.contains("swordfish"), "{reason}");
    assert_eq!(head.asked(1), 2, "read, refused, and read again");
    head.set_account(1, PASSWORD);
    assert_eq!(head.done("nid001", Some("on")).await, "on");
    assert_eq!(head.asked(1), 3);
    assert_eq!(head.done("nid001", None).await, "on");
    assert_eq!(head.asked(1), 3, "what works is kept");
}

#[tokio::test]
async fn an_account_that_changed_is_read_again() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    head.done("nid001", None).await;
    head.done("nid001", None).await;
    assert_eq!(head.asked(1), 1);
    head.tell(endpoint(1, bmc.port, 2)).await;
    head.done("nid001", None).await;
    assert_eq!(head.asked(1), 2);
}

#[tokio::test]
async fn a_bmc_of_another_protocol_or_name_is_told() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    let mut row = endpoint(1, bmc.port, 1);
    row["row"]["protocol"] = json!("redfish");
    head.tell(row).await;
    let reason = head.refused("nid001", None).await;
    assert!(reason.contains("BMC x0c0s1b0 is set to redfish"), "{reason}");
    assert_eq!(head.asked(1), 0);
}
