//! What BMCs of several makers tell, and IPMI where there is no Redfish.

use discovery::client::{Discovery, Protocol, endpoint_body, nodes_yaml};
use serde_json::json;
use tests::redfish::makers;
use tests::swarm::{self, Swarm};

use super::head::{Head, Neighbours, bmcs, nobody, node};

const NIC: [&str; 2] = ["ec:e7:a7:05:a1:01", "ec:e7:a7:05:a1:02"];

fn bmc_mac(last: u8) -> String {
    format!("b0:26:28:00:00:{last:02x}")
}

/// Of each node its xname, the card it boots from and why.
fn boots(found: &Discovery) -> Vec<(String, String, String)> {
    let nodes = found.nodes.iter();
    nodes
        .map(|it| {
            let first = &it.interfaces[0];
            (it.xname.to_string(), first.mac.to_string(), first.note.clone())
        })
        .collect()
}

#[tokio::test]
async fn every_maker_s_cards_are_found_and_the_one_that_boots_is_chosen() {
    let (trees, port) = bmcs(vec![
        makers::baseboard("ec:e7:a7:05:a1:fc", &bmc_mac(2)),
        makers::rack("ec:e7:a7:05:a1:31", "ec:e7:a7:05:a1:32", &bmc_mac(3)),
        makers::older("ec:e7:a7:05:a1:41", "ec:e7:a7:05:a1:42", &bmc_mac(4)),
        makers::adapters("ec:e7:a7:05:a1:51", "ec:e7:a7:05:a1:52", &bmc_mac(5)),
        makers::blade(NIC, &bmc_mac(6)),
    ])
    .await;
    let head = Head::start(Neighbours::default()).await;
    let wish = json!({"targets": ["127.0.0.2-6"], "xname": "x1000c1s7b{1-5}n0", "name": "nid{nid:03}", "nid": 1,
        "ip": "172.16.0.1-6", "redfish_port": port});
    let found = head.discover(wish).await;
    let expected = [
        ("x1000c1s7b1n0", "ec:e7:a7:05:a1:fc", "Nic259 NICChannel0; boots: the only one"),
        ("x1000c1s7b2n0", "ec:e7:a7:05:a1:32", "Boot0003 (PXE Slot 3)"),
        ("x1000c1s7b3n0", "ec:e7:a7:05:a1:42", "331FLR 2, link up; boots: the only one with a link"),
        ("x1000c1s7b4n0", "ec:e7:a7:05:a1:52", "the firmware boots from it by network"),
        ("x1000c1s7b5n0", NIC[0], "HPCNet0 0, link up; boots: the only one"),
        ("x1000c1s7b5n1", NIC[1], "HPCNet0 0, link up; boots: the only one"),
    ];
    let boots = boots(&found);
    assert_eq!(boots.len(), expected.len(), "{boots:?} {:?}", found.warnings);
    for ((xname, mac, note), expected) in boots.iter().zip(expected) {
        assert_eq!((xname.as_str(), mac.as_str()), (expected.0, expected.1), "{boots:?}");
        assert!(note.contains(expected.2), "{note}");
    }
    for (bmc, last) in found.bmcs.iter().zip(2..) {
        assert_eq!(bmc.mac.map(|it| it.to_string()), Some(bmc_mac(last)), "{bmc:?}");
        assert!(bmc.error.is_none() && bmc.certificate.is_some(), "{bmc:?}");
    }
    assert_eq!(found.bmcs[1].systems[0].serial, "7XKLM");
    assert_eq!(found.bmcs[3].systems[0].serial, "1234");
    assert_eq!(found.nodes[1].interfaces.len(), 2, "every card is listed");
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    assert_eq!(found.changes.len(), 6, "all of them are new: {:?}", found.changes);
    assert!(trees.iter().all(|it| it.asked().iter().all(|it| it.starts_with("GET "))), "nothing is changed");

    let yaml = nodes_yaml(&found);
    for line in
        ["- name: nid001", "  bmc_mac: b0:26:28:00:00:02", "      ip_addr: 172.16.0.6", "  group: compute"]
    {
        assert!(yaml.lines().any(|it| it == line), "{line} is not in\n{yaml}");
    }
    let body = endpoint_body(&found, &found.bmcs[4]).unwrap();
    assert_eq!(body["Systems"][1]["uri"], "/redfish/v1/Systems/Node1");
    assert_eq!(body["Systems"][1]["ethernet_interfaces"][0]["ip"], "172.16.0.6");
    head.stop().await;
}

#[tokio::test]
async fn a_card_may_be_asked_for_and_a_subnet_has_whoever_answers() {
    let (_trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], &bmc_mac(2))]).await;
    let head = Head::start(Neighbours::default()).await;
    let wish = json!({"targets": ["127.0.0.0/29"], "nic": "NIC.Embedded.1-1-1", "redfish_port": port,
        "ipmi_port": nobody()});
    let found = head.discover(wish).await;
    assert_eq!((found.bmcs.len(), found.summary.targets), (1, 6), "{:?}", found.bmcs);
    let boots = boots(&found);
    assert!(boots[0].1 == NIC[0] && boots[0].2.contains("asked for"), "{boots:?}");
}

#[tokio::test]
async fn where_there_is_no_redfish_ipmi_tells_what_it_knows() {
    let swarm = Swarm::start(swarm::Options::default()).unwrap();
    let rows = node("x1c0s0b1n0", 7, NIC[0], "127.0.0.1");
    let head = Head::start(Neighbours { rows, ..Neighbours::default() }).await;
    let wish =
        json!({"targets": ["127.0.0.1"], "redfish_port": nobody(), "ipmi_port": swarm.address(1).port()});
    let found = head.discover(wish).await;
    let bmc = &found.bmcs[0];
    assert!(bmc.speaks == Some(Protocol::Ipmi) && bmc.mac.is_some(), "{bmc:?}");
    assert!(bmc.systems[0].serial.contains("SW000001"), "{bmc:?}");
    // The cards are those of the inventory: IPMI does not tell them.
    let boots = boots(&found);
    assert_eq!((boots[0].0.as_str(), boots[0].1.as_str()), ("x1c0s0b1n0", NIC[0]), "{boots:?}");
    assert_eq!(found.nodes[0].name, "nid007");
}
