//! A head with join in this process, beside a dhcp that knows one lease and an auth that gives tokens.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{Method, Request, StatusCode};
use axum::routing::{delete, get, post};
use daemon::{Address, Context, Paths};
use domain::{Document, Service};
use http_body_util::BodyExt;
use join::Join;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use web::{Database, Guard, Peer, Verifier};

/// Far longer than anything here takes: only a hang meets it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const NODE: &str = "x1000c1s7b1n0";
pub(crate) const OTHER: &str = "x1000c1s7b2n0";
pub(crate) const MAC: &str = "52:54:00:10:00:01";
pub(crate) const IP: &str = "172.16.0.1";

/// What auth and dhcp have been asked and are to say.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// What auth was asked for.
    pub(crate) tokens: Mutex<Vec<Value>>,
    /// The nodes whose tokens it was to end.
    pub(crate) ended: Mutex<Vec<String>>,
    /// Whether the node has asked for its address.
    pub(crate) leased: Mutex<bool>,
}

pub(crate) struct Head {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) neighbours: Arc<Neighbours>,
    document: Document,
    db: PgPool,
    join: Option<(Join, CancellationToken, tokio::task::JoinHandle<()>)>,
    _serving: JoinSet<()>,
}

fn rows() -> Vec<Value> {
    let mut rows = Vec::new();
    for number in [1, 2] {
        let (id, mac) = (format!("x1000c1s7b{number}n0"), format!("52540010000{number}"));
        rows.push(json!({"kind": "component", "id": id, "row": {"id": id, "nid": number}}));
        rows.push(json!({"kind": "interface", "id": mac, "row": {"id": mac,
            "mac": format!("52:54:00:10:00:0{number}"), "component": id,
            "addresses": [{"address": format!("172.16.0.{number}")}]}}));
    }
    // The one under test is reached on this machine.
    rows.push(json!({"kind": "interface", "id": "525400100009", "row": {"id": "525400100009",
        "mac": "52:54:00:10:00:09", "component": NODE, "addresses": [{"address": "127.0.0.1"}]}}));
    let group = json!({"label": "compute", "members": [NODE]});
    rows.push(json!({"kind": "group", "id": "compute", "row": group}));
    rows
}

impl Head {
    /// Starts with this `[join]`.
    pub(crate) async fn start(db: PgPool, table: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["run", "state"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("join.seal-key"), [7; 32]).unwrap();
        let header = json!({"epoch": uuid::Uuid::new_v4(), "seq": 1, "schema": 1});
        let lines =
            std::iter::once(header).chain(rows()).chain([json!({"seq": 1})]).map(|it| format!("{it}\n"));
        std::fs::write(at("state/inventory.ndjson"), lines.collect::<String>()).unwrap();
        let neighbours: Arc<Neighbours> = Arc::default();
        let mut serving = JoinSet::new();
        for (name, router) in [("auth", auth(&neighbours)), ("dhcp", dhcp(&neighbours))] {
            let listener = UnixListener::bind(at(&format!("run/{name}.sock"))).unwrap();
            serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        }
        let text = format!(
            "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[join]\nhold = '0s'\n{table}"
        );
        let document = Document::parse(&text).unwrap();
        join::check(&document).unwrap();
        let mut head = Self { folder, neighbours, document, db, join: None, _serving: serving };
        head.start_again().await;
        head
    }

    pub(crate) async fn start_again(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        let paths = Paths {
            config: at("none"),
            run: at("run"),
            state: at("state"),
            credentials: Some(self.folder.path().to_owned()),
        };
        let stop = CancellationToken::new();
        let listen = vec![("http".to_owned(), Address::Unix(at("run/join.sock")))];
        let context =
            Context::new(Service::Join, paths, self.document.clone(), listen, stop.clone()).unwrap();
        let join = join::open(&context, Database::ready(self.db.clone())).unwrap();
        let upkeep = join.clone();
        let task = tokio::spawn(async move { upkeep.upkeep().await });
        self.join = Some((join, stop, task));
        let until = tokio::time::timeout(LIMIT, async {
            while self.root("GET", "/pilothouse/v1/key", "").await.0 != StatusCode::OK {
                tokio::task::yield_now().await;
            }
        });
        until.await.unwrap();
    }

    pub(crate) async fn stop(&mut self) {
        let (_, stop, task) = self.join.take().unwrap();
        stop.cancel();
        tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
    }

    /// A request from this peer, from this address if it comes through the gateway: status and body.
    pub(crate) async fn send(
        &self,
        peer: Peer,
        address: Option<&str>,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, Vec<u8>) {
        let (join, _, _) = self.join.as_ref().unwrap();
        let guard =
            Guard { service: Service::Join, verifier: Arc::new(Verifier::new(&self.document).unwrap()) };
        let router = join::router(join.clone()).layer(axum::Extension(guard)).layer(axum::Extension(peer));
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if let Some(address) = address {
            request = request.header("x-forwarded-for", address);
        }
        let answer = router.oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        (answer.status(), answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    /// As an administrator on the head.
    pub(crate) async fn root(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        self.json(Peer::of_uid(0), None, method, path, body).await
    }

    /// As a service.
    pub(crate) async fn service(
        &self,
        service: Service,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, Value) {
        self.json(Peer::of_uid(service.uid()), None, method, path, body).await
    }

    /// As a machine on the network, through the gateway.
    pub(crate) async fn machine(
        &self,
        address: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        self.json(Peer::of_uid(Service::Gateway.uid()), Some(address), method, path, &body.to_string()).await
    }

    async fn json(
        &self,
        peer: Peer,
        address: Option<&str>,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, Value) {
        let (status, body) = self.send(peer, address, method, path, body).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The health issues of this moment.
    pub(crate) fn issues(&self) -> Vec<Value> {
        let text = std::fs::read(self.folder.path().join("run/join/issues.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

fn auth(neighbours: &Arc<Neighbours>) -> Router {
    let (neighbours, of_end) = (Arc::clone(neighbours), Arc::clone(neighbours));
    let give = async move |axum::Json(body): axum::Json<Value>| {
        let answer = json!({"access_token": format!("token-of-{}", body["xname"].as_str().unwrap()),
            "token_type": "Bearer", "expires_in": body["seconds"], "scope": "node"});
        neighbours.tokens.lock().unwrap().push(body);
        axum::Json(answer)
    };
    let end = async move |Path(node): Path<String>| {
        of_end.ended.lock().unwrap().push(node);
        StatusCode::NO_CONTENT
    };
    Router::new()
        .route("/pilothouse/v1/node-tokens", post(give))
        .route("/pilothouse/v1/node-tokens/{xname}", delete(end))
}

fn dhcp(neighbours: &Arc<Neighbours>) -> Router {
    let neighbours = Arc::clone(neighbours);
    let list = async move |Query(query): Query<std::collections::HashMap<String, String>>| {
        let expires = neighbours.leased.lock().unwrap().then_some("2030-01-01T00:00:00Z");
        let lease = json!({"ip": IP, "mac": MAC, "node": NODE, "plane": "nodes", "expires": expires});
        axum::Json(if query.get("ip").is_some_and(|it| it == IP) { vec![lease] } else { Vec::new() })
    };
    Router::new().route("/pilothouse/v1/leases", get(list))
}
