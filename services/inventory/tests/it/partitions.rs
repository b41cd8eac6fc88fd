use serde_json::json;
use sqlx::PgPool;

use super::lab::Lab;

const BASE: &str = "/hsm/v2/partitions";

async fn nodes(lab: &Lab) {
    let body = r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On"},{"ID":"x1c0s0b1n0","State":"On"}]}"#;
    lab.call("POST", "/hsm/v2/State/Components", body).await.expect(204);
}

/// Recording smd-groups-2.20-046 to -059, and what follows from one partition a component.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_component_is_in_one_partition_at_most(db: PgPool) {
    let lab = Lab::new(&db);
    nodes(&lab).await;
    let p1 = r#"{"name":"P1","tags":["q"],"members":{"ids":["x1c0s0b0n0"]}}"#;
    let made = lab.call("POST", BASE, p1).await.expect(201);
    assert_eq!(made.headers["location"], "/hsm/v2/partitions/p1");
    for (body, detail) in [
        (r#"{"name":"p1"}"#, "an existing partition that has the same name"),
        (r#"{"name":"p1.2","members":{"ids":["x1c0s0b0n0"]}}"#, "an existing member in another partition."),
    ] {
        let refused = lab.call("POST", BASE, body).await.expect(409).json();
        assert!(refused["detail"].as_str().unwrap().contains(detail), "{refused}");
    }
    let unknown = r#"{"name":"p2","members":{"ids":["x9c0s0b0n0"]}}"#;
    assert_eq!(
        lab.call("POST", BASE, unknown).await.expect(400).json()["detail"],
        "linked component does not exist"
    );
    let again = lab.call("POST", &format!("{BASE}/p1/members"), r#"{"id":"x1c0s0b0n0"}"#).await.expect(409);
    assert!(again.text.contains("in the same partition"), "{again:?}");
    lab.call("POST", &format!("{BASE}/p1/members"), r#"{"id":"x1c0s0b1n0"}"#).await.expect(201);
    assert_eq!(lab.get("/hsm/v2/memberships/x1c0s0b1n0").await["partitionName"], "p1");
    let listed = lab.get("/hsm/v2/State/Components?partition=p1&nidonly=true").await;
    assert_eq!(listed["Components"].as_array().map(Vec::len), Some(2));
    let none = lab.get("/hsm/v2/State/Components?partition=NULL").await;
    assert_eq!(none, json!({"Components": []}));
    let group = r#"{"label":"g","members":{"ids":["x1c0s0b0n0","x1c0s0b1n0"]}}"#;
    lab.call("POST", "/hsm/v2/groups", group).await.expect(201);
    lab.call("DELETE", &format!("{BASE}/p1/members/x1c0s0b0n0"), "").await.expect(200);
    lab.call("DELETE", &format!("{BASE}/p1/members/x1c0s0b0n0"), "").await.expect(404);
    let inside = |query: &str| format!("/hsm/v2/groups/g/members?{query}");
    assert_eq!(lab.get(&inside("partition=p1")).await, json!({"ids": ["x1c0s0b1n0"]}));
    assert_eq!(lab.get(&inside("partition=NULL")).await, json!({"ids": ["x1c0s0b0n0"]}));
    // A component that goes leaves its partition.
    lab.call("DELETE", "/hsm/v2/State/Components/x1c0s0b1n0", "").await.expect(200);
    assert_eq!(lab.get(&format!("{BASE}/p1/members")).await, json!({"ids": []}));
    lab.call("PATCH", &format!("{BASE}/p1"), "{}").await.expect(400);
    lab.call("PATCH", &format!("{BASE}/p1"), r#"{"tags":["T"]}"#).await.expect(204);
    assert_eq!(lab.get(&format!("{BASE}?tag=t")).await[0]["name"], "p1");
    lab.call("DELETE", &format!("{BASE}/p1"), "").await.expect(200);
    assert_eq!(lab.get(&format!("{BASE}/names")).await, json!([]));
    lab.call("GET", &format!("{BASE}/p1"), "").await.expect(404);
    lab.call("GET", &format!("{BASE}/x1"), "").await.expect(400);
}
