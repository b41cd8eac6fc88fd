//! What nodes may draw, set and read over DCMI.

use axum::http::Method;
use serde_json::{Value, json};
use tests::swarm::{Fault, Options, Swarm};
use web::Client;

use super::head::{Head, component, node, until};

/// Begins a task and waits for its end.
async fn done(client: &Client, method: Method, path: &str, body: Value) -> Value {
    let made: Value = client.call(method, path, Some(&body)).await.unwrap();
    let path = format!("/power-cap/{}", made["taskID"].as_str().unwrap());
    until(async || client.get::<Value>(&path).await.unwrap()["taskStatus"] == "completed").await;
    client.get(&path).await.unwrap()
}

async fn snapshot(client: &Client, xnames: &[&str]) -> Value {
    done(client, Method::POST, "/power-cap/snapshot", json!({"xnames": xnames})).await
}

async fn set(client: &Client, limits: &[(&str, u32)]) -> Value {
    let one =
        |it: &(&str, u32)| json!({"xname": it.0, "controls": [{"name": "Node Power Limit", "value": it.1}]});
    let components: Vec<Value> = limits.iter().map(one).collect();
    done(client, Method::PATCH, "/power-cap", json!({"components": components})).await
}

fn watts(task: &Value) -> Vec<Option<u64>> {
    let all = task["components"].as_array().unwrap();
    all.iter().map(|it| it["powerCapLimits"][0]["currentValue"].as_u64()).collect()
}

#[tokio::test]
async fn a_limit_is_set_read_and_taken_away() {
    let swarm = Swarm::start(Options { count: 4, power_on: true, ..Options::default() }).unwrap();
    let mut rows: Vec<Value> = (1..=4).flat_map(|it| node(it, swarm.address(it.into()).port())).collect();
    let lock = json!({"by": "alice", "reason": "memory errors", "since": "2026-01-01T00:00:00Z"});
    let mut locked = component(4);
    locked["row"]["lock"] = lock;
    rows[6] = locked;
    let head = Head::with_accounts(rows, "", &[1, 2, 3, 4]).await;
    let client = Client::unix(&head.socket);
    let [one, two, three, four] = ["x0c0s1b0n0", "x0c0s2b0n0", "x0c0s3b0n0", "x0c0s4b0n0"];

    let task = snapshot(&client, &[one, two]).await;
    assert_eq!(watts(&task), [Some(0), Some(0)], "none is set: {task}");
    let task = set(&client, &[(one, 250), (two, 300)]).await;
    assert_eq!((task["taskCounts"]["succeeded"].clone(), task["type"].clone()), (json!(2), json!("patch")));
    let task = snapshot(&client, &[one, two]).await;
    assert_eq!(watts(&task), [Some(250), Some(300)]);
    assert_eq!(task["components"][0]["powerCapLimits"][0]["name"], "Node Power Limit");
    let task = set(&client, &[(one, 0)]).await;
    assert_eq!(watts(&task), [Some(0)]);
    let task = snapshot(&client, &[one, two]).await;
    assert_eq!(watts(&task), [Some(0), Some(300)], "the other one's stays");

    // A BMC that is silent and a node that is locked are told of, beside those that are done.
    swarm.inflict([3], Fault::Silent);
    let task = set(&client, &[(two, 280), (three, 280), (four, 280)]).await;
    let counts = &task["taskCounts"];
    assert_eq!((&counts["succeeded"], &counts["failed"]), (&json!(1), &json!(2)), "{task}");
    let error = |at: usize| task["components"][at]["error"].as_str().unwrap().to_owned();
    assert!(error(1).contains("check") && error(1).contains("x0c0s3b0"), "{task}");
    assert!(error(2).contains("locked by alice") && error(2).contains("memory errors"), "{task}");
    assert_eq!(watts(&snapshot(&client, &[four]).await), [Some(0)], "to look is allowed");
}
