//! What a node boots the next time alone.

use boot::client::{OnceEntry, OnceResults, Script};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{MAC, NODE, Running, rows, serve_inventory};

async fn wish(service: &Running, method: &str, body: Value) -> OnceResults {
    let (status, text) = service.ask(Some(0), method, "/pilothouse/v1/once", &body.to_string()).await;
    assert!(status.is_success(), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// What the script has the machine fetch when it has loaded everything.
fn taken(script: &str) -> String {
    let line = script.lines().find_map(|it| it.strip_prefix("imgfetch --name taken ")).unwrap();
    let url = line.strip_suffix(" && imgfree taken ||").unwrap();
    url.strip_prefix("http://172.16.0.254:8081/apis/bss").unwrap().to_owned()
}

/// It is given until the node says that it has loaded it, also by another process; then never again.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_node_boots_once_what_it_was_told(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db.clone(), &socket).await;
    service
        .put(json!({"macs": [MAC], "kernel": "http://h/k", "initrd": "http://h/i", "params": "quiet"}))
        .await;
    let body = json!({"nodes": [NODE, "nobody"], "kernel": "/rescue/vmlinuz"});
    let done = wish(&service, "PUT", body).await.results;
    assert!(done[0].ok && !done[1].ok && done[1].error.as_ref().unwrap().contains("nobody"), "{done:?}");
    let query = format!("mac={MAC}");
    let first = service.script(&query).await;
    let kernel = "kernel --name kernel http://172.16.0.254:8080/rescue/vmlinuz quiet xname=";
    assert!(first.contains(kernel) && !first.contains("/i ||"), "{first}");
    assert_eq!(service.script(&format!("{query}&retry=1")).await.matches("/rescue/vmlinuz").count(), 1);
    let (_, text) = service.ask(Some(0), "GET", &format!("/pilothouse/v1/script/{NODE}"), "").await;
    let shown: Script = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (shown.source.as_str(), shown.considered[0].used, shown.considered[1].used),
        ("once", true, false)
    );
    service.stop().await;

    let service = Running::live("", folder.path(), db, &socket).await;
    let again = service.script(&query).await;
    assert!(again.contains(kernel), "{again}");
    let done = taken(&again);
    let (_, other) = service
        .ask(None, "GET", "/boot/v1/bootscript?nid=3&taken=6b1b36cb-31e2-4d9c-8d0c-6f0c3c2f6c55", "")
        .await;
    assert_eq!(other, "#!ipxe\n");
    assert!(service.script(&query).await.contains(kernel), "another node's word is no word of this one");
    assert_eq!(service.ask(None, "GET", &done, "").await.1, "#!ipxe\n");
    let after = service.script(&query).await;
    assert!(after.contains("http://h/k initrd=initrd quiet") && !after.contains("taken"), "{after}");
    let (_, left) = service.ask(Some(0), "GET", "/pilothouse/v1/once", "").await;
    assert_eq!(left.trim(), "[]");
    service.stop().await;
}

/// PostgreSQL is away when the node says that it is done: it is not given the same again.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn what_is_taken_is_taken_without_postgres(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db.clone(), &socket).await;
    service.put(json!({"macs": [MAC], "kernel": "http://h/k"})).await;
    wish(&service, "PUT", json!({"nodes": [MAC], "local_disk": true})).await;
    let script = service.script(&format!("mac={MAC}")).await;
    assert!(script.contains("sanboot --no-describe --drive 0x80 || goto boot_retry\n"), "{script}");
    db.close().await;
    service.ask(None, "GET", &taken(&script), "").await;
    assert!(service.script(&format!("mac={MAC}")).await.contains("http://h/k"));
    service.stop().await;
}

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_wish_is_taken_back_and_a_senseless_one_refused(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let done = wish(&service, "PUT", json!({"nodes": [NODE], "params": "rescue"})).await.results;
    assert!(done[0].error.as_ref().unwrap().contains("has no kernel yet"), "{done:?}");
    let done =
        wish(&service, "PUT", json!({"nodes": [NODE], "kernel": "k", "params": "a || b"})).await.results;
    assert!(done[0].error.as_ref().unwrap().contains("params, character 3"), "{done:?}");
    for body in [
        json!({"nodes": [], "kernel": "k"}),
        json!({"nodes": [NODE]}),
        json!({"nodes": [NODE], "kernel": "k", "local_disk": true}),
        json!({"nodes": [NODE], "kernal": "k"}),
    ] {
        let (status, text) = service.ask(Some(0), "PUT", "/pilothouse/v1/once", &body.to_string()).await;
        assert_eq!(status.as_u16(), 400, "{body} {text}");
    }
    wish(&service, "PUT", json!({"nodes": [NODE], "kernel": "k"})).await;
    let (_, text) = service.ask(Some(0), "GET", "/pilothouse/v1/once", "").await;
    let all: Vec<OnceEntry> = serde_json::from_str(&text).unwrap();
    assert_eq!((all.len(), all[0].kernel.as_str()), (1, "k"));
    let back = wish(&service, "DELETE", json!({"nodes": [NODE, "nid003"]})).await.results;
    assert!(back[0].ok && back[1].error.as_ref().unwrap().contains("nothing else"), "{back:?}");
    assert!(service.script(&format!("mac={MAC}")).await.contains("sleep 10"));
    service.stop().await;
}
