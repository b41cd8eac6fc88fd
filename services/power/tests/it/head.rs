//! A head with power in this process, beside an inventory that answers for accounts and tells of changes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use daemon::{Address, Context, Paths};
use domain::{Document, Service};
use power::client::{Outcome, Request};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use web::Client;

use super::simulator::{PASSWORD, USER};

/// Far longer than anything here takes: only a hang meets it.
const LIMIT: Duration = Duration::from_secs(60);

/// The accounts the inventory knows, and how often it was asked for each.
#[derive(Default)]
struct Accounts {
    known: Mutex<HashMap<String, (String, String)>>,
    asked: Mutex<HashMap<String, usize>>,
    read_only: Mutex<bool>,
}

/// A running service; it goes when dropped.
pub(crate) struct Head {
    pub(crate) socket: PathBuf,
    /// Where powerman's clients are taken.
    pub(crate) powerman: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<anyhow::Result<()>>,
    pub(crate) folder: tempfile::TempDir,
    accounts: Arc<Accounts>,
    feed: broadcast::Sender<String>,
    _inventory: JoinSet<()>,
}

/// The rows of node N of chassis 0 and of its BMC at this port of the loopback, `x0c0sNb0`.
pub(crate) fn node(number: u16, port: u16) -> Vec<Value> {
    vec![component(number), endpoint(number, port, 1)]
}

pub(crate) fn component(number: u16) -> Value {
    let id = format!("x0c0s{number}b0n0");
    json!({"kind": "component", "id": id, "row": {"id": id, "nid": number}})
}

pub(crate) fn endpoint(number: u16, port: u16, credential_version: u32) -> Value {
    let id = format!("x0c0s{number}b0");
    let row = json!({"id": id, "address": "127.0.0.1", "port": port, "nodes": [format!("{id}n0")],
        "credential_version": credential_version});
    json!({"kind": "endpoint", "id": id, "row": row})
}

/// The rows of node N and of its BMC, which speaks Redfish at this port of the loopback.
pub(crate) fn redfish(number: u16, port: u16) -> Vec<Value> {
    let mut rows = node(number, port);
    rows[1]["row"]["protocol"] = json!("redfish");
    rows
}

impl Head {
    /// Starts on a last good copy with these rows; `table` is added to the document.
    pub(crate) async fn start(rows: Vec<Value>, table: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["run", "state"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let header = json!({"epoch": uuid::Uuid::new_v4(), "seq": 1, "schema": 1});
        let mark = json!({"seq": 1});
        let lines = std::iter::once(header).chain(rows).chain([mark]).map(|it| format!("{it}\n"));
        std::fs::write(at("state/inventory.ndjson"), lines.collect::<String>()).unwrap();
        let accounts = Arc::new(Accounts::default());
        let (feed, _) = broadcast::channel(16);
        let router = inventory(Arc::clone(&accounts), feed.clone());
        let listener = UnixListener::bind(at("run/inventory.sock")).unwrap();
        let mut inventory = JoinSet::new();
        inventory.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let document = format!("version = 1\n[cluster]\nname = \"demo\"\ndomain = \"cluster.test\"\n{table}");
        let document = Document::parse(&document).unwrap();
        power::check(&document).unwrap();
        let paths = Paths { config: at("none"), run: at("run"), state: at("state"), credentials: None };
        let (socket, stop) = (at("run/power.sock"), CancellationToken::new());
        // Free now; whoever takes it in between makes the test fail with a clear error.
        let powerman = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = vec![
            ("http".to_owned(), Address::Unix(socket.clone())),
            ("powerman".to_owned(), Address::Tcp(powerman)),
        ];
        let context = Context::new(Service::Power, paths, document, listen, stop.clone()).unwrap();
        let served = tokio::spawn(power::serve(context));
        let head = Self { socket, powerman, stop, served, folder, accounts, feed, _inventory: inventory };
        head.until_live().await;
        head
    }

    /// The same, and the inventory knows the account of these nodes' BMCs.
    pub(crate) async fn with_accounts(rows: Vec<Value>, table: &str, numbers: &[u16]) -> Self {
        let head = Self::start(rows, table).await;
        for number in numbers {
            head.set_account(*number, PASSWORD);
        }
        head
    }

    async fn until_live(&self) {
        let client = Client::unix(&self.socket);
        until(async || client.get::<Value>("/readyz").await.unwrap()["inventory"] == "live").await;
    }

    pub(crate) fn set_account(&self, number: u16, password: &str) {
        let account = (USER.to_owned(), password.to_owned());
        self.accounts.known.lock().unwrap().insert(format!("x0c0s{number}b0"), account);
    }

    /// The same by the BMC's name.
    pub(crate) fn set_account_of(&self, bmc: &str) {
        let account = (USER.to_owned(), PASSWORD.to_owned());
        self.accounts.known.lock().unwrap().insert(bmc.to_owned(), account);
    }

    /// The account that the inventory has for this node's BMC.
    pub(crate) fn account(&self, number: u16) -> (String, String) {
        self.accounts.known.lock().unwrap()[&format!("x0c0s{number}b0")].clone()
    }

    /// Has the inventory store nothing more.
    pub(crate) fn refuse_writes(&self) {
        *self.accounts.read_only.lock().unwrap() = true;
    }

    /// The health issues of the service.
    pub(crate) fn issues(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("run/power/issues.json")).unwrap_or_default()
    }

