//! A service in this process, as its callers see it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::{Extension, Router};
use daemon::{Context, Paths};
use domain::{Document, Service};
use http_body_util::BodyExt;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use web::{Database, Guard, Peer, Verifier};

const DOCUMENT: &str = r#"
version = 1
[cluster]
name = "demo"
domain = "openchami.cluster"
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "eth0"
addresses = ["172.16.0.254/24"]
"#;

/// A server that is not there.
pub(crate) fn no_database() -> PgPool {
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_millis(200));
    options.connect_lazy("postgres://nobody@localhost:1/none").unwrap()
}

/// A service with its folders.
pub(crate) struct Lab {
    router: Router,
    folder: TempDir,
    _stop: DropGuard,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|it| panic!("{it}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

impl Lab {
    pub(crate) fn new(db: &PgPool) -> Self {
        Self::in_folder(db, tempfile::tempdir().unwrap())
    }

    /// The same again: another process on the same folders.
    pub(crate) fn restart(self, db: &PgPool) -> Self {
        let Self { folder, _stop: stop, .. } = self;
        drop(stop);
        Self::in_folder(db, folder)
    }

    fn in_folder(db: &PgPool, folder: TempDir) -> Self {
        let at = |it: &str| folder.path().join(it);
        std::fs::create_dir_all(at("credentials")).unwrap();
        std::fs::write(at("credentials/inventory.seal-key"), [7; 32]).unwrap();
        let paths = Paths {
            config: at("pilothouse.toml"),
            run: at("run"),
            state: at("state"),
            credentials: Some(at("credentials")),
        };
        let document = Document::parse(DOCUMENT).unwrap();
        let stop = CancellationToken::new();
        let verifier = Arc::new(Verifier::new(&document).unwrap());
        let context = Context::new(Service::Inventory, paths, document, Vec::new(), stop.clone()).unwrap();
        let (router, upkeep) = inventory::build(&context, Database::ready(db.clone())).unwrap();
        tokio::spawn(upkeep);
        let router = router.layer(Extension(Guard { service: Service::Inventory, verifier }));
        Self { router, folder, _stop: stop.drop_guard() }
    }

    /// A request of this uid.
    pub(crate) async fn call_as(&self, uid: u32, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let method: Method = method.parse().unwrap();
        let mut request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        request.extensions_mut().insert(Peer::of_uid(uid));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A request of root's.
    pub(crate) async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.call_as(0, method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call("GET", path, "").await.expect(200).json()
    }

    /// The hosts file, once it holds this.
    pub(crate) async fn hosts_with(&self, wanted: &str) -> String {
        let path = self.folder.path().join("run/inventory/hosts");
        let look = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                match std::fs::read_to_string(&path) {
                    Ok(text) if text.contains(wanted) => return text,
                    _ => {}
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(10), look).await;
        found.unwrap_or_else(|_| panic!("{wanted:?} never came: {:?}", std::fs::read_to_string(&path)))
    }

    /// Returns when the service answers from its database.
    pub(crate) async fn until_live(&self) {
        let look = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                let answer = self.call("GET", "/readyz", "").await;
                if answer.text.contains("\"live\"") {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), look).await.unwrap();
    }
}
