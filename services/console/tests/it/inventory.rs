//! Lines follow the inventory.

use ipmi::SolOptions;
use serde_json::json;

use super::head::{Head, component, endpoint, limited, marks, node, until};
use super::simulator::Simulator;

#[tokio::test]
async fn a_node_that_leaves_the_inventory_is_left() {
    let bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    head.tell(json!({"kind": "component", "id": "x0c0s1b0n0", "row": null}));
    head.until_logged("logging stops", 1).await;
    assert!(head.status().await.is_none());
    // The line is free for others.
    let session = bmc.session().await;
    until(async || {
        let modest = SolOptions { take_over: false, ..SolOptions::default() };
        session.activate_sol(modest).await.is_ok()
    })
    .await;
    // And comes back with its node.
    limited(session.close()).await.unwrap();
    head.tell(component(1, None));
    head.until_logged("console open", 2).await;
}

#[tokio::test]
async fn a_renamed_node_gets_a_log_of_its_new_name() {
    let mut bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    head.tell(component(1, Some("login1")));
    until(async || marks(&head.log("login1")).len() == 1).await;
    assert_eq!(marks(&head.log("login1")), ["console open"]);
    let old = marks(&head.log("nid001"));
    assert!(old.len() == 2 && old[1].starts_with("logging stops"), "{old:?}");
    bmc.write("to the new log\r\n").await;
    until(async || head.log("login1").contains("to the new log")).await;
    assert!(!head.log("nid001").contains("to the new log"));
}

#[tokio::test]
async fn a_bmc_that_moves_is_followed() {
    let (first, second) = (Simulator::start().await, Simulator::start().await);
    let head = Head::with_node(&first).await;
    let same = node(1, &first);
    head.tell(same[1].clone());
    head.tell(endpoint(1, second.port, 1));
    head.until_logged("console open", 2).await;
    let mut second = second;
    head.count(&mut second, 0..20, 0).await;
    assert_eq!(marks(&head.log("nid001")).len(), 3);
}

#[tokio::test]
async fn a_node_without_an_address_of_its_bmc_has_no_console() {
    let bmc = Simulator::start().await;
    let mut rows = node(1, &bmc);
    rows[1]["row"]["address"] = json!(null);
    let head = Head::start(rows, "").await;
    assert!(head.status().await.is_none());
    let error = console::client::attach(&head.socket, "nid001", &super::attach::tail()).await.unwrap_err();
    assert!(error.to_string().contains("needs a BMC with an address"), "{error}");
    head.tell(endpoint(1, bmc.port, 1));
    head.until_logged("console open", 1).await;
}
