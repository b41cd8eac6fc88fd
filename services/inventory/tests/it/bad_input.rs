use axum::body::Body;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::lab::Lab;

const COMPONENTS: &str = "/hsm/v2/State/Components";
const INTERFACES: &str = "/hsm/v2/Inventory/EthernetInterfaces";
const ENDPOINTS: &str = "/hsm/v2/Inventory/RedfishEndpoints";

/// What a client may have written wrong: the answer is a problem, and nothing is stored.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn nothing_is_half_written(db: PgPool) {
    let lab = Lab::new(&db);
    lab.until_live().await;
    let seq = lab.get("/readyz").await["seq"].clone();
    let nul = "{\"Components\":[{\"ID\":\"x1c0s0b0n0\",\"State\":\"On\",\"SoftwareStatus\":\"a\\u0000b\"}]}";
    let deep = "[".repeat(100_000);
    for (path, body) in [
        (COMPONENTS, "{"),
        (COMPONENTS, ""),
        (COMPONENTS, "\u{0}\u{1}"),
        (COMPONENTS, "[]"),
        (COMPONENTS, "7"),
        (COMPONENTS, "null"),
        (COMPONENTS, r#"{"Components":"x1c0s0b0n0"}"#),
        (COMPONENTS, r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On"},{"ID":7}]}"#),
        (COMPONENTS, r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On"},{"ID":"x1c0s0b0n0q"}]}"#),
        (COMPONENTS, r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On","NID":99999999999999999999}]}"#),
        (COMPONENTS, nul),
        (COMPONENTS, &deep),
        (INTERFACES, r#"{"MACAddress":["ec:e7:a7:05:a1:fc"]}"#),
        (INTERFACES, r#"{"MACAddress":"ec:e7:a7:05:a1:fc","IPAddresses":[{"IPAddress":7}]}"#),
        (INTERFACES, r#"{"MACAddress":"ec:e7:a7:05:a1:fc","IPAddresses":"172.16.0.1"}"#),
        (INTERFACES, r#"{"MACAddress":"ec:e7:a7:05:a1:fc","Description":"a\u0000b"}"#),
        (ENDPOINTS, r#"{"RedfishEndpoints":[{"ID":"x1c0s0b0"},{"ID":"x1c0s0b0n0"}]}"#),
        (ENDPOINTS, r#"{"ID":"x1c0s0b0","SchemaVersion":1,"Systems":{}}"#),
        ("/hsm/v2/groups", r#"{"label":"g","members":{"ids":"x1c0s0b0n0"}}"#),
        ("/hsm/v2/groups", r#"{"label":"g","description":"a\u0000b"}"#),
        ("/hsm/v2/partitions", r#"{"name":7}"#),
    ] {
        let answer = lab.call("POST", path, body.to_owned()).await.expect(400);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path} {body:.80}");
        assert_eq!(answer.json()["status"], 400);
    }
    assert_eq!(lab.get("/readyz").await["seq"], seq);
    assert_eq!(lab.get(COMPONENTS).await, json!({"Components": []}));
    assert_eq!(lab.get(INTERFACES).await, json!([]));
    assert_eq!(lab.get(ENDPOINTS).await, json!({"RedfishEndpoints": []}));
}

/// Of a batch that one row makes impossible in the database too, nothing stays.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_bulk_write_is_all_or_nothing(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("POST", ENDPOINTS, r#"{"ID":"x1c0s0b1","FQDN":"x1c0s0b1"}"#).await.expect(201);
    let many = r#"{"RedfishEndpoints":[{"ID":"x1c0s0b0"},{"ID":"x1c0s0b1"},{"ID":"x1c0s0b2"}]}"#;
    lab.call("POST", ENDPOINTS, many).await.expect(409);
    let twice = r#"{"RedfishEndpoints":[{"ID":"x1c0s0b3"},{"ID":"x1c0s0b3"}]}"#;
    lab.call("POST", ENDPOINTS, twice).await.expect(409);
    let listed = lab.get(ENDPOINTS).await;
    assert_eq!(listed["RedfishEndpoints"].as_array().map(Vec::len), Some(1), "{listed}");
    let one = r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On","NID":1}]}"#;
    lab.call("POST", COMPONENTS, one).await.expect(204);
    let nids = r#"{"Components":[{"ID":"x1c0s0b0n0","NID":5},{"ID":"bogus","NID":6}]}"#;
    lab.call("PATCH", &format!("{COMPONENTS}/BulkNID"), nids).await.expect(400);
    let state = r#"{"ComponentIDs":["x1c0s0b0n0","bogus"],"State":"Off"}"#;
    lab.call("PATCH", &format!("{COMPONENTS}/BulkStateData"), state).await.expect(400);
    let node = lab.get(&format!("{COMPONENTS}/x1c0s0b0n0")).await;
    assert_eq!((&node["NID"], &node["State"]), (&json!(1), &json!("On")));
    let members = r#"{"ids":["x1c0s0b0n0","x9c0s0b0n0"]}"#;
    lab.call("POST", "/hsm/v2/groups", r#"{"label":"g","members":{"ids":["x1c0s0b0n0"]}}"#).await.expect(201);
    lab.call("PUT", "/hsm/v2/groups/g/members", members.to_owned()).await.expect(400);
    assert_eq!(lab.get("/hsm/v2/groups/g/members").await, json!({"ids": ["x1c0s0b0n0"]}));
}

/// A body over the limit and a body that breaks off are the client's fault; the type that it claims is nobody's.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn bodies_too_long_and_broken_are_refused(db: PgPool) {
    let lab = Lab::new(&db);
    lab.until_live().await;
    let long = format!(
        r#"{{"Components":[{{"ID":"x1c0s0b0n0","State":"On","SoftwareStatus":"{}"}}]}}"#,
        "a".repeat(100 << 20)
    );
    let answer = lab.call("POST", COMPONENTS, long).await.expect(413);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let broken = futures_util::stream::iter([Ok("{\"Components\":"), Err(std::io::Error::other("gone"))]);
    lab.call("POST", COMPONENTS, Body::from_stream(broken)).await.expect(400);
    assert_eq!(lab.get(COMPONENTS).await, json!({"Components": []}));
    for (method, path, allow) in [
        ("PATCH", COMPONENTS, "GET,POST,DELETE"),
        ("POST", "/hsm/v2/State/Components/x1c0s0b0n0", "GET,PUT,DELETE"),
        ("PUT", INTERFACES, "GET,POST,DELETE"),
        ("PUT", "/hsm/v2/partitions", "GET,POST"),
        ("POST", "/hsm/v2/Inventory/ComponentEndpoints", "GET,DELETE"),
        ("DELETE", "/hsm/v2/service/values", "GET"),
    ] {
        let answer = lab.call(method, path, "{}").await.expect(405);
        assert_eq!(
            (answer.headers["allow"].to_str().unwrap(), &answer.json()["status"]),
            (allow, &Value::from(405))
        );
    }
}

/// What clients probe and the bootcamp never fills.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn collections_that_nobody_fills_are_empty(db: PgPool) {
    let lab = Lab::new(&db);
    for (path, empty) in [
        ("Inventory/ServiceEndpoints", json!({"ServiceEndpoints": []})),
        ("Inventory/Hardware", json!([])),
        ("Inventory/HardwareByFRU", json!([])),
        ("Subscriptions/SCN", json!({"SubscriptionList": null})),
        ("sysinfo/powermaps", json!([])),
        ("Defaults/NodeMaps", json!({"NodeMaps": []})),
        ("partitions", json!([])),
        ("partitions/names", json!([])),
        ("groups/labels", json!([])),
    ] {
        assert_eq!(lab.get(&format!("/hsm/v2/{path}")).await, empty, "{path}");
    }
    lab.call("GET", "/hsm/v2/locks/status", "").await.expect(400);
}
