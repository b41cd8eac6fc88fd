//! Who is on without having booted, as far as one machine shows it: the switching is tried with virtual machines.

use axum::Router;
use axum::routing::get;
use power::client::{Recovery, RecoveryPhase, RecoveryRequest, Verdict, recover, recovery};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use web::Client;

use super::head::{Head, limited, node, until};
use super::simulator::Simulator;

fn interface(number: u16, address: &str) -> Value {
    let mac = format!("02:00:00:00:00:{number:02x}");
    let row = json!({"id": mac.replace(':', ""), "mac": mac, "component": format!("x0c0s{number}b0n0"),
        "addresses": [{"address": address}]});
    json!({"kind": "interface", "id": mac.replace(':', ""), "row": row})
}

/// boot, which has heard of node 1 alone.
fn serve_boot(head: &Head) -> JoinSet<()> {
    let seen = async || axum::Json(json!({"nodes": {"x0c0s1b0n0": 1_700_000_000}}));
    let router = Router::new().route("/pilothouse/v1/seen", get(seen));
    let listener = UnixListener::bind(head.folder.path().join("run/boot.sock")).unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    serving
}

async fn ended(client: &Client) -> Recovery {
    until(async || recovery(client).await.unwrap().is_some_and(|it| it.phase == RecoveryPhase::Done)).await;
    recovery(client).await.unwrap().unwrap()
}

#[tokio::test]
async fn who_lives_or_may_live_is_left_alone() {
    let bmcs: Vec<Simulator> = (0..4).map(|_| Simulator::start()).collect();
    let mut rows: Vec<Value> = (1..=4).zip(&bmcs).flat_map(|(number, bmc)| node(number, bmc.port)).collect();
    // Nobody takes a connection there, and its refusal is an answer.
    rows.push(interface(2, "127.0.0.1"));
    let head = Head::with_accounts(rows, "", &[1, 2, 3, 4]).await;
    let client = Client::unix(&head.socket);
    assert_eq!(limited(recovery(&client)).await.unwrap(), None);
    for number in 1..=3 {
        head.done(&format!("nid{number:03}"), Some("on")).await;
    }
    let request = RecoveryRequest { stage: Some(2), wait_s: Some(1), ..RecoveryRequest::default() };
    recover(&client, &request).await.unwrap();
    let failed = ended(&client).await.error.unwrap();
    assert!(failed.contains("ask boot"), "{failed}");

    let _boot = serve_boot(&head);
    let begun = recover(&client, &request).await.unwrap();
    assert_eq!((begun.stage, begun.dry), (2, false));
    let done = ended(&client).await;
    let verdicts: Vec<Verdict> = done.nodes.values().map(|it| it.verdict).collect();
    assert_eq!(verdicts, [Verdict::Alive, Verdict::Alive, Verdict::Unsure, Verdict::Off], "{done:?}");
    assert!(done.error.is_none() && done.bad().is_empty(), "{done:?}");
    for bmc in &bmcs[..3] {
        assert_eq!(bmc.events(), ["power 1"], "switched by nobody else");
    }
    let named = RecoveryRequest { nodes: vec!["nid004".into(), "nobody".into()], dry: true, ..request };
    recover(&client, &named).await.unwrap();
    let done = ended(&client).await;
    assert_eq!((done.nodes.len(), done.unknown.as_slice()), (1, &["nobody".to_owned()][..]));
    head.stop().await;
}