    /// How often the account of this node's BMC was asked for.
    pub(crate) fn asked(&self, number: u16) -> usize {
        self.accounts.asked.lock().unwrap().get(&format!("x0c0s{number}b0")).copied().unwrap_or(0)
    }

    /// Tells of a change as the inventory's feed does, and waits until it was taken.
    pub(crate) async fn tell(&self, mut row: Value) {
        row["seq"] = json!(2);
        self.feed.send(format!("{row}\n{{\"seq\":2}}\n")).unwrap();
        let path = self.folder.path().join("state/inventory.ndjson");
        until(async || std::fs::read_to_string(&path).unwrap().ends_with("{\"seq\":2}\n")).await;
    }

    /// What becomes of a request.
    pub(crate) async fn ask(&self, request: Value) -> Vec<Outcome> {
        let request: Request = serde_json::from_value(request).unwrap();
        let client = Client::unix(&self.socket);
        let outcomes = limited(power::client::power(&client, &request)).await.unwrap();
        let named: Vec<&String> = outcomes.iter().map(|it| &it.node).collect();
        assert_eq!(named, request.nodes.iter().collect::<Vec<_>>(), "in the order of the request");
        let text = format!("{outcomes:?}");
        assert!(!text.contains(PASSWORD), "{text}");
        outcomes
    }

    /// Asks one thing of one node, which must go well; gives its state in words.
    pub(crate) async fn done(&self, node: &str, action: Option<&str>) -> &'static str {
        let outcomes = self.ask(json!({"nodes": [node], "action": action})).await;
        assert!(outcomes[0].ok && outcomes[0].error.is_none(), "{outcomes:?}");
        outcomes[0].state.unwrap().name()
    }

    /// Asks one thing of one node, which must fail; gives the reason.
    pub(crate) async fn refused(&self, node: &str, action: Option<&str>) -> String {
        let mut outcomes = self.ask(json!({"nodes": [node], "action": action})).await;
        assert!(!outcomes[0].ok, "{outcomes:?}");
        outcomes.remove(0).error.unwrap()
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

/// Looks again and again until something is so.
pub(crate) async fn until(is_so: impl AsyncFn() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    limited(async {
        while !is_so().await {
            look.tick().await;
        }
    })
    .await;
}

fn inventory(accounts: Arc<Accounts>, feed: broadcast::Sender<String>) -> Router {
    let show = async |State(accounts): State<Arc<Accounts>>, Path(bmc): Path<String>| {
        *accounts.asked.lock().unwrap().entry(bmc.clone()).or_default() += 1;
        match accounts.known.lock().unwrap().get(&bmc) {
            Some((user, password)) => Ok(axum::Json(json!({"user": user, "password": password}))),
            None => Err(StatusCode::NOT_FOUND),
        }
    };
    let replace =
        async |State(accounts): State<Arc<Accounts>>, Path(bmc): Path<String>, body: axum::Json<Value>| {
            let [user, password] = ["user", "password"].map(|it| body[it].as_str().unwrap().to_owned());
            if *accounts.read_only.lock().unwrap() {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            accounts.known.lock().unwrap().insert(bmc, (user, password));
            StatusCode::NO_CONTENT
        };
    let changes = async move || {
        let first = "{\"seq\":1}\n".to_owned();
        let lines =
            futures_util::stream::unfold((Some(first), feed.subscribe()), async |(first, mut lines)| {
                let line = match first {
                    Some(line) => line,
                    None => lines.recv().await.ok()?,
                };
                Some((Ok::<_, Infallible>(line), (None, lines)))
            });
        Body::from_stream(lines)
    };
    Router::new()
        .route("/pilothouse/v1/bmcs/{bmc}/credential", get(show).put(replace))
        .route("/changes", get(changes))
        .with_state(accounts)
}
