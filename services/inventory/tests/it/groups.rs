use serde_json::json;
use sqlx::PgPool;

use super::lab::Lab;

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn members_are_known_unique_and_in_one_group_of_a_set(db: PgPool) {
    let lab = Lab::new(&db);
    let body = r#"{"label":"Compute","members":{"ids":["x1c0s0b0n0"]}}"#;
    let refused = lab.call("POST", "/hsm/v2/groups", body).await.expect(400);
    assert_eq!(refused.json()["detail"], "linked component does not exist");
    let nodes = r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On"},{"ID":"x1c0s0b1n0","State":"On"}]}"#;
    lab.call("POST", "/hsm/v2/State/Components", nodes).await.expect(204);
    lab.call("POST", "/hsm/v2/groups", body).await.expect(201);
    lab.call("POST", "/hsm/v2/groups", body).await.expect(409);
    for label in ["a", "b"] {
        let body = json!({"label": label, "exclusiveGroup": "slots"}).to_string();
        lab.call("POST", "/hsm/v2/groups", body).await.expect(201);
    }
    let member = r#"{"id":"x1c0s0b0n0"}"#;
    lab.call("POST", "/hsm/v2/groups/a/members", member).await.expect(201);
    lab.call("POST", "/hsm/v2/groups/a/members", member).await.expect(409);
    let rival = lab.call("POST", "/hsm/v2/groups/b/members", member).await.expect(409);
    assert!(rival.text.contains("another exclusive group"), "{rival:?}");
    let labels = lab.get("/hsm/v2/memberships/x1c0s0b0n0").await;
    assert_eq!(labels["groupLabels"], json!(["a", "compute"]));
    let ids = r#"{"ids":["x1c0s0b1n0"]}"#;
    let replaced = lab.call("PUT", "/hsm/v2/groups/compute/members", ids).await.expect(201);
    assert_eq!(replaced.json(), json!([{"URI": "/hsm/v2/groups/compute/members/x1c0s0b1n0"}]));
    // A component that goes leaves its groups.
    lab.call("DELETE", "/hsm/v2/State/Components/x1c0s0b1n0", "").await.expect(200);
    assert_eq!(lab.get("/hsm/v2/groups/compute/members").await, json!({"ids": []}));
    lab.call("DELETE", "/hsm/v2/groups/compute", "").await.expect(200);
    lab.call("GET", "/hsm/v2/groups/compute", "").await.expect(404);
}
