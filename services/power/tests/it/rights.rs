//! Who may look and who may switch, and what no path takes.

use axum::http::{Method, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use web::{Client, ClientError};

use super::head::{Head, node, until};
use super::simulator::Simulator;

/// The key of an issuer whose tokens are good for viewers; its private half is thrown away.
const KEY: &str = r#"{"kty":"EC","crv":"P-256","alg":"ES256","kid":"test",
    "x":"a7qTtvhbNIq6oQqQcwxFeHLSw7exF34QVM43fWkdUXM","y":"j5Rzs8xMIUngEoQA5TwQgAIheqxShMayotlHdE-CQzs"}"#;
/// A token of it for `vera`, until the year 2100.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6InRlc3QiLCJ0eXAiOiJKV1QifQ.\
    eyJpc3MiOiJ2aWV3ZXJzIiwiYXVkIjoidGVzdCIsInN1YiI6InZlcmEiLCJleHAiOjQxMDI0NDQ4MDB9.\
    e10E0UZnQ5X3yD1s1DxpFMdT0DOKNaKrcyblYdHfeiP4ZSH-EVU-gqhTSyhTbH4mu71S7fwcC8VEezUjJfr7aA";

const SWITCH: &str = "/pilothouse/v1/power";
const LOOK: &str = "/pilothouse/v1/power-status";

async fn refusal(client: &Client, path: &str, body: &Value) -> (StatusCode, String) {
    match client.call::<Value>(Method::POST, path, Some(body)).await {
        Err(ClientError::Status { status, detail }) => (status, detail),
        other => panic!("{other:?}"),
    }
}

/// An auth beside the head that tells of the viewers' issuer; it goes when dropped.
fn tell_keys(head: &Head) -> JoinSet<()> {
    let key: Value = serde_json::from_str(KEY).unwrap();
    let issuer = json!({"issuer": "viewers", "audience": "test", "role": "viewer", "keys": [key]});
    let trust = Json(json!({"generation": "1", "keys": [], "trusted": [issuer], "revoked": []}));
    let router = Router::new().route("/pilothouse/v1/verifier", get(async move || trust));
    let listener = UnixListener::bind(head.folder.path().join("run/auth.sock")).unwrap();
    let mut auth = JoinSet::new();
    auth.spawn(async move { axum::serve(listener, router).await.unwrap() });
    auth
}

#[tokio::test]
async fn a_viewer_looks_and_does_not_switch() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    let _auth = tell_keys(&head);
    let viewer = Client::unix(&head.socket).with_token(TOKEN);
    let (look, switch) = (json!({"nodes": ["nid001"]}), json!({"nodes": ["nid001"], "action": "on"}));
    let seen = || viewer.call::<Value>(Method::POST, LOOK, Some(&look));
    until(async || seen().await.is_ok()).await;
    assert_eq!(seen().await.unwrap(), json!({"results": [{"node": "nid001", "ok": true, "state": "off"}]}));
    let (status, detail) = refusal(&viewer, SWITCH, &switch).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(detail.contains("vera") && detail.contains("power:control"), "{detail}");
    let nobody = Client::unix(&head.socket).with_token("no token at all");
    for (path, body) in [(SWITCH, &switch), (LOOK, &look)] {
        assert_eq!(refusal(&nobody, path, body).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert!(bmc.events().is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_whole() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    let admin = Client::unix(&head.socket);
    let many: Vec<String> = (0..=domain::NODES_MAX).map(|it| format!("nid{it}")).collect();
    for (path, body, word) in [
        (SWITCH, json!({"nodes": ["nid001"]}), "power-status"),
        (LOOK, json!({"nodes": ["nid001"], "action": "on"}), "only looks"),
        (LOOK, json!({"nodes": ["nid001"], "boot": "pxe"}), "only looks"),
        (SWITCH, json!({"nodes": [], "action": "on"}), "`nodes`"),
        (SWITCH, json!({"nodes": many, "action": "on"}), "`nodes`"),
        (SWITCH, json!({"nodes": ["nid001"], "action": "explode"}), "explode"),
        (SWITCH, json!({"nodes": ["nid001"], "action": "on", "when": "now"}), "when"),
    ] {
        let (status, detail) = refusal(&admin, path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{detail}");
        assert!(detail.contains(word), "{detail}");
    }
    assert!(bmc.events().is_empty());
}

#[test]
fn settings_have_bounds() {
    let check = |table: &str| {
        let text =
            format!("version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.test\"\n[power]\n{table}\n");
        power::check(&domain::Document::parse(&text).unwrap()).map_err(|it| format!("{it:#}"))
    };
    assert_eq!(check("concurrency = 1024\ndeadline_s = 55\nkeep_sessions = '0s'"), Ok(()));
    let bad = ["concurrency = 0", "deadline_s = 56", "deadline_s = 0", "keep_sessions = '11m'", "speed = 1"];
    for table in bad {
        let word = table.split(' ').next().unwrap();
        assert!(check(table).is_err_and(|it| it.contains(word)), "{table}");
    }
}
