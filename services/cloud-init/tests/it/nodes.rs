//! What nodes are given, and the recorded exchanges.

use axum::http::StatusCode;
use serde_json::json;
use sqlx::PgPool;
use web::Peer;

use crate::harness::{NODE, Running, rows, serve_inventory};
use crate::replay::replay;

const LEGACY: &str = "[cloud_init]\napi = \"legacy\"\n";

fn groups() -> [serde_json::Value; 2] {
    let both = [NODE, "x1000c1s7b2n0"];
    [
        json!({"kind": "group", "id": "compute", "row": {"label": "compute", "members": both}}),
        json!({"kind": "group", "id": "zeta", "row": {"label": "zeta", "members": [NODE]}}),
    ]
}

#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn the_legacy_api_is_as_recorded(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&groups()));
    let service = Running::live(LEGACY, folder.path(), db, &socket).await;
    // The inventory's part of the recording is the rows above.
    let ours = |path: &str| !path.starts_with("/hsm/");
    assert_eq!(replay(&service.router, "../../tests/contract/cloud-init-legacy.jsonl", ours).await, 50);
    service.stop().await;
}

/// A node for which nobody wrote anything still gets what NoCloud cannot do without.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn a_node_without_entries_finds_a_data_source(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live(LEGACY, folder.path(), db, &socket).await;
    for (file, expected) in [
        ("network-config", ""),
        ("meta-data", "instance-id: i-x1000c1s7b1n0\nlocal-hostname: nid002\n"),
        ("user-data", "#cloud-config\n{}\n"),
        ("vendor-data", "{}\n"),
    ] {
        let (status, text) = service.fetch("172.16.0.1", &format!("/cloud-init/{file}")).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, expected), "{file}");
    }
    for path in ["/cloud-init/x1000c1s7b1n0/network-config", "/cloud-init-secure/network-config"] {
        assert_eq!(service.fetch("172.16.0.9", path).await, (StatusCode::OK, String::new()), "{path}");
    }
    let (status, _) = service.fetch("172.16.0.9", "/cloud-init/meta-data").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let answer = service.ask(
        crate::harness::gateway(),
        Some("172.16.0.1"),
        ("POST", "/cloud-init/phone-home/x"),
        "a=b",
    );
    assert_eq!(answer.await.0, StatusCode::OK);
    service.stop().await;
}

/// The address is the gateway's word, never the node's own.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn a_node_cannot_ask_in_another_s_name(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let (_, text) = service.fetch("172.16.0.2, 172.16.0.1", "/cloud-init/meta-data").await;
    assert!(text.contains("nid002"), "the last address is the one the gateway saw: {text}");
    let stranger = Peer::of_address([172, 16, 0, 9].into());
    let path = ("GET", "/cloud-init/meta-data");
    assert_eq!(service.ask(stranger, Some("172.16.0.1"), path, "").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    service.stop().await;
}

#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn rendering_tells_where_each_part_came_from(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&groups()));
    let service = Running::live("", folder.path(), db, &socket).await;
    service.post(json!({"name": "compute", "cloud-init": {"userdata": {"runcmd": ["c"]}}})).await;
    service.post(json!({"name": "X1000C1S7B1N0", "cloud-init": {"metadata": {"instance-id": "mine"}}})).await;
    for word in ["nid002", NODE] {
        let path = format!("/pilothouse/v1/render/{word}");
        let (status, text) = service.ask(Peer::of_uid(0), None, ("GET", &path), "").await;
        assert_eq!(status, StatusCode::OK);
        let rendered: cloud_init::client::Rendered = serde_json::from_str(&text).unwrap();
        assert_eq!(rendered.sources, ["compute", NODE]);
        assert_eq!(rendered.user_data, "#cloud-config\nruncmd:\n- c\n");
        assert_eq!(rendered.meta_data, "instance-id: mine\n");
    }
    let answer = service.ask(Peer::of_uid(0), None, ("GET", "/pilothouse/v1/render/nobody"), "").await;
    assert_eq!(answer.0, StatusCode::NOT_FOUND);
    service.stop().await;
}
