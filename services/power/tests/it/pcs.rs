//! OpenCHAMI's power-control, as its clients ask.

use axum::http::Method;
use serde_json::{Value, json};
use tests::redfish::Redfish;
use tests::swarm::{Fault, Options, Swarm};
use web::{Client, ClientError};

use super::head::{Head, node, redfish, until};

async fn begin(client: &Client, operation: &str, xnames: &[&str], minutes: i64) -> String {
    let location: Vec<Value> = xnames.iter().map(|it| json!({"xname": it, "deputyKey": "ignored"})).collect();
    let body = json!({"operation": operation, "taskDeadlineMinutes": minutes, "location": location});
    let made: Value = client.call(Method::POST, "/transitions", Some(&body)).await.unwrap();
    assert!(made["operation"].as_str().unwrap().eq_ignore_ascii_case(operation), "{made}");
    made["transitionID"].as_str().unwrap().to_owned()
}

async fn ended(client: &Client, id: &str) -> Value {
    let show = async || client.get::<Value>(&format!("/transitions/{id}")).await;
    until(async || {
        ["completed", "aborted"].map(Value::from).contains(&show().await.unwrap()["transitionStatus"])
    })
    .await;
    show().await.unwrap()
}

#[tokio::test]
async fn transitions_come_to_their_end_and_tell_of_each_component() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let head = Head::with_accounts(redfish(1, bmc.address().port()), "", &[1]).await;
    let client = Client::unix(&head.socket);
    let done = ended(&client, &begin(&client, "on", &["x0c0s1b0n0", "x9c0s1b0n0"], 5).await).await;
    let counts = &done["taskCounts"];
    let expected =
        json!({"total": 2, "new": 0, "in-progress": 0, "failed": 1, "succeeded": 1, "un-supported": 0});
    assert_eq!(counts, &expected, "{done}");
    assert_eq!((&done["operation"], &done["transitionStatus"]), (&json!("On"), &json!("completed")));
    assert_eq!(done["tasks"][0]["taskStatus"], "succeeded");
    assert!(done["tasks"][1]["error"].as_str().unwrap().contains("x9c0s1b0n0"), "{done}");
    // It shuts down when it is asked to, so that nothing is forced.
    let done = ended(&client, &begin(&client, "Off", &["x0c0s1b0n0"], 5).await).await;
    assert_eq!(done["taskCounts"]["succeeded"], 1, "{done}");
    let done = ended(&client, &begin(&client, "hard-restart", &["x0c0s1b0n0"], 5).await).await;
    assert_eq!(done["taskCounts"]["un-supported"], 1, "{done}");
    let done = ended(&client, &begin(&client, "init", &["x0c0s1b0n0"], 0).await).await;
    assert_eq!(done["taskCounts"]["succeeded"], 1, "{done}");
    assert_eq!(bmc.told(), ["reset 1 On", "reset 1 GracefulShutdown", "reset 1 On"]);
    let all: Value = client.get("/v1/transitions").await.unwrap();
    assert_eq!(all["transitions"].as_array().unwrap().len(), 4);
    assert!(all["transitions"][0].get("tasks").is_none());
}

#[tokio::test]
async fn a_transition_is_aborted_while_it_waits() {
    let swarm = Swarm::start(Options { count: 1, ..Options::default() }).unwrap();
    swarm.set_power([1], true);
    let head = Head::with_accounts(node(1, swarm.address(1).port()), "", &[1]).await;
    let client = Client::unix(&head.socket);
    // Its system does not shut down.
    swarm.inflict([1], Fault::IgnoresPower);
    let id = begin(&client, "soft-off", &["x0c0s1b0n0"], 60).await;
    let path = format!("/transitions/{id}");
    let told: Value = client.call(Method::DELETE, &path, None::<&()>).await.unwrap();
    assert_eq!(told, json!({"abortStatus": "Accepted - abort initiated"}));
    let done = ended(&client, &id).await;
    assert_eq!(done["transitionStatus"], "aborted");
    let done = ended(&client, &begin(&client, "on", &["x0c0s1b0n0"], 5).await).await;
    let path = format!("/transitions/{}", done["transitionID"].as_str().unwrap());
    let refused = client.call::<Value>(Method::DELETE, &path, None::<&()>).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Status { status, .. } if status.as_u16() == 400), "{refused}");
    let gone = client.get::<Value>("/transitions/00000000-0000-0000-0000-000000000000").await.unwrap_err();
    assert!(gone.to_string().contains("does not exist"), "{gone}");
}

#[tokio::test]
async fn power_status_is_asked_of_the_bmcs() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let head = Head::with_accounts(redfish(1, bmc.address().port()), "", &[1]).await;
    let client = Client::unix(&head.socket);
    let show = async |query: &str| client.get::<Value>(&format!("/power-status{query}")).await;
    let all = show("").await.unwrap();
    let one = &all["status"][0];
    assert_eq!((&one["xname"], &one["powerState"]), (&json!("x0c0s1b0n0"), &json!("off")));
    assert_eq!((&one["managementState"], &one["error"]), (&json!("available"), &json!("")));
    assert_eq!(show("?powerStateFilter=on").await.unwrap(), json!({"status": []}));
    let both = show("?xname=x0c0s1b0n0&xname=x9c0s1b0n0&powerStateFilter=OFF").await.unwrap();
    assert_eq!(both["status"][1]["error"], "Component not found in component map.");
    for (query, word) in
        [("?xname=nonsense", "invalid xnames detected: nonsense"), ("?powerStateFilter=x", "type: x")]
    {
        let refused = show(query).await.unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    let body = json!({"xname": ["x0c0s1b0n0"], "managementStateFilter": "unavailable"});
    let posted: Value = client.call(Method::POST, "/power-status", Some(&body)).await.unwrap();
    assert_eq!(posted, json!({"status": []}));
    for path in ["/liveness", "/readiness", "/v1/readiness"] {
        assert_eq!(client.get::<Value>(path).await.unwrap(), Value::Null);
    }
}

#[tokio::test]
async fn power_caps_are_not_supported_where_there_is_no_dcmi() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let head = Head::with_accounts(redfish(1, bmc.address().port()), "", &[1]).await;
    let client = Client::unix(&head.socket);
    let body = json!({"xnames": ["x0c0s1b0n0", "x9c0s1b0n0"]});
    let made: Value = client.call(Method::POST, "/power-cap/snapshot", Some(&body)).await.unwrap();
    let path = format!("/power-cap/{}", made["taskID"].as_str().unwrap());
    until(async || client.get::<Value>(&path).await.unwrap()["taskStatus"] == "completed").await;
    let done: Value = client.get(&path).await.unwrap();
    let counts = &done["taskCounts"];
    assert_eq!(
        (&counts["un-supported"], &counts["failed"], &counts["total"]),
        (&json!(1), &json!(1), &json!(2))
    );
    let wrong = json!({"components": [{"xname": "x0c0s1b0n0", "controls": [{"name": "", "value": 5}]}]});
    let refused = client.call::<Value>(Method::PATCH, "/power-cap", Some(&wrong)).await.unwrap_err();
    assert!(refused.to_string().contains("Invalid control parameters"), "{refused}");
    let all: Value = client.get("/power-cap").await.unwrap();
    assert_eq!(all["tasks"].as_array().unwrap().len(), 1);
}
