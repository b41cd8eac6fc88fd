//! A head with discovery in this process, beside neighbours that answer what it asks them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::get;
use daemon::{Address, Context, Paths};
use discovery::client::{Discovery, Phase, Request, begin, follow, show};
use domain::{Document, Service};
use serde_json::{Value, json};
use tests::redfish::tree::{Resources, Tree};
use tests::redfish::{PASSWORD, USER};
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use web::Client;

/// Far longer than anything here takes: only a hang meets it.
const LIMIT: Duration = Duration::from_secs(60);

/// What every document has.
const NAMED: &str = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"cluster.test\"\n";

/// What the neighbours know.
#[derive(Default)]
pub(crate) struct Neighbours {
    /// The rows of the inventory.
    pub(crate) rows: Vec<Value>,
    /// What is added to the document.
    pub(crate) table: &'static str,
    /// The certificate that power believes of every BMC.
    pub(crate) certificate: Option<String>,
    /// Machines that dhcp knows and the inventory does not.
    pub(crate) unknown: Vec<Value>,
    /// Accounts by scope, beside that of `default`.
    pub(crate) accounts: HashMap<String, (String, String)>,
}

/// A running service; it goes when dropped.
pub(crate) struct Head {
    pub(crate) client: Client,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
    folder: tempfile::TempDir,
    _neighbours: JoinSet<()>,
}

impl Head {
    pub(crate) async fn start(neighbours: Neighbours) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["run", "state"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let header = json!({"epoch": uuid::Uuid::new_v4(), "seq": 1, "schema": 1});
        let rows = neighbours.rows.clone();
        let lines =
            std::iter::once(header).chain(rows).chain([json!({"seq": 1})]).map(|it| format!("{it}\n"));
        std::fs::write(at("state/inventory.ndjson"), lines.collect::<String>()).unwrap();
        let mut serving = JoinSet::new();
        let mut serve = |socket: PathBuf, router: Router| {
            let listener = UnixListener::bind(socket).unwrap();
            serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        };
        serve(at("run/inventory.sock"), inventory(neighbours.accounts));
        serve(at("run/power.sock"), power(neighbours.certificate));
        let unknown = neighbours.unknown;
        let list = get(async move || axum::Json(unknown));
        serve(at("run/dhcp.sock"), Router::new().route("/pilothouse/v1/unknown", list));
        let document = Document::parse(&format!("{NAMED}{}", neighbours.table)).unwrap();
        discovery::check(&document).unwrap();
        let paths = Paths { config: at("none"), run: at("run"), state: at("state"), credentials: None };
        let (socket, stop) = (at("run/discovery.sock"), CancellationToken::new());
        let listen = vec![("http".to_owned(), Address::Unix(socket.clone()))];
        let context = Context::new(Service::Discovery, paths, document, listen, stop.clone()).unwrap();
        let served = tokio::spawn(discovery::serve(context));
        let client = Client::unix(&socket);
        Self { client, stop, served, folder, _neighbours: serving }
    }

    /// Puts another document in place, as the supervisor does, with this besides.
    pub(crate) fn change_document(&self, table: &str) {
        std::fs::write(self.folder.path().join("none"), format!("{NAMED}{table}")).unwrap();
    }

    /// The number of a discovery that has begun.
    pub(crate) async fn begin(&self, request: Value) -> u64 {
        let request: Request = serde_json::from_value(request).unwrap();
        begin(&self.client, &request).await.unwrap().id
    }

    /// Why a request is refused.
    pub(crate) async fn refused(&self, request: Value) -> String {
        let request: Request = serde_json::from_value(request).unwrap();
        begin(&self.client, &request).await.unwrap_err().to_string()
    }

    /// What a discovery finds, when it is over.
    pub(crate) async fn discover(&self, request: Value) -> Discovery {
        let id = self.begin(request).await;
        let last = limited(async {
            let mut updates = follow(&self.client, id).await.unwrap();
            let mut last = None;
            while let Some(update) = updates.next().await.unwrap() {
                last = Some(update);
            }
            last.unwrap()
        });
        let summary = last.await.summary;
        assert!(summary.phase == Phase::Done && summary.asked == summary.targets, "{summary:?}");
        let found = show(&self.client, id).await.unwrap();
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains(PASSWORD), "{text}");
        found
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        limited(self.served).await.unwrap().unwrap();
    }
}

/// Ends a test that hangs.
pub(crate) async fn limited<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("the test hangs")
}

/// BMCs at 127.0.0.2 and on, all at one port; and the port.
pub(crate) async fn bmcs(all: Vec<Resources>) -> (Vec<Tree>, u16) {
    let (mut trees, mut port) = (Vec::new(), 0);
    for (resources, last) in all.into_iter().zip(2_u8..) {
        let tree = Tree::start(SocketAddr::from(([127, 0, 0, last], port)), resources).await.unwrap();
        port = tree.address().port();
        trees.push(tree);
    }
    (trees, port)
}

/// A port of the loopback where nobody is.
pub(crate) fn nobody() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A node of the inventory with its BMC.
pub(crate) fn node(xname: &str, nid: u32, mac: &str, bmc_address: &str) -> Vec<Value> {
    let (bmc, id) = (xname.trim_end_matches("n0"), mac.replace(':', ""));
    vec![
        json!({"kind": "component", "id": xname, "row": {"id": xname, "nid": nid}}),
        json!({"kind": "endpoint", "id": bmc, "row": {"id": bmc, "address": bmc_address, "nodes": [xname]}}),
        json!({"kind": "interface", "id": id, "row": {"id": id, "mac": mac, "component": xname,
            "addresses": [{"address": format!("172.16.0.{nid}")}]}}),
    ]
}

/// Accounts as the inventory gives them out: its own, that of its class, the default.
fn inventory(mut accounts: HashMap<String, (String, String)>) -> Router {
    accounts.entry("default".to_owned()).or_insert_with(|| (USER.to_owned(), PASSWORD.to_owned()));
    let show = async move |Path(bmc): Path<String>, Query(query): Query<HashMap<String, String>>| {
        let class = query.get("class").map(|it| format!("class:{it}"));
        let scopes = [Some(bmc), class, Some("default".to_owned())];
        let found = scopes.iter().flatten().find_map(|it| accounts.get(it));
        match found.filter(|it| !it.0.is_empty()) {
            Some((user, password)) => Ok(axum::Json(json!({"user": user, "password": password}))),
            None => Err(StatusCode::NOT_FOUND),
        }
    };
    let changes = async || {
        let first = futures_util::stream::once(async { Ok::<_, std::convert::Infallible>("{\"seq\":1}\n") });
        Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()))
    };
    Router::new().route("/pilothouse/v1/bmcs/{bmc}/credential", get(show)).route("/changes", get(changes))
}

fn power(certificate: Option<String>) -> Router {
    let show = async move |Path(bmc): Path<String>| {
        let certificate = certificate.map(|it| json!({"sha256": it, "since": "2026-11-23T00:00:00Z"}));
        axum::Json(json!({"bmc": bmc, "speaks": null, "tls": "pin", "certificate": certificate}))
    };
    Router::new().route("/pilothouse/v1/bmcs/{bmc}", get(show))
}
