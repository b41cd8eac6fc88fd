use serde_json::{Value, json};
use sqlx::PgPool;

use super::lab::Lab;

const NODES: &str = "/pilothouse/v1/nodes";
const FILE: &str = "nodes:
  - {xname: x1000c1s7b0n0, name: nid001, nid: 1, group: compute, bmc_ip: 172.16.0.101, bmc_mac: '02:00:00:00:01:01',
     interfaces: [{mac_addr: 'ec:e7:a7:05:a1:fc', ip_addrs: [{ip_addr: 172.16.0.1}]},
        {mac_addr: 'ec:e7:a7:05:a1:fd'}]}
  - {xname: x1000c1s7b1n0, name: nid002, nid: 2, group: compute, mac: 'ec:e7:a7:05:a2:28', ipaddr: 172.16.0.2}
";

/// The rows others follow.
async fn component(lab: &Lab, id: &str) -> Value {
    let snapshot = lab.call("GET", "/snapshot", "").await.expect(200).text;
    let rows = snapshot.lines().skip(1).map(|it| serde_json::from_str::<Value>(it).unwrap());
    rows.filter(|it| it["kind"] == "component" && it["id"] == id).map(|it| it["row"].clone()).next().unwrap()
}

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_locked_node_says_by_whom_and_why(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("PUT", NODES, FILE).await.expect(200);
    let path = format!("{NODES}/nid001/lock");
    for wrong in ["{}", r#"{"reason":" "}"#, "{\"reason\":\"a\\nb\"}", r#"{"reason":"x","by":"y"}"#] {
        lab.call("PUT", &path, wrong).await.expect(400);
    }
    lab.call_as(65534, "PUT", &path, r#"{"reason":"mine"}"#).await.expect(401);
    let node = lab.call("PUT", &path, r#"{"reason":"memory errors"}"#).await.expect(200).json();
    assert_eq!((&node["lock"]["by"], &node["lock"]["reason"]), (&json!("root"), &json!("memory errors")));
    assert_eq!(component(&lab, "x1000c1s7b0n0").await["lock"], node["lock"]);
    // It survives whatever clients of the SMD API write.
    let force = r#"{"Components":[{"ID":"x1000c1s7b0n0","State":"Ready"}],"Force":true}"#;
    lab.call("POST", "/hsm/v2/State/Components", force).await.expect(204);
    lab.call("PUT", NODES, FILE).await.expect(200);
    assert_eq!(lab.get(&format!("{NODES}/nid001")).await["lock"], node["lock"]);
    let shown = lab.get("/hsm/v2/State/Components/x1000c1s7b0n0").await;
    assert_eq!((&shown["State"], shown.get("lock")), (&json!("Ready"), None));
    let refused = lab.call("DELETE", &format!("{NODES}/nid001"), "").await.expect(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("locked by root since"), "{refused}");
    let node = lab.call("DELETE", &path, "").await.expect(200).json();
    assert_eq!(node.get("lock"), None);
    lab.call("DELETE", &path, "").await.expect(409);
    lab.call("DELETE", &format!("{NODES}/nid001"), "").await.expect(204);
}

/// Another board has other MAC addresses; everything the node was stays.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_board_is_swapped_and_the_node_stays(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("PUT", NODES, FILE).await.expect(200);
    let path = format!("{NODES}/nid001/board");
    let refuse = async |body: Value, word: &str| {
        let refused = lab.call("PUT", &path, body.to_string()).await.expect(400).json();
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    };
    refuse(json!({}), "say what").await;
    refuse(json!({"interfaces": [{"new": "02:00:00:00:00:01"}]}), "several cards").await;
    refuse(json!({"interfaces": [{"old": "02:00:00:00:00:09", "new": "02:00:00:00:00:01"}]}), "no card")
        .await;
    let taken = json!({"interfaces": [{"old": "ec:e7:a7:05:a1:fc", "new": "ec:e7:a7:05:a2:28"}]});
    refuse(taken, "x1000c1s7b1n0").await;
    let before = lab.get(&format!("{NODES}/nid001")).await;
    // The first card is new, the second took the first one's place.
    let body = json!({"bmc_mac": "02:00:00:00:02:02", "bmc_address": "172.16.0.111", "interfaces": [
        {"old": "ec:e7:a7:05:a1:fc", "new": "ec:e7:a7:05:a1:fd"},
        {"old": "ec:e7:a7:05:a1:fd", "new": "02:00:00:00:00:02"}]});
    let after = lab.call("PUT", &path, body.to_string()).await.expect(200).json();
    for member in ["xname", "name", "nid", "groups", "state", "enabled"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    assert_eq!(
        after["interfaces"],
        json!([{"mac": "02:00:00:00:00:02", "ips": []}, {"mac": "ec:e7:a7:05:a1:fd", "ips": ["172.16.0.1"]}])
    );
    assert_eq!(after["bmc"]["address"], "172.16.0.111");
    let base = "/hsm/v2/Inventory/EthernetInterfaces";
    lab.call("GET", &format!("{base}/ece7a705a1fc"), "").await.expect(404);
    lab.call("GET", &format!("{base}/020000000101"), "").await.expect(404);
    let bmc = lab.get(&format!("{base}/020000000202")).await;
    assert_eq!(
        (&bmc["ComponentID"], &bmc["IPAddresses"][0]["IPAddress"]),
        (&json!("x1000c1s7b0"), &json!("172.16.0.111"))
    );
    let one = json!({"interfaces": [{"new": "02:00:00:00:00:05"}]}).to_string();
    let node = lab.call("PUT", &format!("{NODES}/nid002/board"), one).await.expect(200).json();
    assert_eq!(node["interfaces"], json!([{"mac": "02:00:00:00:00:05", "ips": ["172.16.0.2"]}]));
}
