use serde_json::{Value, json};
use sqlx::PgPool;

use super::lab::Lab;

const ENDPOINTS: &str = "/hsm/v2/Inventory/RedfishEndpoints";
const INTERFACES: &str = "/hsm/v2/Inventory/EthernetInterfaces";

/// What `ochami discover static` sends for one node (recording ochami-seed-002).
fn endpoint(name: &str) -> Value {
    json!({"ID": "x1000c1s7b1", "Type": "NodeBMC", "Name": name,
        "UUID": "17ed994e-4091-4dd4-9c0d-b5bec0e074e1",
        "MACAddr": "c2:77:05:e2:03:48", "IPAddress": "172.16.0.101",
        "DiscoveryInfo": {"LastAttempt": "0001-01-01T00:00:00Z"}, "SchemaVersion": 1,
        "Systems": [{"uri": "http://127.0.0.1:18080/redfish/v1/Systems/x1000c1s7b1n0", "name": name,
            "uuid": "8c6c15dc-746c-410b-849e-a4e1563b7b46", "ethernet_interfaces": [{
            "mac": "ec:e7:a7:05:a1:fc",
            "ip": "172.16.0.1", "name": "x1000c1s7b1n0", "description": "Interface 0 for nid001"}]}],
        "Managers": [{"uri": "http://127.0.0.1:18080/redfish/v1/Managers/x1000c1s7b1", "name": "x1000c1s7b1",
            "uuid": "17ed994e-4091-4dd4-9c0d-b5bec0e074e1", "type": "NodeBMC", "ethernet_interfaces": [{
            "mac": "c2:77:05:e2:03:48", "ip": "172.16.0.101", "name": "x1000c1s7b1",
            "description": "Interface for BMC x1000c1s7b1"}]}]})
}

const NODE_NIC: &str = r#"{"ComponentID":"x1000c1s7b1n0","Type":"Node","Description":"Interface 0 for nid001",
    "MACAddress":"ec:e7:a7:05:a1:fc","IPAddresses":[{"IPAddress":"172.16.0.1","Network":""}]}"#;
const NODE: &str =
    r#"{"Components":[{"ID":"x1000c1s7b1n0","Type":"Node","State":"On","Enabled":true,"NID":1}]}"#;

async fn discover(lab: &Lab, old: bool) {
    lab.call("POST", "/hsm/v2/State/Components", NODE).await.expect(204);
    let posted = lab.call("POST", ENDPOINTS, endpoint("nid001").to_string()).await.expect(201);
    assert_eq!(posted.json(), json!([{"URI": format!("{ENDPOINTS}/x1000c1s7b1")}]));
    if old {
        lab.call("POST", INTERFACES, NODE_NIC).await.expect(201);
    }
    let group =
        r#"{"label":"compute","description":"The compute group","members":{"ids":["x1000c1s7b1n0"]}}"#;
    lab.call("POST", "/hsm/v2/groups", group).await.expect(201);
}

/// State and Flag of a node that was posted first survive, and both generations of the CLI end well.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn both_generations_of_discover_static_end_in_one_state(db: PgPool) {
    let lab = Lab::new(&db);
    discover(&lab, true).await;
    lab.call("POST", INTERFACES, NODE_NIC).await.expect(409);
    let node = lab.get("/hsm/v2/State/Components/x1000c1s7b1n0").await;
    assert_eq!((&node["State"], &node["Flag"], &node["NID"]), (&json!("On"), &json!("OK"), &json!(1)));
    assert_eq!(lab.get("/hsm/v2/State/Components/x1000c1s7b1").await["Type"], "NodeBMC");
    let parts = lab.get("/hsm/v2/Inventory/ComponentEndpoints").await;
    assert_eq!(parts["ComponentEndpoints"].as_array().map(Vec::len), Some(2));
    let shown = lab.get("/pilothouse/v1/nodes").await;
    assert_eq!(
        shown,
        json!([{"xname": "x1000c1s7b1n0", "name": "nid001", "nid": 1, "groups": ["compute"],
            "interfaces": [{"mac": "ec:e7:a7:05:a1:fc", "ips": ["172.16.0.1"]}],
            "bmc": {"xname": "x1000c1s7b1", "address": "172.16.0.101"}, "state": "On", "enabled": true}])
    );
    // Once more with --overwrite: POST is refused, PUT changes.
    lab.call("POST", ENDPOINTS, endpoint("nid001").to_string()).await.expect(409);
    let path = format!("{ENDPOINTS}/x1000c1s7b1");
    let put = lab.call("PUT", &path, endpoint("other").to_string()).await.expect(200);
    assert_eq!(put.json()["Name"], "other");
    lab.call("POST", INTERFACES, NODE_NIC).await.expect(409);
}

