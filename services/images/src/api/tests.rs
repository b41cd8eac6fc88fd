//! The API with a real database: from an upload to the clean-up.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use daemon::{Context, Paths};
use domain::{Document, Service};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use web::mirror::Mirror;
use web::{Database, Guard, Peer, Verifier};

use crate::config::Config;
use crate::digest::{Digests, digest_of_bytes};
use crate::floor::Floor;

struct Desk {
    router: Router,
    guard: Guard,
    folder: tempfile::TempDir,
    _stop: DropGuard,
}

impl Desk {
    fn open(db: PgPool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["root", "run", "state"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let text = format!(
            "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"cluster.test\"\n[images]\nroot = {:?}\n",
            at("root")
        );
        let document = Document::parse(&text).unwrap();
        let stop = CancellationToken::new();
        let paths = Paths { config: at("none"), run: at("run"), state: at("state"), credentials: None };
        let verifier = Arc::new(Verifier::new(&document).unwrap());
        let context = Context::new(Service::Images, paths, document, Vec::new(), stop.clone()).unwrap();
        let config = Config::parse(&context.document).unwrap();
        let mirrors = (
            Mirror::load(&context.paths.state, "inventory").unwrap(),
            Mirror::load(&context.paths.state, "images").unwrap(),
        );
        let (digests, _) = Digests::load(&context.paths.state);
        let database = Database::ready(db);
        let catalog = mirrors.1.clone();
        let floor = Arc::new(Floor::new(&context, config, mirrors, digests, database.clone()));
        let follow = stop.clone();
        tokio::spawn(async move { catalog.follow_database(database, follow).await });
        let guard = Guard { service: Service::Images, verifier };
        Self { router: super::router(floor), guard, folder, _stop: stop.drop_guard() }
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        request.extensions_mut().insert(Peer::of_uid(0));
        request.extensions_mut().insert(self.guard.clone());
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (status, to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec())
    }

    async fn json(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, answer) = self.ask(method, path, body).await;
        (status.as_u16(), serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Uploads in two pieces; the digest.
    async fn upload(&self, content: &[u8]) -> String {
        let digest = format!("sha256:{}", digest_of_bytes(content));
        let (status, begun) = self.json(Method::POST, "/pilothouse/v1/uploads", Value::Null).await;
        assert_eq!(status, 200, "{begun}");
        let path = format!("/pilothouse/v1/uploads/{}", begun["id"].as_str().unwrap());
        for (offset, piece) in [(0, &content[..2]), (2, &content[2..])] {
            let (status, answer) =
                self.ask(Method::PUT, &format!("{path}?offset={offset}"), piece.to_vec()).await;
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        }
        let (status, answer) = self.json(Method::PUT, &format!("{path}?offset=0"), json!({})).await;
        assert_eq!(status, 409, "{answer}");
        let (status, blob) = self.json(Method::POST, &format!("{path}?digest={digest}"), Value::Null).await;
        assert_eq!((status, &blob["digest"], &blob["bytes"]), (200, &json!(digest), &json!(content.len())));
        digest
    }

    async fn publish(&self, kernel: &str, initrd: &str) -> (u16, Value) {
        let image = json!({"name": "site/compute", "tag": "9.5", "architecture": "amd64",
            "kernel": kernel, "initrd": initrd});
        self.json(Method::POST, "/pilothouse/v1/images", image).await
    }
}

#[sqlx::test(migrator = "crate::MIGRATIONS")]
async fn an_image_is_uploaded_published_served_pinned_and_removed(db: PgPool) {
    let desk = Desk::open(db);
    let (kernel, initrd) = (desk.upload(b"a kernel").await, desk.upload(b"an initrd").await);
    let (status, refused) = desk.publish(&kernel, &format!("sha256:{}", "0".repeat(64))).await;
    assert_eq!((status, refused["type"].as_str()), (404, Some("urn:pilothouse:no-blob")), "{refused}");
    let (status, published) = desk.publish(&kernel, &initrd).await;
    assert_eq!((status, published["architecture"].as_str()), (201, Some("x86_64")), "{published}");
    let resolve = "/pilothouse/v1/images/resolve?reference=site/compute:9.5";
    assert_eq!(desk.json(Method::GET, resolve, Value::Null).await, (200, published.clone()));
    let (status, _) = desk.json(Method::GET, &format!("{resolve}&architecture=arm64"), Value::Null).await;
    assert_eq!(status, 404);
    let by_digest = published["digest"].as_str().unwrap();
    let path = format!("/pilothouse/v1/images/resolve?reference={by_digest}");
    assert_eq!(desk.json(Method::GET, &path, Value::Null).await.1["kernel"], published["kernel"]);
    for path in [
        "/images/site/compute/9.5/kernel".to_owned(),
        "/images/site/compute/9.5/kernel?arch=x86_64".to_owned(),
        format!("/{}", published["kernel"]["path"].as_str().unwrap()),
    ] {
        assert_eq!(desk.ask(Method::GET, &path, "").await, (StatusCode::OK, b"a kernel".to_vec()), "{path}");
    }
    for path in
        ["/images/site/compute/9.5/root", "/images/site/compute/9.5/kernel?arch=arm64", "/.store/uploads"]
    {
        assert_eq!(desk.ask(Method::GET, path, "").await.0, 404, "{path}");
    }
    let pin = "/pins/boot/compute";
    assert_eq!(desk.json(Method::PUT, pin, json!({"image": "site/compute:9.5"})).await.0, 204);
    let listed = desk.json(Method::GET, "/pilothouse/v1/images", Value::Null).await.1;
    assert_eq!(listed[0]["pins"], json!(["boot/compute"]), "{listed}");
    let remove = "/pilothouse/v1/images?reference=site/compute:9.5";
    let (status, refused) = desk.json(Method::DELETE, remove, Value::Null).await;
    assert!(status == 409 && refused["detail"].as_str().unwrap().contains("boot/compute"), "{refused}");
    assert_eq!(desk.json(Method::DELETE, pin, Value::Null).await.0, 204);
    assert_eq!(desk.json(Method::DELETE, remove, Value::Null).await.0, 204);
    assert_eq!(desk.json(Method::GET, resolve, Value::Null).await.0, 404);
    let (status, cleaned) = desk.json(Method::POST, "/pilothouse/v1/images/gc?dry=true", Value::Null).await;
    assert_eq!((status, &cleaned["manifests"]), (200, &json!([])), "it is too young: {cleaned}");
}

#[sqlx::test(migrator = "crate::MIGRATIONS")]
async fn a_damaged_file_is_named_until_it_is_sound(db: PgPool) {
    let desk = Desk::open(db);
    let (kernel, initrd) = (desk.upload(b"a kernel").await, desk.upload(b"an initrd").await);
    assert_eq!(desk.publish(&kernel, &initrd).await.0, 201);
    let verify = async || {
        let (status, lines) = desk.ask(Method::POST, "/pilothouse/v1/images/verify", "").await;
        assert_eq!(status, 200);
        let lines = String::from_utf8(lines).unwrap();
        let bad = lines.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        bad.filter(|it| it["sound"] == false)
            .map(|it| it["digest"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(verify().await, Vec::<String>::new());
    let hex = kernel.strip_prefix("sha256:").unwrap();
    let file = desk.folder.path().join("root/.store/blobs/sha256").join(&hex[..2]).join(hex);
    std::fs::write(&file, b"a kernal").unwrap();
    assert_eq!(verify().await, std::slice::from_ref(&kernel));
    let issues = desk.folder.path().join("run/images/issues.json");
    let told = std::fs::read_to_string(&issues).unwrap();
    assert!(told.contains("site/compute:9.5") && told.contains(hex), "{told}");
    desk.upload(b"a kernel").await;
    assert!(!std::fs::read_to_string(&issues).unwrap().contains(hex), "it was imported again");
    assert_eq!(verify().await, Vec::<String>::new());
}
