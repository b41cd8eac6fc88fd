//! What is known is served though everything else is down.

use axum::http::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{MAC, Running, rows, serve_inventory};

/// The inventory goes, PostgreSQL goes, the service starts anew: the script stays the same, and a write is
/// told to come back.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_known_node_boots_with_postgres_and_inventory_gone(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, mut serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db.clone(), &socket).await;
    service.put(json!({"macs": [MAC], "kernel": "http://h/k", "params": "quiet"})).await;
    let query = format!("mac={MAC}");
    let before = service.script(&query).await;
    assert!(before.contains("xname=x1000c1s7b1n0 nid=2"), "{before}");
    serving.shutdown().await;
    db.close().await;
    assert_eq!(service.script(&query).await, before);
    service.stop().await;

    let again = Running::start("", folder.path(), None, Some(&socket));
    assert_eq!(again.script(&query).await, before);
    let (status, text) =
        again.ask(Some(0), "PUT", "/boot/v1/bootparameters", r#"{"nids":[9],"kernel":"k"}"#).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    let (status, text) = again.ask(None, "GET", "/readyz", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains(r#""parameters":"last-good""#) && text.contains(r#""database":"lost""#), "{text}");
    again.stop().await;
}

/// Nothing was ever read: no script can be right, and readiness says so.
#[tokio::test]
async fn without_any_copy_it_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let service = Running::start("", folder.path(), None, None);
    let (status, text) = service.ask(None, "GET", "/readyz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    service.stop().await;
}
