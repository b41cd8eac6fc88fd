use serde_json::json;
use sqlx::PgPool;

use super::lab::Lab;

const BASE: &str = "/hsm/v2/State/Components";

/// Recording smd-components-003 to -009.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_post_adds_and_never_changes_unless_it_is_forced(db: PgPool) {
    let lab = Lab::new(&db);
    assert_eq!(lab.call("GET", BASE, "").await.json(), json!({"Components": []}));
    let first = r#"{"Components":[{"ID":"X1000C1S7B1N0","Type":"NodeBMC","State":"On","Enabled":true,"NID":1},
        {"ID":"x1000c1s7b1n0","State":"Off"}]}"#;
    lab.call("POST", BASE, first).await.expect(204);
    let shown = json!({"ID": "x1000c1s7b1n0", "Type": "Node", "State": "On", "Flag": "OK", "Enabled": true,
        "Role": "Compute", "NID": 1});
    assert_eq!(lab.get(&format!("{BASE}/x1000c1s7b1n0")).await, shown);
    let again = |force: bool| {
        json!({"Components": [{"ID": "x1000c1s7b1n0", "State": "Ready", "NID": 9, "Role": "Service"}],
            "Force": force})
        .to_string()
    };
    lab.call("POST", BASE, again(false)).await.expect(204);
    assert_eq!(lab.get(&format!("{BASE}/x1000c1s7b1n0")).await, shown);
    lab.call("POST", BASE, again(true)).await.expect(204);
    let now = lab.get(&format!("{BASE}/x1000c1s7b1n0")).await;
    assert_eq!((&now["State"], &now["NID"], &now["Role"]), (&json!("Ready"), &json!(1), &json!("Compute")));
}

/// Recording smd-components-073 to -078: a batch is checked whole.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn one_wrong_component_keeps_the_batch_out(db: PgPool) {
    let lab = Lab::new(&db);
    for (wrong, detail) in [
        (r#"{"ID":"bogus","State":"On"}"#, "couldn't validate components: xname ID 'bogus' is invalid"),
        (
            r#"{"ID":"x1c0s0b1n0","State":"Sleepy"}"#,
            "couldn't validate components: state 'Sleepy' is invalid",
        ),
    ] {
        let body = format!(r#"{{"Components":[{{"ID":"x1c0s0b0n0","State":"On"}},{wrong}]}}"#);
        let answer = lab.call("POST", BASE, body).await.expect(400);
        assert_eq!(answer.json()["detail"], detail);
    }
    lab.call("POST", BASE, r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On","NID":"abc"}]}"#)
        .await
        .expect(400);
    lab.call("POST", BASE, "{\"Components\": [").await.expect(400);
    assert_eq!(lab.get(BASE).await, json!({"Components": []}));
}

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn bulk_changes_reach_those_that_are_there(db: PgPool) {
    let lab = Lab::new(&db);
    let body = r#"{"Components":[{"ID":"x1c0s0b0n0","State":"On","NID":1},
        {"ID":"x1c0s0b1n0","State":"Off","NID":2}]}"#;
    lab.call("POST", BASE, body).await.expect(204);
    let nids = r#"{"Components":[{"ID":"x1c0s0b0n0","NID":7},{"ID":"x9c0s0b0n0","NID":8}]}"#;
    lab.call("PATCH", &format!("{BASE}/BulkNID"), nids).await.expect(204);
    let state = r#"{"ComponentIDs":["x1c0s0b0n0","x1c0s0b1n0"],"State":"Ready","Flag":"Warning"}"#;
    lab.call("PATCH", &format!("{BASE}/BulkStateData"), state).await.expect(204);
    let role = r#"{"Role":"Bogus"}"#;
    lab.call("PATCH", &format!("{BASE}/x1c0s0b0n0/Role"), role).await.expect(400);
    let enabled = r#"{"Enabled":false}"#;
    lab.call("PATCH", &format!("{BASE}/x1c0s0b0n0/Enabled"), enabled).await.expect(204);
    let node = lab.get(&format!("{BASE}/x1c0s0b0n0")).await;
    // Only a node that is Ready may be warned of; this one is On still.
    assert_eq!((&node["State"], &node["NID"], &node["Enabled"]), (&json!("On"), &json!(7), &json!(false)));
    assert_eq!(lab.get(&format!("{BASE}/ByNID/7")).await["ID"], "x1c0s0b0n0");
    lab.call("DELETE", BASE, "").await.expect(200);
    lab.call("DELETE", BASE, "").await.expect(404);
}
