//! Which kernel, and why: architectures, what was considered, addresses from the pool.

use axum::http::StatusCode;
use boot::client::{Entry, Script};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{MAC, NODE, Running, rows, serve_inventory};

/// The other node, whose address is not the caller's.
const OTHER: &str = "ec:e7:a7:05:a2:28";

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_kernel_is_chosen_by_what_ipxe_says_it_runs_on(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let group = json!({"kind": "group", "id": "compute", "row": {"label": "compute", "members": [NODE]}});
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[group]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let arm = json!({"kernel": "http://h/arm", "initrd": "http://h/arm-initrd", "params": "console=ttyAMA0"});
    service
        .put(json!({"hosts": ["compute"], "kernel": "http://h/amd", "params": "console=ttyS0",
            "architectures": {"arm64": arm}}))
        .await;
    let ask = service.script(&format!("mac={MAC}")).await;
    let url = "http://172.16.0.254:8081/apis/bss/boot/v1/bootscript?mac=ec:e7:a7:05:a1:fc&arch=${buildarch}&retry=0";
    assert!(ask.contains(&format!(":ask\nchain --replace {url} || goto again\n")), "{ask}");
    let arm = service.script(&format!("mac={MAC}&arch=arm64&retry=0")).await;
    assert!(arm.contains("kernel --name kernel http://h/arm initrd=initrd console=ttyAMA0 xname="), "{arm}");
    assert!(arm.contains("initrd --name initrd http://h/arm-initrd ||"), "{arm}");
    for arch in ["x86_64", "i386", "unheard-of", ""] {
        let script = service.script(&format!("mac={MAC}&arch={arch}")).await;
        assert!(script.contains("kernel --name kernel http://h/amd console=ttyS0 xname="), "{script}");
    }
    let (_, data) =
        service.ask(None, "GET", &format!("/boot/v1/bootscript?mac={MAC}&arch=arm64&json=1"), "").await;
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!((&data["kernel"], &data["initrd"]), (&json!("http://h/arm"), &json!("http://h/arm-initrd")));
    assert!(data["params"].as_str().unwrap().starts_with("kernel initrd=initrd console=ttyAMA0 "), "{data}");

    let (_, all) = service.ask(Some(0), "GET", "/pilothouse/v1/parameters", "").await;
    let all: Vec<Entry> = serde_json::from_str(&all).unwrap();
    assert_eq!(all[0].architectures.len(), 1);
    service.put(json!({"hosts": ["compute"], "architectures": {"arm64": null}})).await;
    let script = service.script(&format!("mac={MAC}&arch=arm64")).await;
    assert!(script.contains("http://h/amd"), "{script}");
    service.stop().await;
}

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_script_is_explained_by_everything_that_was_considered(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let group = json!({"kind": "group", "id": "compute", "row": {"label": "compute", "members": [NODE]}});
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[group]));
    let service = Running::live("", folder.path(), db, &socket).await;
    service.put(json!({"hosts": ["Default"], "kernel": "http://h/default"})).await;
    service.put(json!({"hosts": ["compute"], "kernel": "http://h/group"})).await;
    let (status, text) = service.ask(Some(0), "GET", "/pilothouse/v1/script/nid002", "").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let script: Script = serde_json::from_str(&text).unwrap();
    assert_eq!((script.source.as_str(), script.target.as_deref()), ("group:compute", Some("host:compute")));
    let shown: Vec<_> =
        script.considered.iter().map(|it| (it.target.as_str(), it.kernel.as_deref(), it.used)).collect();
    assert_eq!(
        shown,
        [
            ("mac:ec:e7:a7:05:a1:fc", None, false),
            ("host:x1000c1s7b1n0", None, false),
            ("host:nid002", None, false),
            ("nid:2", None, false),
            ("host:compute", Some("http://h/group"), true),
            ("host:Default", Some("http://h/default"), false),
        ]
    );
    let (_, text) = service.ask(Some(0), "GET", "/pilothouse/v1/script/nobody", "").await;
    let script: Script = serde_json::from_str(&text).unwrap();
    assert!(script.node.is_none() && script.target.is_none() && script.script.contains("sleep 10"), "{text}");
    service.stop().await;
}

/// The first script of a machine that waits is BSS', which takes no new address; a machine that was added meanwhile
/// takes its own before it loads anything.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_machine_added_while_it_waited_takes_its_own_address_first(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    service.put(json!({"macs": [MAC, OTHER], "kernel": "http://h/k"})).await;
    // We ask from the address of the node with MAC; for the other one it is a foreign one.
    let renew = service.script(&format!("mac={OTHER}&arch=x86_64&ts=1")).await;
    let again = "chain --replace http://172.16.0.254:8081/apis/bss/boot/v1/bootscript?\
                 mac=ec:e7:a7:05:a2:28&arch=x86_64&retry=0 || goto again\n";
    assert!(renew.contains(&format!(":ask\ndhcp || goto again\n{again}")), "{renew}");
    for query in [
        format!("mac={OTHER}&arch=x86_64&retry=0"),
        format!("mac={OTHER}"),
        format!("mac={MAC}&arch=x86_64&ts=1"),
    ] {
        let script = service.script(&query).await;
        assert!(script.contains("kernel --name kernel http://h/k "), "{query} {script}");
    }
    service.stop().await;
}

/// What only rendering can see: a long URL of the document's makes the line longer than Linux takes.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_line_that_became_too_long_is_said_on_the_console(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let table = format!("[boot]\ncloud_init_url = \"http://h/{}\"\n", "a".repeat(300));
    let service = Running::live(&table, folder.path(), db, &socket).await;
    service.put(json!({"macs": [MAC], "kernel": "http://h/k", "params": "a".repeat(1792)})).await;
    let script = service.script(&format!("mac={MAC}")).await;
    assert!(script.contains("echo the command line has") && script.contains("the limit is 2047"), "{script}");
    assert!(!script.contains("kernel --name"), "{script}");
    let path = format!("/boot/v1/bootscript?mac={MAC}&json=1");
    assert_eq!(service.ask(None, "GET", &path, "").await.0, StatusCode::CONFLICT);
    service.stop().await;
}
