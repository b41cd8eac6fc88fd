//! Who may read and write what.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::{Scope, Scopes, Xname};
use serde_json::json;
use sqlx::PgPool;
use tower::ServiceExt;
use web::{Caller, Peer};

use crate::harness::{NODE, Running, gateway, rows, serve_inventory};

#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn the_open_store_is_read_by_anyone_and_written_by_few(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let body = json!({"name": NODE, "cloud-init": {"userdata": {"a": 1}}}).to_string();
    for (method, path) in [
        ("POST", "/cloud-init"),
        ("PUT", "/cloud-init/x1000c1s7b1n0/"),
        ("DELETE", "/cloud-init/x1000c1s7b1n0"),
    ] {
        let (status, text) = service.ask(gateway(), Some("172.16.0.254"), (method, path), &body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method}");
        assert!(text.starts_with("no token found") && text.contains("Authorization: Bearer"), "{text}");
    }
    assert_eq!(service.fetch("10.0.0.1", "/cloud-init").await, (StatusCode::OK, "{}\n".to_owned()));
    for path in ["/pilothouse/v1/render/nid002", "/snapshot"] {
        assert_eq!(service.fetch("172.16.0.1", path).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    service.stop().await;
}

#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn the_head_itself_writes_without_a_token_where_that_is_said(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let table = "[cloud_init]\nopen_legacy_writes = \"head\"\n";
    let service = Running::live(table, folder.path(), db, &socket).await;
    let body = json!({"name": NODE, "cloud-init": {"userdata": {"a": 1}}}).to_string();
    let write = |address, path| service.ask(gateway(), Some(address), ("POST", path), &body);
    assert_eq!(write("172.16.0.1", "/cloud-init").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(write("172.16.0.254", "/cloud-init").await.0, StatusCode::OK);
    assert_eq!(write("172.16.0.254", "/cloud-init-secure").await.0, StatusCode::UNAUTHORIZED);
    service.stop().await;
}

/// The secure store is apart from the open one, and nothing of it but the empty network-config comes without
/// a token.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn the_secure_store_is_for_those_with_a_token(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let body = json!({"name": NODE, "cloud-init": {"userdata": {"secret": "canary"}}}).to_string();
    let root = || Peer::of_uid(0);
    assert_eq!(service.ask(root(), None, ("POST", "/cloud-init-secure"), &body).await.0, StatusCode::OK);
    for path in ["", "/user-data", "/meta-data", "/vendor-data", "/x1000c1s7b1n0", "/x1000c1s7b1n0/user-data"]
    {
        let (status, text) = service.fetch("172.16.0.1", &format!("/cloud-init-secure{path}")).await;
        assert_eq!((status, text.as_str()), (StatusCode::UNAUTHORIZED, "no token found\n"), "{path}");
    }
    let own = service.ask(root(), Some("172.16.0.1"), ("GET", "/cloud-init-secure/user-data"), "").await;
    assert_eq!(own, (StatusCode::OK, "#cloud-config\nsecret: canary\n".to_owned()));
    let (_, open) = service.fetch("172.16.0.1", "/cloud-init/user-data").await;
    assert!(!open.contains("canary"), "{open}");
    service.stop().await;
}

/// A booting node with its token: its own data, and nobody else's.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn a_node_s_token_reads_its_own_data_alone(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    for name in [NODE, "x1000c1s7b2n0"] {
        let body = json!({"name": name, "cloud-init": {"userdata": {"secret": name}}}).to_string();
        let answer = service.ask(Peer::of_uid(0), None, ("POST", "/cloud-init-secure"), &body).await;
        assert_eq!(answer.0, StatusCode::OK);
    }
    let caller = |address: &str| Caller {
        subject: NODE.to_owned(),
        scopes: Scopes::from([Scope::Node]),
        address: address.parse().ok(),
        uid: None,
        node: NODE.parse::<Xname>().ok(),
        token: Ok(()),
    };
    for (address, path, expected) in [
        ("172.16.0.1", "/user-data", StatusCode::OK),
        ("172.16.0.1", "/x1000c1s7b1n0/user-data", StatusCode::OK),
        ("172.16.0.2", "/user-data", StatusCode::FORBIDDEN),
        ("172.16.0.9", "/user-data", StatusCode::FORBIDDEN),
        ("172.16.0.1", "/x1000c1s7b2n0/user-data", StatusCode::FORBIDDEN),
        ("172.16.0.1", "", StatusCode::FORBIDDEN),
    ] {
        let request = Request::builder().uri(format!("/cloud-init-secure{path}")).extension(caller(address));
        let response = service.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), expected, "{address} {path}");
    }
    service.stop().await;
}
