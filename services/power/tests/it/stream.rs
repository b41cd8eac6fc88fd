//! Outcomes as they come, dependencies, and limits.

use std::net::UdpSocket;

use axum::http::Method;
use power::client::{Action, Outcome, Request, stream};
use serde_json::{Value, json};
use tests::redfish::Redfish;
use tests::swarm::{Fault, Options, Swarm};
use web::{Client, ClientError};

use super::head::{Head, component, limited, node, redfish};

async fn asked(head: &Head, nodes: Vec<String>, action: Option<Action>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let request = Request { nodes, action, boot: None };
    limited(stream(&Client::unix(&head.socket), &request, |it| outcomes.push(it))).await.unwrap();
    outcomes
}

#[tokio::test]
async fn the_living_are_told_before_the_silent() {
    let swarm = Swarm::start(Options { count: 20, ..Options::default() }).unwrap();
    swarm.inflict([3, 17], Fault::Silent);
    let rows = (1..=20).flat_map(|it| node(it, swarm.address(it.into()).port())).collect();
    let head = Head::with_accounts(rows, "", &(1..=20).collect::<Vec<_>>()).await;
    let nodes: Vec<String> = (1..=20).map(|it| format!("nid{it:03}")).collect();
    let outcomes = asked(&head, nodes.clone(), None).await;
    assert_eq!(outcomes.len(), 20);
    let (living, silent) = outcomes.split_at(18);
    assert!(living.iter().all(|it| it.ok), "{outcomes:?}");
    for outcome in silent {
        let error = outcome.error.as_deref().unwrap();
        assert!(["nid003", "nid017"].contains(&outcome.node.as_str()) && error.contains("check"), "{error}");
    }
    let outcomes = asked(&head, nodes, Some(Action::On)).await;
    assert_eq!(outcomes.iter().filter(|it| it.ok).count(), 18);
    for number in 1..=20 {
        let seen = swarm.seen(number);
        assert!(seen.on <= 1, "nobody is told twice: {seen:?}");
    }
}

#[tokio::test]
async fn a_chassis_comes_before_its_blades_and_their_nodes() {
    let [chassis, blade] = [Redfish::start(1, &[]).await.unwrap(), Redfish::start(1, &[]).await.unwrap()];
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The chassis' controller is there for its chassis alone, and has no such resource: so the node is left alone.
    let mut rows = redfish(1, blade.address().port());
    rows.push(json!({"kind": "component", "id": "x0c0", "row": {"id": "x0c0"}}));
    let place = json!({"id": "x0c0b0", "address": "127.0.0.1", "port": chassis.address().port(),
        "protocol": "redfish", "nodes": [], "credential_version": 1});
    rows.push(json!({"kind": "endpoint", "id": "x0c0b0", "row": place}));
    let head = Head::with_accounts(rows, "", &[1]).await;
    let outcomes = asked(&head, vec!["nid001".into(), "x0c0".into()], Some(Action::On)).await;
    let told =
        |name: &str| outcomes.iter().find(|it| it.node == name).unwrap().error.clone().unwrap_or_default();
    assert!(told("nid001").contains("x0c0 failed"), "{outcomes:?}");
    assert!(blade.told().is_empty());
    drop(silent);
}

#[tokio::test]
async fn two_million_nodes_are_refused() {
    let head = Head::start(vec![component(1)], "").await;
    let nodes = vec!["n".to_owned(); 2_000_000];
    let request = Request { nodes, action: Some(Action::On), boot: None };
    let refused = limited(stream(&Client::unix(&head.socket), &request, |_| {})).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Status { status, .. } if status.as_u16() == 400), "{refused}");
    assert!(domain::expand("nid[1-2000000]").is_err());
    // One more than there may be is too many as well, for OpenCHAMI's paths too.
    let xnames: Vec<String> = (0..=domain::NODES_MAX).map(|it| format!("x0c0s{it}b0n0")).collect();
    let location: Vec<Value> = xnames.iter().map(|it| json!({"xname": it})).collect();
    for (path, body) in [
        ("/transitions", json!({"operation": "on", "location": location})),
        ("/power-status", json!({"xname": xnames})),
        ("/power-cap/snapshot", json!({"xnames": xnames})),
    ] {
        let asked = Client::unix(&head.socket).call::<Value>(Method::POST, path, Some(&body)).await;
        let refused = asked.unwrap_err();
        let is_client_error =
            |it: &ClientError| matches!(it, ClientError::Status { status, .. } if status.is_client_error());
        assert!(is_client_error(&refused), "{path}: {refused}");
    }
}
