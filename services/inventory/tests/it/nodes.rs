use serde_json::json;
use sqlx::PgPool;

use super::lab::{self, Lab};

const NODES: &str = "/pilothouse/v1/nodes";
const FILE: &str = "nodes:
  - {xname: x1000c1s7b0n0, name: nid001, nid: 1, group: compute, mac: 'ec:e7:a7:05:a1:fc', ipaddr: 172.16.0.1,
     bmc_ipaddr: 172.16.0.101}
  - {xname: x1000c1s7b1n0, name: nid002, nid: 2, group: compute, mac: 'ec:e7:a7:05:a2:28', ipaddr: 172.16.0.2,
     bmc_ipaddr: 172.16.0.102}
";

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn importing_twice_changes_nothing(db: PgPool) {
    let lab = Lab::new(&db);
    let dry = lab.call("PUT", &format!("{NODES}?dry_run=true"), FILE).await.expect(200).json();
    assert_eq!(dry["added"], json!(["x1000c1s7b0n0", "x1000c1s7b1n0"]));
    assert_eq!(lab.get(NODES).await, json!([]));
    let first = lab.call("PUT", NODES, FILE).await.expect(200).json();
    assert_eq!((&first["added"], &first["dry_run"]), (&dry["added"], &json!(false)));
    let seq = lab.get("/readyz").await["seq"].clone();
    let second = lab.call("PUT", NODES, FILE).await.expect(200).json();
    assert_eq!(second, json!({"added": [], "changed": [], "unchanged": 2, "dry_run": false}));
    assert_eq!(lab.get("/readyz").await["seq"], seq, "an empty import is no change of the feed");
    let node = lab.get(&format!("{NODES}/nid001")).await;
    assert_eq!(node["bmc"], json!({"xname": "x1000c1s7b0", "address": "172.16.0.101"}));
    assert_eq!(lab.get("/hsm/v2/State/Components/x1000c1s7b0").await["Type"], "NodeBMC");
    let group = lab.get("/hsm/v2/groups/compute").await;
    assert_eq!(group["members"]["ids"], json!(["x1000c1s7b0n0", "x1000c1s7b1n0"]));
    let hosts = lab.hosts_with("nid002").await;
    assert!(hosts.contains("\n172.16.0.254 demo.openchami.cluster demo-head"), "{hosts}");
    assert!(hosts.contains("\n172.16.0.1 nid001 nid001.openchami.cluster x1000c1s7b0n0\n"), "{hosts}");
    assert!(
        hosts.contains("\n172.16.0.102 nid-bmc002 nid-bmc002.openchami.cluster x1000c1s7b1\n"),
        "{hosts}"
    );
}

/// A card that was exchanged, names that were swapped, a group that was left: each is told, field by field.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn an_import_tells_what_it_changes(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("PUT", NODES, FILE).await.expect(200);
    let file = FILE.replace("nid001", "nid00x").replace("nid002", "nid001").replace("nid00x", "nid002");
    let file = file.replace("ec:e7:a7:05:a1:fc", "ec:e7:a7:05:a1:fd").replacen("compute", "login", 1);
    let answer = lab.call("PUT", NODES, file.clone()).await.expect(200).json();
    let fields = &answer["changed"][0]["fields"];
    assert_eq!(answer["changed"][1]["fields"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        fields,
        &json!([
            {"field": "name", "from": "nid001", "to": "nid002"},
            {"field": "interfaces", "from": "ec:e7:a7:05:a1:fc 172.16.0.1",
                "to": "ec:e7:a7:05:a1:fd 172.16.0.1"},
            {"field": "groups", "from": "compute", "to": "login"},
        ])
    );
    assert_eq!(lab.get(&format!("{NODES}/nid002")).await["xname"], "x1000c1s7b0n0");
    lab.call("GET", "/hsm/v2/Inventory/EthernetInterfaces/ece7a705a1fc", "").await.expect(404);
    let again = lab.call("PUT", NODES, file).await.expect(200).json();
    assert_eq!(again["unchanged"], 2);
}

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_wrong_file_is_refused_whole_with_its_lines(db: PgPool) {
    let lab = Lab::new(&db);
    let twice = format!("{FILE}  - {{xname: x1000c1s7b2n0, nid: 1}}\n");
    let refused = lab.call("PUT", NODES, twice).await.expect(400).json();
    assert_eq!(refused["type"], "urn:pilothouse:bad-nodes-file");
    let text = "the NID 1 of x1000c1s7b2n0 is that of x1000c1s7b0n0 in line 2 already";
    assert_eq!(refused["errors"], json!([{"pointer": "line 6", "detail": text}]));
    assert_eq!(lab.get(NODES).await, json!([]));
    // What another node of the inventory has is refused too.
    lab.call("PUT", NODES, FILE).await.expect(200);
    let other = "nodes: [{xname: x1000c1s7b3n0, mac: 'ec:e7:a7:05:a1:fc'}]";
    let refused = lab.call("PUT", NODES, other).await.expect(400).json();
    assert!(refused["detail"].as_str().unwrap().contains("x1000c1s7b0n0"), "{refused}");
}

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_node_is_changed_and_removed_by_name(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("PUT", NODES, FILE).await.expect(200);
    let patch = r#"{"name":"login1","enabled":false,"groups":["login"]}"#;
    let node = lab.call("PATCH", &format!("{NODES}/nid001"), patch).await.expect(200).json();
    assert_eq!((&node["name"], &node["groups"]), (&json!("login1"), &json!(["login"])));
    lab.call("PATCH", &format!("{NODES}/login1"), r#"{"name":"nid002"}"#).await.expect(400);
    lab.call("PATCH", &format!("{NODES}/login1"), r#"{"nid":2}"#).await.expect(400);
    lab.call("DELETE", &format!("{NODES}/login1"), "").await.expect(204);
    lab.call("GET", &format!("{NODES}/login1"), "").await.expect(404);
    let left = lab.get("/hsm/v2/State/Components").await;
    assert_eq!(left["Components"].as_array().map(Vec::len), Some(2), "{left}");
    assert_eq!(lab.get("/hsm/v2/Inventory/EthernetInterfaces").await.as_array().map(Vec::len), Some(1));
    assert_eq!(lab.get("/pilothouse/v1/bmcs").await.as_array().map(Vec::len), Some(1));
}

/// Known nodes are known after a restart without a database.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn reads_go_on_from_the_last_good_copy(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("PUT", NODES, FILE).await.expect(200);
    let lab = lab.restart(&lab::no_database());
    assert_eq!(lab.get(NODES).await.as_array().map(Vec::len), Some(2));
    let answer = lab.call("PUT", NODES, FILE).await.expect(503);
    assert!(answer.headers.contains_key("retry-after"));
}