/// The listing that the bootcamp shows after `ochami discover static`, BMCs being NodeBMC and nodes numbered as posted.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn state_and_flag_of_a_node_survive_its_endpoint(db: PgPool) {
    let lab = Lab::new(&db);
    let nodes: Vec<Value> = (1..=9)
        .map(|it| json!({"ID": format!("x1000c1s7b{it}n0"), "Type": "Node", "State": "On", "Enabled": true, "NID": it}))
        .collect();
    lab.call("POST", "/hsm/v2/State/Components", json!({"Components": nodes}).to_string()).await.expect(204);
    for it in 1..=9 {
        let text = endpoint(&format!("nid00{it}")).to_string();
        let text =
            text.replace("x1000c1s7b1", &format!("x1000c1s7b{it}")).replace(":03:48", &format!(":03:4{it}"));
        let text = text.replace("a1:fc", &format!("a1:f{it}"));
        lab.call("POST", ENDPOINTS, text).await.expect(201);
    }
    let shown: Vec<Value> = (1..=9)
        .flat_map(|it| {
            let bmc = format!("x1000c1s7b{it}");
            let node = json!({"Enabled": true, "Flag": "OK", "ID": format!("{bmc}n0"), "NID": it,
                "Role": "Compute", "State": "On", "Type": "Node"});
            [json!({"Enabled": true, "ID": bmc, "Type": "NodeBMC"}), node]
        })
        .collect();
    assert_eq!(lab.get("/hsm/v2/State/Components").await, json!({"Components": shown}));
}

/// Not in an answer, not in the feed, not after a restart: a BMC's password is for power, console and discovery alone.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_password_never_comes_back(db: PgPool) {
    let lab = Lab::new(&db);
    let mut body = endpoint("nid001");
    (body["User"], body["Password"]) = (json!("admin"), json!("canary"));
    lab.call("POST", ENDPOINTS, body.to_string()).await.expect(201);
    let path = format!("{ENDPOINTS}/x1000c1s7b1");
    let patched = lab.call("PATCH", &path, r#"{"Password":"canary2"}"#).await.expect(200);
    assert!(!patched.text.contains("canary") && !patched.text.contains("Password"), "{patched:?}");
    lab.call("PUT", &path, body.to_string()).await.expect(200);
    for path in ["/snapshot", ENDPOINTS, &path, "/pilothouse/v1/bmcs", "/pilothouse/v1/bmc-credentials"] {
        let answer = lab.call("GET", path, "").await.expect(200);
        assert!(!answer.text.contains("canary"), "{path}: {answer:?}");
    }
}

/// An import leaves nothing to do for `discover static`, and the other way round.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn an_import_after_discover_static_changes_nothing(db: PgPool) {
    let lab = Lab::new(&db);
    discover(&lab, false).await;
    let file = "nodes: [{xname: x1000c1s7b1n0, name: nid001, nid: 1, group: compute, bmc_ip: 172.16.0.101,
        bmc_mac: 'c2:77:05:e2:03:48',
        interfaces: [{mac_addr: 'ec:e7:a7:05:a1:fc', ip_addrs: [{ip_addr: 172.16.0.1}]}]}]";
    let answer = lab.call("PUT", "/pilothouse/v1/nodes?dry_run=true", file).await.expect(200).json();
    assert_eq!(answer, json!({"added": [], "changed": [], "unchanged": 1, "dry_run": true}));
}

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn an_endpoint_that_goes_empties_its_components(db: PgPool) {
    let lab = Lab::new(&db);
    discover(&lab, false).await;
    lab.call("DELETE", &format!("{ENDPOINTS}/x1000c1s7b1"), "").await.expect(200);
    lab.call("DELETE", &format!("{ENDPOINTS}/x1000c1s7b1"), "").await.expect(404);
    let node = lab.get("/hsm/v2/State/Components/x1000c1s7b1n0").await;
    assert_eq!((&node["State"], &node["NID"]), (&json!("Empty"), &json!(1)));
    let parts = lab.get("/hsm/v2/Inventory/ComponentEndpoints").await;
    assert_eq!(parts, json!({"ComponentEndpoints": []}));
    assert_eq!(lab.get(INTERFACES).await.as_array().map(Vec::len), Some(2));
    assert_eq!(lab.get("/pilothouse/v1/bmcs").await, json!([]));
}
