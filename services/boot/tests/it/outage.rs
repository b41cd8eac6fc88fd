//! What is known is served though everything else is down.

use axum::http::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{MAC, Running, rows, serve_inventory, until_live};

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

/// PostgreSQL goes and comes back under a running service: reads go on, writes are told to come back, and then are
/// taken, without a restart and without anything half-written.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn writes_are_taken_again_once_postgres_is_back(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db.clone(), &socket).await;
    service.put(json!({"macs": [MAC], "kernel": "http://h/k"})).await;
    let query = format!("mac={MAC}");
    let before = service.script(&query).await;

    let options = db.connect_options();
    let name = options.get_database().unwrap().to_owned();
    let server = PgPool::connect_with((*options).clone().database("postgres")).await.unwrap();
    let allow = async |it: bool| {
        let sql = format!("alter database \"{name}\" with allow_connections {it}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&server).await.unwrap();
    };
    allow(false).await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    sqlx::query(end).bind(&name).execute(&server).await.unwrap();
    let body = json!({"macs": [MAC], "hosts": ["compute"], "kernel": "http://h/other"}).to_string();
    for method in ["PUT", "PATCH", "DELETE"] {
        let (status, text) = service.ask(Some(0), method, "/boot/v1/bootparameters", &body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{method} {text}");
    }
    let body = json!({"nids": [9], "kernel": "http://h/other"}).to_string();
    let (status, text) = service.ask(Some(0), "POST", "/boot/v1/bootparameters", &body).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert_eq!(service.script(&query).await, before);
    let (status, list) = service.ask(Some(0), "GET", "/boot/v1/bootparameters", "").await;
    assert!(status == StatusCode::OK && !list.contains("other"), "{list}");

    allow(true).await;
    until_live(&service.parameters).await;
    service.put(json!({"macs": [MAC], "kernel": "http://h/other"})).await;
    assert!(service.script(&query).await.contains("http://h/other"));
    let (_, all) = service.ask(Some(0), "GET", "/pilothouse/v1/parameters", "").await;
    assert!(!all.contains("compute") && !all.contains("nids"), "{all}");
    service.stop().await;
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
