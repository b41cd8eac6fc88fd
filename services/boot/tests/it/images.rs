//! Images by reference: resolved when they are set, pinned before, and let go after.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::{Path as InPath, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::harness::{MAC, NODE, Running, rows, serve_inventory};

type Pins = Arc<Mutex<BTreeMap<String, String>>>;

fn digest(of: &str) -> String {
    format!("sha256:{}", of.repeat(64))
}

/// A service images with `compute:latest` on two architectures; what is pinned there.
fn serve_images(folder: &Path) -> (Pins, JoinSet<()>) {
    let pins = Pins::default();
    let list = async || {
        let image = |architecture: &str, of: &str| {
            json!({"name": "compute", "tag": "latest", "architecture": architecture, "digest": digest(of),
                "kernel": "k", "initrd": "i", "root": "r", "bytes": 1, "modified": "2026-01-01T00:00:00Z"})
        };
        Json(json!([image("arm64", "b"), image("x86_64", "a")]))
    };
    let resolve = async |Query(query): Query<BTreeMap<String, String>>| {
        let of = match (query["reference"].as_str(), query.get("architecture").map(String::as_str)) {
            ("compute:latest", Some("x86_64")) => "a",
            ("compute:latest", Some("arm64")) => "b",
            _ => {
                return Err((
                    StatusCode::NOT_FOUND,
                    Json(json!({"detail": "there is no image nothing:latest"})),
                ));
            }
        };
        let part = |name: &str| json!({"digest": digest(of), "bytes": 1, "path": format!("blobs/sha256/{of}-{name}")});
        Ok(Json(json!({"reference": query["reference"], "architecture": query["architecture"],
            "digest": digest(of), "kernel": part("k"), "initrd": part("i"), "root": part("r")})))
    };
    let pin = async |State(pins): State<Pins>, InPath(id): InPath<String>, Json(body): Json<Value>| {
        pins.lock().unwrap().insert(id, body["image"].as_str().unwrap().to_owned());
    };
    let unpin = async |State(pins): State<Pins>, InPath(id): InPath<String>| {
        pins.lock().unwrap().remove(&id);
    };
    let all = async |State(pins): State<Pins>| {
        let own = |id: &String| json!({"service": "boot", "id": id, "image": id});
        Json(pins.lock().unwrap().keys().map(own).collect::<Vec<_>>())
    };
    let router = Router::new()
        .route("/pilothouse/v1/images", get(list))
        .route("/pilothouse/v1/images/resolve", get(resolve))
        .route("/pins", get(all))
        .route("/pins/boot/{id}", put(pin).delete(unpin))
        .with_state(Arc::clone(&pins));
    let listener = tokio::net::UnixListener::bind(folder.join("images.sock")).unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (pins, serving)
}

async fn until_pinned(pins: &Pins, wanted: &[String]) {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    let same = async {
        while pins.lock().unwrap().keys().ne(wanted) {
            look.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), same).await.expect("the pins are moved");
}

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn an_image_is_what_it_was_when_it_was_set(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let (pins, _images) = serve_images(folder.path());
    let service = Running::live("", folder.path(), db, &socket).await;
    service
        .put(json!({"macs": [MAC], "kernel": "http://h/k", "params": "root=live:http://h/r console=ttyS0"}))
        .await;
    let set =
        async |body: Value| service.ask(Some(0), "PUT", "/pilothouse/v1/parameters", &body.to_string()).await;
    let (status, text) = set(json!({"macs": [MAC], "image": "compute:latest"})).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(pins.lock().unwrap().keys().cloned().collect::<Vec<_>>(), [digest("a"), digest("b")]);

    let script = service.ipxe(&format!("mac={MAC}&arch=i386&retry=0")).await;
    let head = "http://172.16.0.254:8080/blobs/sha256";
    let kernel = format!("kernel --name kernel {head}/a-k initrd=initrd root=live:{head}/a-r rd.live.image ");
    assert!(script.contains(&kernel) && script.contains(" console=ttyS0 xname="), "{script}");
    let script = service.ipxe(&format!("mac={MAC}&arch=arm64&retry=0")).await;
    assert!(script.contains(&format!("{head}/b-k initrd=initrd root=live:{head}/b-r ")), "{script}");
    let (_, text) = service.ask(Some(0), "GET", "/pilothouse/v1/parameters", "").await;
    let all: Vec<boot::client::Entry> = serde_json::from_str(&text).unwrap();
    assert_eq!(all[0].image, format!("compute:latest@{}+{}", digest("a"), digest("b")));

    for (body, wanted) in [
        (json!({"macs": [MAC], "image": "nothing:latest"}), StatusCode::NOT_FOUND),
        (json!({"image": "compute:latest"}), StatusCode::BAD_REQUEST),
        (json!({"macs": [MAC], "image": "compute:latest", "params": "a || b"}), StatusCode::BAD_REQUEST),
    ] {
        let (status, text) = set(body).await;
        assert_eq!(status, wanted, "{text}");
    }
    let once = json!({"nodes": [NODE], "image": "compute:latest"}).to_string();
    let (status, text) = service.ask(Some(0), "PUT", "/pilothouse/v1/once", &once).await;
    assert!(status.is_success() && text.contains("\"ok\":true"), "{text}");
    // Another kernel: the entry is no longer the image's, and only what is booted once keeps it.
    service.put(json!({"macs": [MAC], "kernel": "http://h/k"})).await;
    let (_, text) = service.ask(Some(0), "GET", "/boot/v1/bootparameters", "").await;
    assert!(!text.contains("\"image\""), "{text}");
    until_pinned(&pins, &[digest("a"), digest("b")]).await;
    service.ask(Some(0), "DELETE", "/pilothouse/v1/once", &json!({"nodes": [NODE]}).to_string()).await;
    until_pinned(&pins, &[]).await;
    service.stop().await;
}

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn without_images_nothing_is_changed(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let body = json!({"macs": [MAC], "image": "compute:latest"}).to_string();
    let (status, text) = service.ask(Some(0), "PUT", "/pilothouse/v1/parameters", &body).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && text.contains("pilothouse-images"), "{text}");
    service.stop().await;
}
