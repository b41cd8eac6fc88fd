//! A boot service in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::routing::get;
use boot::{Boot, Config, Parameters};
use domain::inventory::Inventory;
use domain::{Document, Service};
use http_body_util::BodyExt;
use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use web::mirror::{Freshness, Mirror};
use web::{Client, Database, Guard, Peer, Verifier};

pub(crate) const NODE: &str = "x1000c1s7b1n0";
pub(crate) const MAC: &str = "ec:e7:a7:05:a1:fc";
const PATIENCE: Duration = Duration::from_secs(20);

/// A service with its state folder and the neighbours it follows.
pub(crate) struct Running {
    pub(crate) router: Router,
    pub(crate) parameters: Mirror<Parameters>,
    pub(crate) inventory: Mirror<Inventory>,
    pub(crate) upkeep: JoinSet<()>,
    stop: CancellationToken,
}

/// The inventory's rows: two nodes with their controllers, and perhaps more.
pub(crate) fn rows(more: &[serde_json::Value]) -> String {
    let mut lines = vec![json!({"epoch": "6b1b36cb-31e2-4d9c-8d0c-6f0c3c2f6c55", "seq": 1, "schema": 1})];
    for (nid, bmc, mac) in [(2, "x1000c1s7b1", MAC), (3, "x1000c1s7b2", "ec:e7:a7:05:a2:28")] {
        let (node, id, ip) = (format!("{bmc}n0"), mac.replace(':', ""), format!("172.16.0.{}", nid - 1));
        let component = json!({"id": node, "nid": nid, "enabled": true, "role": "Compute", "state": "On"});
        lines.push(json!({"kind": "component", "id": node, "row": component}));
        let interface = json!({"id": id, "mac": mac, "component": node, "addresses": [{"address": ip}]});
        lines.push(json!({"kind": "interface", "id": id, "row": interface}));
        lines.push(json!({"kind": "endpoint", "id": bmc, "row": {"id": bmc, "nodes": [node]}}));
    }
    lines.extend_from_slice(more);
    lines.iter().map(|it| format!("{it}\n")).collect()
}

/// An inventory that serves these rows on a socket until it is dropped.
pub(crate) fn serve_inventory(folder: &Path, rows: String) -> (PathBuf, JoinSet<()>) {
    let socket = folder.join("inventory.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let changes = async || {
        let alive = futures_body("{\"seq\":1}\n");
        ([(header::CONTENT_TYPE, "application/x-ndjson")], alive)
    };
    let router =
        Router::new().route("/snapshot", get(async move || rows.clone())).route("/changes", get(changes));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (socket, serving)
}

/// A body that sends one line and stays open.
fn futures_body(line: &'static str) -> Body {
    let (writer, reader) = tokio::io::duplex(256);
    tokio::spawn(async move {
        let mut writer = writer;
        tokio::io::AsyncWriteExt::write_all(&mut writer, line.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    Body::from_stream(tokio_util::io::ReaderStream::new(reader))
}

pub(crate) fn document(table: &str) -> Document {
    let plane = "[[network.planes]]\nname = \"n\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";
    let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n";
    Document::parse(&format!("{head}{plane}{table}")).unwrap()
}

impl Running {
    /// Starts on a state folder as the process does, with or without its neighbours.
    pub(crate) fn start(
        table: &str,
        state: &Path,
        db: Option<PgPool>,
        inventory_socket: Option<&Path>,
    ) -> Self {
        let document = document(table);
        let inventory = Mirror::<Inventory>::load(state, "inventory").unwrap();
        let parameters = Mirror::<Parameters>::load(state, "bootparams").unwrap();
        let stop = CancellationToken::new();
        let mut upkeep = JoinSet::new();
        let database = match &db {
            Some(pool) => Database::ready(pool.clone()),
            None => Database::ready(nowhere()),
        };
        if db.is_some() {
            let (mirror, database, stop) = (parameters.clone(), database.clone(), stop.clone());
            upkeep.spawn(async move { mirror.follow_database(database, stop).await });
        }
        if let Some(socket) = inventory_socket {
            let (mirror, client, stop) = (inventory.clone(), Client::unix(socket), stop.clone());
            upkeep.spawn(async move { mirror.follow_socket(client, stop).await });
        }
        let config = Config::parse(&document).unwrap();
        let verifier = Arc::new(Verifier::new(&document).unwrap());
        let boot = Boot::new(config, inventory.clone(), parameters.clone(), database)
            .with_images(Client::unix(state.join("images.sock")));
        let (settling, until) = (boot.clone(), stop.clone());
        upkeep.spawn(async move { settling.settle_until(&until).await });
        let router = boot::router(boot).layer(axum::Extension(Guard { service: Service::Boot, verifier }));
        Self { router, parameters, inventory, upkeep, stop }
    }

    /// Started, and both Mirrors live.
    pub(crate) async fn live(table: &str, state: &Path, db: PgPool, socket: &Path) -> Self {
        let service = Self::start(table, state, Some(db), Some(socket));
        until_live(&service.parameters).await;
        until_live(&service.inventory).await;
        service
    }

    /// Ends as SIGTERM ends it.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.upkeep.join_next().await.is_some() {}
    }

    /// A request as this uid, None for one over the network.
    pub(crate) async fn ask(
        &self,
        uid: Option<u32>,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, String) {
        self.ask_as("curl/8.14.1", uid, method, path, body).await
    }

    /// The same as a client that calls itself this.
    async fn ask_as(
        &self,
        agent: &str,
        uid: Option<u32>,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, String) {
        let peer = uid.map_or_else(|| Peer::of_address([172, 16, 0, 1].into()), Peer::of_uid);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "172.16.0.254:8081");
        let request = request
            .header(header::USER_AGENT, agent)
            .extension(peer)
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        if status == StatusCode::SERVICE_UNAVAILABLE && !path.ends_with("/readyz") {
            assert!(response.headers().contains_key(header::RETRY_AFTER), "{path}");
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    pub(crate) async fn script(&self, query: &str) -> String {
        let (status, text) = self.ask(None, "GET", &format!("/boot/v1/bootscript?{query}"), "").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    /// The script that iPXE is given.
    pub(crate) async fn ipxe(&self, query: &str) -> String {
        let path = format!("/boot/v1/bootscript?{query}");
        let (status, text) = self.ask_as("iPXE/1.21.1+git", None, "GET", &path, "").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    pub(crate) async fn put(&self, body: serde_json::Value) {
        let (status, text) = self.ask(Some(0), "PUT", "/boot/v1/bootparameters", &body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
    }
}

/// A pool whose server is not there.
fn nowhere() -> PgPool {
    let options =
        sqlx::postgres::PgConnectOptions::new_without_pgpass().host("/nonexistent").username("boot");
    sqlx::postgres::PgPoolOptions::new().acquire_timeout(Duration::from_secs(1)).connect_lazy_with(options)
}

pub(crate) async fn until_live<V: domain::feed::View>(mirror: &Mirror<V>) {
    let mut changes = mirror.subscribe();
    let live = async {
        while mirror.freshness() != Freshness::Live {
            assert!(changes.changed().await);
        }
    };
    tokio::time::timeout(PATIENCE, live).await.unwrap();
}
