//! BMCs that are down, that lie, that are somebody else's.

use std::collections::HashMap;

use discovery::client::nodes_yaml;
use serde_json::json;
use tests::redfish::makers::{self, collection};

use super::head::{Head, Neighbours, bmcs, limited, nobody, node};

const NIC: [&str; 2] = ["ec:e7:a7:05:a1:01", "ec:e7:a7:05:a1:02"];
const BMC: &str = "b0:26:28:00:00:02";

#[tokio::test]
async fn who_is_down_gets_an_address_made_up_and_a_warning_and_the_others_are_undisturbed() {
    let (_trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], BMC)]).await;
    let head = Head::start(Neighbours::default()).await;
    let wish = json!({"targets": ["127.0.0.2-3"], "xname": "x1000c1s7b{1-2}n0", "redfish_port": port,
        "ipmi_port": nobody()});
    let found = head.discover(wish).await;
    assert_eq!((found.summary.answered, found.nodes.len()), (1, 2));
    let error = found.bmcs[1].error.as_deref().unwrap();
    assert!(
        error.contains("neither Redfish nor IPMI") && error.contains("check the BMC's address"),
        "{error}"
    );
    let down = &found.nodes[1];
    assert!(down.is_made_up() && down.interfaces[0].mac.to_string().starts_with("02:00:00:"), "{down:?}");
    assert!(found.warnings.iter().any(|it| it.contains("x1000c1s7b2n0")), "{:?}", found.warnings);
    let yaml = nodes_yaml(&found);
    assert!(
        yaml.contains("# warning: x1000c1s7b2n0") && yaml.contains("made up; put the card's own"),
        "{yaml}"
    );
    let stored = discovery::client::import_yaml(&found).unwrap();
    assert!(stored.contains("x1000c1s7b1n0") && !stored.contains("02:00:00:"), "{stored}");
}

#[tokio::test]
async fn one_that_lies_tells_what_is_left_and_ends() {
    let mut looping = makers::rack(NIC[0], NIC[1], BMC);
    let cards = "/Systems/System.Embedded.1/EthernetInterfaces";
    // Each page names the next, and a member that is the collection itself.
    collection(&mut looping, cards, &["NIC.Embedded.1-1-1", "..", "NIC.Embedded.1-1-1"]);
    let path = format!("/redfish/v1{cards}");
    let page = looping.get_mut(&path).unwrap();
    page["Members@odata.nextLink"] = json!(format!("{path}?$skip=1"));
    page["Members"].as_array_mut().unwrap().push(json!({"@odata.id": path}));
    let (trees, port) = bmcs(vec![
        looping,
        makers::adapters(NIC[0], NIC[1], BMC),
        makers::adapters(NIC[0], "ec:e7:a7:05:a1:03", "b0:26:28:00:00:04"),
    ])
    .await;
    trees[1].flood("/redfish/v1/Chassis/1/NetworkAdapters/AOC/Ports");
    let head = Head::start(Neighbours::default()).await;
    let rule = "x1c0s0b{1-3}n0";
    let wish =
        |it: &str| json!({"targets": [it], "xname": rule, "redfish_port": port, "ipmi_port": nobody()});
    let found = head.discover(wish("127.0.0.2-3")).await;
    assert!(trees[0].asked().len() < 1500, "{}", trees[0].asked().len());
    let macs = |at: usize| -> Vec<String> {
        found.bmcs[at].systems[0].nics.iter().map(|it| it.mac.to_string()).collect()
    };
    assert_eq!(macs(0), [NIC[0]]);
    assert_eq!(macs(1), NIC, "the functions tell what the ports do not");

    trees[2].silence("/redfish/v1/Chassis/1/NetworkAdapters/AOC/NetworkDeviceFunctions");
    let table = "[discovery]\ndeadline = \"2s\"\n";
    let hurried = Head::start(Neighbours { table, ..Neighbours::default() }).await;
    let found = hurried.discover(wish("127.0.0.4")).await;
    let error = found.bmcs[0].error.as_deref().unwrap();
    assert!(error.contains("discovery.deadline"), "{error}");
}

#[tokio::test]
async fn an_account_that_is_refused_is_not_tried_by_the_other_protocol_and_one_that_is_missing_says_so() {
    let (trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], BMC)]).await;
    let account = |user: &str| (user.to_owned(), "wrong".to_owned());
    let accounts =
        HashMap::from([("x1c0s0b1".to_owned(), account("admin")), ("class:gpu".to_owned(), account(""))]);
    let head = Head::start(Neighbours { accounts, ..Neighbours::default() }).await;
    let ask = |more: serde_json::Value| {
        let mut wish = json!({"targets": ["127.0.0.2"], "redfish_port": port, "ipmi_port": nobody()});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish
    };
    let refused = head.discover(ask(json!({"xname": "x1c0s0b1"}))).await;
    let error = refused.bmcs[0].error.as_deref().unwrap();
    assert!(error.contains("does not take this account") && !error.contains("IPMI"), "{error}");
    let before = trees[0].asked().len();
    let missing = head.discover(ask(json!({"class": "gpu"}))).await;
    let error = missing.bmcs[0].error.as_deref().unwrap();
    assert!(error.contains("pilotctl bmc set") && trees[0].asked().len() == before, "{error}");
}

#[tokio::test]
async fn a_bmc_with_another_certificate_than_power_knows_is_told_nothing() {
    let (trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], BMC)]).await;
    let rows = node("x1c0s0b1n0", 7, NIC[0], "127.0.0.2");
    let certificate = Some(vec!["AB"; 32].join(":"));
    let head = Head::start(Neighbours { rows, certificate, ..Neighbours::default() }).await;
    let wish = json!({"targets": ["127.0.0.2"], "redfish_port": port});
    let found = head.discover(wish.clone()).await;
    let error = found.bmcs[0].error.as_deref().unwrap();
    assert!(error.contains("pilotctl bmc trust x1c0s0b1") && error.contains("AB:AB"), "{error}");
    assert!(trees[0].asked().is_empty(), "{:?}", trees[0].asked());
    // The document says otherwise from now on.
    head.change_document("[power.tls]\nx1c0s0b1 = \"insecure\"\n");
    let found = head.discover(wish).await;
    assert!(found.bmcs[0].is_whole(), "{:?}", found.bmcs[0]);
}

#[tokio::test]
async fn a_node_is_never_shown_the_account_of_bmcs() {
    let (trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], BMC)]).await;
    let mut rows = node("x1c0s0b1n0", 7, NIC[0], "127.0.0.9");
    rows[2]["row"]["addresses"] = json!([{"address": "127.0.0.2"}]);
    let head = Head::start(Neighbours { rows, ..Neighbours::default() }).await;
    let wish = json!({"targets": ["127.0.0.2"], "redfish_port": port, "ipmi_port": nobody()});
    let found = limited(head.discover(wish)).await;
    let error = found.bmcs[0].error.as_deref().unwrap();
    assert!(error.contains("address of the node x1c0s0b1n0"), "{error}");
    assert!(trees[0].asked().is_empty(), "{:?}", trees[0].asked());
}
