//! Scripts of nodes, groups and strangers.

use axum::http::StatusCode;
use boot::client::Script;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{MAC, NODE, Running, rows, serve_inventory};

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_group_s_parameters_boot_its_nodes(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let group = json!({"kind": "group", "id": "compute", "row": {"label": "compute", "members": [NODE]}});
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[group]));
    let service = Running::live("", folder.path(), db, &socket).await;
    service
        .put(json!({"hosts": ["compute"], "kernel": "http://h/k", "initrd": "http://h/i", "params": "ro"}))
        .await;
    // The old iPXE sends its MAC percent-encoded.
    let script = service.script("mac=ec%3Ae7%3Aa7%3A05%3Aa1%3Afc").await;
    let words = "ro xname=x1000c1s7b1n0 nid=2 ds=nocloud-net;s=http://172.16.0.254:8081/cloud-init/ || goto";
    assert!(script.contains(words), "{script}");
    let chain = "chain http://172.16.0.254:8081/apis/bss/boot/v1/bootscript?mac=ec:e7:a7:05:a1:fc&retry=1\n";
    assert!(script.contains(chain), "{script}");
    for word in ["nid002", NODE, MAC, "ece7a705a1fc"] {
        let (status, text) = service.ask(Some(0), "GET", &format!("/pilothouse/v1/script/{word}"), "").await;
        assert_eq!(status, StatusCode::OK);
        let shown: Script = serde_json::from_str(&text).unwrap();
        assert_eq!(shown.source, "group:compute", "{word}");
        assert_eq!(shown.node.unwrap().as_str(), NODE);
        assert!(shown.script.contains(words), "{}", shown.script);
    }
    let (_, history) = service.ask(None, "GET", "/boot/v1/endpoint-history", "").await;
    assert_eq!(history.matches("bootscript").count(), 1, "looking is no access: {history}");
    service.stop().await;
}

/// A stranger waits where it is, without nesting, until it is in the inventory.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_stranger_waits_and_boots_once_it_is_known(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, mut serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db.clone(), &socket).await;
    service.put(json!({"macs": ["02:00:00:00:00:99"], "kernel": "http://h/left-over"})).await;
    service.put(json!({"nids": [7], "kernel": "http://h/k"})).await;
    let first = service.script("mac=02:00:00:00:00:98").await;
    assert!(first.contains("mac=02:00:00:00:00:98&arch=${buildarch}&ts="), "{first}");
    let second = service.script("mac=02:00:00:00:00:98&arch=x86_64&ts=1").await;
    let again = "chain --replace http://172.16.0.254:8081/apis/bss/boot/v1/bootscript?\
                 mac=02:00:00:00:00:98&arch=x86_64&retry=1 || goto again";
    assert!(second.contains(again), "{second}");
    let third = service.script("mac=02:00:00:00:00:98&arch=x86_64&retry=1").await;
    assert!(third.contains("&retry=2 ||"), "{third}");
    service.stop().await;
    serving.shutdown().await;

    let node = "x1000c1s7b7n0";
    let folder = tempfile::tempdir().unwrap();
    let known = [
        json!({"kind": "component", "id": node, "row": {"id": node, "nid": 7}}),
        json!({"kind": "interface", "id": "020000000098",
            "row": {"id": "020000000098", "mac": "02:00:00:00:00:98", "component": node}}),
    ];
    let (socket, _serving) = serve_inventory(folder.path(), rows(&known));
    let service = Running::live("", folder.path(), db, &socket).await;
    let script = service.script("mac=02:00:00:00:00:98&arch=x86_64&retry=2").await;
    assert!(script.contains("kernel --name kernel http://h/k xname=x1000c1s7b7n0 nid=7"), "{script}");
    service.stop().await;
}

/// What would be a command is refused whole, with the place, by every verb that writes.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_command_in_the_parameters_is_refused_and_nothing_is_stored(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    service.put(json!({"nids": [2], "kernel": "http://h/k", "params": "quiet"})).await;
    for method in ["POST", "PUT", "PATCH"] {
        for params in ["quiet || shell", "${net0/mac}", "a\nshell", &"a".repeat(5000)] {
            let nid = if method == "POST" { 3 } else { 2 };
            let body = json!({"nids": [nid], "kernel": "http://h/k", "params": params}).to_string();
            let (status, text) = service.ask(Some(0), method, "/boot/v1/bootparameters", &body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {text}");
            assert!(text.contains(r#""pointer":"/params""#), "{text}");
        }
    }
    assert!(service.script("nid=2").await.contains("sleep 30"));
    let (_, all) = service.ask(Some(0), "GET", "/boot/v1/bootparameters", "").await;
    assert_eq!(all.matches("\"params\":\"quiet\"").count(), 1, "{all}");
    service.stop().await;
}

/// Targets of several kinds in one body are all stored, and one list of 10,000 is one request.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_write_takes_all_its_targets(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let nids: Vec<i64> = (10..10_010).collect();
    let body = json!({"macs": [MAC], "hosts": [NODE], "nids": nids, "kernel": "http://h/k"}).to_string();
    let (status, text) = service.ask(Some(0), "POST", "/boot/v1/bootparameters", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    let (_, all) = service.ask(Some(0), "GET", "/boot/v1/bootparameters", "").await;
    let all: Vec<boot::client::Entry> = serde_json::from_str(&all).unwrap();
    assert_eq!((all.len(), all[0].nids.len(), all[0].macs.len(), all[0].hosts.len()), (1, 10_000, 1, 1));
    service.stop().await;
}

/// A change that names a locked node in whatever way is refused whole, with who locked it and why.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_locked_node_keeps_what_it_boots(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let node = json!({"id": NODE, "nid": 2, "name": "login1",
        "lock": {"by": "alice", "reason": "memory errors", "since": "2026-01-01T00:00:00Z"}});
    let component = json!({"kind": "component", "id": NODE, "row": node});
    let (socket, mut serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db.clone(), &socket).await;
    service.put(json!({"macs": [MAC], "kernel": "http://h/k", "params": "quiet"})).await;
    service.stop().await;
    serving.shutdown().await;

    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[component]));
    let service = Running::live("", folder.path(), db, &socket).await;
    for (method, body) in [
        ("POST", json!({"macs": ["02:00:00:00:00:98", MAC], "kernel": "http://h/other"})),
        ("PUT", json!({"macs": [MAC], "kernel": "http://h/other"})),
        ("PUT", json!({"hosts": [NODE, "compute"], "kernel": "http://h/other"})),
        ("PUT", json!({"hosts": ["login1"], "kernel": "http://h/other"})),
        ("PUT", json!({"nids": [3, 2], "kernel": "http://h/other"})),
        ("PATCH", json!({"macs": [MAC], "params": "loud"})),
        ("DELETE", json!({"macs": [MAC]})),
        ("DELETE", json!({"kernel": "http://h/k", "params": "quiet"})),
    ] {
        let (status, text) = service.ask(Some(0), method, "/boot/v1/bootparameters", &body.to_string()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{method} {body} {text}");
        let told = "x1000c1s7b1n0 is locked by alice since 2026-01-01T00:00:00Z: memory errors";
        assert!(text.contains(told), "{text}");
    }
    let (_, all) = service.ask(Some(0), "GET", "/pilothouse/v1/parameters", "").await;
    let all: Vec<boot::client::Entry> = serde_json::from_str(&all).unwrap();
    assert_eq!((all.len(), all[0].macs.len(), all[0].kernel.as_str()), (1, 1, "http://h/k"));
    service.put(json!({"hosts": ["compute", "Default"], "nids": [3], "kernel": "http://h/other"})).await;
    service.stop().await;
}
