//! Discoveries as jobs: followed, listed, ended, refused; a second run; machines that only dhcp knows.

use discovery::client::{Phase, cancel, follow, list, show};
use serde_json::{Value, json};
use tests::redfish::makers;

use super::head::{Head, Neighbours, bmcs, limited, nobody, node};

const NIC: [&str; 2] = ["ec:e7:a7:05:a1:01", "ec:e7:a7:05:a1:02"];
const BMC: &str = "b0:26:28:00:00:02";

#[tokio::test]
async fn one_under_way_is_followed_and_ended_and_then_forgotten() {
    let (trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], BMC)]).await;
    trees[0].silence("/redfish/v1/Managers");
    let head = Head::start(Neighbours::default()).await;
    let wish = json!({"targets": ["127.0.0.2"], "redfish_port": port, "ipmi_port": nobody()});
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(head.begin(wish.clone()).await);
    }
    let busy = head.refused(wish).await;
    assert!(busy.contains("pilotctl discover --cancel"), "{busy}");
    let mut updates = follow(&head.client, ids[0]).await.unwrap();
    let first = limited(updates.next()).await.unwrap().unwrap();
    assert!(first.summary.phase == Phase::Running && first.bmc.is_none(), "{first:?}");
    for id in &ids {
        cancel(&head.client, *id).await.unwrap();
    }
    let mut last = first;
    while let Some(update) = limited(updates.next()).await.unwrap() {
        last = update;
    }
    assert_eq!(last.summary.phase, Phase::Cancelled);
    let shown = show(&head.client, ids[0]).await.unwrap();
    assert!(shown.nodes.is_empty(), "who was not asked to the end is put nowhere: {:?}", shown.nodes);
    let listed = list(&head.client).await.unwrap();
    assert!(listed.len() == 4 && listed[0].id == ids[3] && listed[0].by == "uid:0", "{listed:?}");
    cancel(&head.client, ids[0]).await.unwrap();
    let gone = show(&head.client, ids[0]).await.unwrap_err().to_string();
    assert!(gone.contains("pilotctl discover --list"), "{gone}");
    head.stop().await;
}

#[tokio::test]
async fn two_million_and_other_nonsense_are_refused() {
    let head = Head::start(Neighbours::default()).await;
    for (wish, expected) in [
        (json!({"targets": ["nid[0-1999999]"]}), "more than 65536"),
        (json!({"targets": []}), "at least one"),
        (json!({"targets": ["127.0.0.1-9"], "xname": "x1c0s0b{1-3}"}), "3 places for 9 BMCs"),
        (json!({"targets": ["127.0.0.1"], "nic": ""}), "nic"),
    ] {
        let refused = head.refused(wish).await;
        assert!(refused.contains(expected), "{refused}");
    }
    let body = json!({"targets": ["127.0.0.1"], "password": "secret12"});
    let refused = head.client.text(axum::http::Method::POST, "/pilothouse/v1/discoveries", Some(&body)).await;
    assert!(refused.unwrap_err().to_string().contains("unknown field"), "an account is named, never given");
}

#[tokio::test]
async fn a_second_run_shows_what_has_changed() {
    let (trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], BMC)]).await;
    let mut rows = node("x1c0s0b1n0", 7, NIC[1], "127.0.0.2");
    let other = NIC[0].replace(':', "");
    let own = BMC.replace(':', "");
    rows.extend([
        json!({"kind": "interface", "id": other, "row": {"id": other, "mac": NIC[0], "component": "x1c0s0b1n0"}}),
        json!({"kind": "interface", "id": own, "row": {"id": own, "mac": BMC, "component": "x1c0s0b1",
            "addresses": [{"address": "127.0.0.2"}]}}),
    ]);
    let head = Head::start(Neighbours { rows, ..Neighbours::default() }).await;
    let wish = json!({"targets": ["127.0.0.2"], "redfish_port": port, "ipmi_port": nobody()});
    let same = head.discover(wish.clone()).await;
    assert!(same.changes.is_empty() && same.unchanged == 1, "{:?}", same.changes);
    let card = "/redfish/v1/Systems/System.Embedded.1/EthernetInterfaces/NIC.Embedded.1-1-1";
    trees[0].set(card, json!({"Id": "NIC.Embedded.1-1-1", "MACAddress": "ec:e7:a7:05:a1:77"}));
    let changed = head.discover(wish).await;
    let shown: Vec<String> = changed.changes.iter().map(ToString::to_string).collect();
    let expected =
        ["+ x1c0s0b1n0 interface ec:e7:a7:05:a1:77".to_owned(), format!("- x1c0s0b1n0 interface {}", NIC[0])];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn whoever_asked_dhcp_and_is_in_no_inventory_is_asked() {
    let (_trees, port) = bmcs(vec![makers::rack(NIC[0], NIC[1], BMC)]).await;
    let machine = |mac: &str, ip: Value| {
        json!({"mac": mac, "first_seen": "", "last_seen": "", "plane": "bmc", "vendor_class": "",
            "reason": "not-in-inventory", "count": 1, "ip": ip})
    };
    let unknown = vec![machine(BMC, json!("127.0.0.2")), machine(NIC[0], json!(null))];
    let head = Head::start(Neighbours { unknown, ..Neighbours::default() }).await;
    let found = head.discover(json!({"targets": ["unknown"], "redfish_port": port})).await;
    assert_eq!(found.nodes[0].interfaces[0].mac.to_string(), NIC[1]);
    assert!(
        found.warnings.iter().any(|it| it.contains(NIC[0]) && it.contains("range")),
        "{:?}",
        found.warnings
    );
}
