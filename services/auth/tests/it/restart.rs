//! auth over its socket while PostgreSQL comes and goes.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use web::{Client, ClientError, Database};

use crate::head::{Head, LIMIT, Running, root};

async fn keys_of(client: &Client) -> Value {
    let keys = async {
        loop {
            match client.get("/.well-known/jwks.json").await {
                Ok(keys) => return keys,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(LIMIT, keys).await.unwrap()
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn keys_and_clients_outlive_the_database(db: PgPool) {
    let running = Running::start(db).await;
    let secret = running.new_client("ci", "viewer").await;
    let before = running.call(root(), "GET", "/.well-known/jwks.json", "").await.1;
    let Running { head, verifier, .. } = running;

    // The document names a PostgreSQL that is not there.
    let stop = CancellationToken::new();
    let served = tokio::spawn(auth::serve(head.context(&stop)));
    let client = head.client();
    assert_eq!(keys_of(&client).await, before);
    let form = format!("grant_type=client_credentials&client_id=ci&client_secret={secret}");
    let socket = head.folder.path().join("auth.sock");
    let curl = tokio::process::Command::new("/usr/bin/curl")
        .args(["--silent", "--show-error", "--fail", "--unix-socket"])
        .arg(socket)
        .args(["--data", &form, "http://localhost/oauth2/token"])
        .output();
    let output = tokio::time::timeout(LIMIT, curl).await.unwrap().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verifier.verify(answer["access_token"].as_str().unwrap()).is_ok());
    stop.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}

/// Two heads on one database sign with one key, and a head that lost its state folder finds it again.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn the_database_has_the_one_key(db: PgPool) {
    let (one, other) = (Head::new(), Head::new());
    let stop = CancellationToken::new();
    for head in [&one, &other] {
        tokio::spawn(auth::serve_with(head.context(&stop), Database::ready(db.clone())));
    }
    assert_eq!(keys_of(&one.client()).await, keys_of(&other.client()).await);
    stop.cancel();
}

#[tokio::test]
async fn the_very_first_start_waits_for_the_database() {
    let head = Head::new();
    let stop = CancellationToken::new();
    let served = tokio::spawn(auth::serve(head.context(&stop)));
    let client = head.client();
    let answer =
        tokio::time::timeout(LIMIT, client.send(Method::GET, "/.well-known/jwks.json", Body::empty()));
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    let ready = client.get::<Value>("/readyz").await;
    assert!(matches!(ready, Err(ClientError::Status { status: StatusCode::SERVICE_UNAVAILABLE, .. })));
    stop.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}

/// Keys that do not open here (the sealing key was replaced) are named, and no others are made beside them.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn keys_that_do_not_open_are_a_health_issue(db: PgPool) {
    let running = Running::start(db.clone()).await;
    let other = Head::new();
    std::fs::write(other.folder.path().join("auth.seal-key"), [8; 32]).unwrap();
    let stop = CancellationToken::new();
    let context = other.context(&stop);
    tokio::spawn(auth::serve_with(context, Database::ready(db)));
    let issues = other.folder.path().join("auth/issues.json");
    let raised = async {
        while !std::fs::read_to_string(&issues).is_ok_and(|it| it.contains("signing-keys-unsettled/auth")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, raised).await.unwrap();
    let refused = other.client().get::<Value>("/.well-known/jwks.json").await;
    assert!(matches!(refused, Err(ClientError::Status { status: StatusCode::SERVICE_UNAVAILABLE, .. })));
    let (status, _) = running.call(root(), "GET", "/.well-known/jwks.json", "").await;
    assert_eq!(status, StatusCode::OK);
    stop.cancel();
}
