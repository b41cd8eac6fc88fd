//! What is known is served though everything else is down.

use axum::http::StatusCode;
use serde_json::json;
use sqlx::PgPool;
use web::Peer;

use crate::harness::{NODE, Running, rows, serve_inventory};

/// The inventory goes, PostgreSQL goes, the service starts anew: nodes get the same, and a write is told to
/// come back.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn a_known_node_is_answered_with_postgres_and_inventory_gone(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, mut serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db.clone(), &socket).await;
    let parts = json!({"userdata": {"runcmd": ["a"]}, "metadata": {"instance-id": "i"}});
    service.post(json!({"name": NODE, "cloud-init": parts})).await;
    let files =
        ["user-data", "meta-data", "vendor-data", "network-config"].map(|it| format!("/cloud-init/{it}"));
    let mut before = Vec::new();
    for file in &files {
        before.push(service.fetch("172.16.0.1", file).await);
    }
    assert_eq!(before[0], (StatusCode::OK, "#cloud-config\nruncmd:\n- a\n".to_owned()));
    serving.shutdown().await;
    db.close().await;
    for (file, expected) in files.iter().zip(&before) {
        assert_eq!(&service.fetch("172.16.0.1", file).await, expected, "{file}");
    }
    service.stop().await;

    let again = Running::start("", folder.path(), None, Some(&socket));
    for (file, expected) in files.iter().zip(&before) {
        assert_eq!(&again.fetch("172.16.0.1", file).await, expected, "{file}");
    }
    for (method, path) in
        [("POST", "/cloud-init"), ("PUT", "/cloud-init/compute"), ("DELETE", "/cloud-init-secure/compute")]
    {
        let (status, text) = again.ask(Peer::of_uid(0), None, (method, path), "{\"name\":\"a\"}").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{method} {text}");
    }
    let (status, text) = again.ask(Peer::default(), None, ("GET", "/readyz"), "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains(r#""entries":"last-good""#) && text.contains(r#""database":"lost""#), "{text}");
    again.stop().await;
}

/// Nothing was ever read: readiness says so.
#[tokio::test]
async fn without_any_copy_it_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let service = Running::start("", folder.path(), None, None);
    let (status, text) = service.ask(Peer::default(), None, ("GET", "/readyz"), "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    service.stop().await;
}
