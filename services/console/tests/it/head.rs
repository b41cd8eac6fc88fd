//! A head with console in this process, beside an inventory that answers for accounts and tells of changes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use console::client::ConsoleStatus;
use daemon::{Address, Context, Paths, Store};
use domain::{Document, Service};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use web::Client;

use super::simulator::{PASSWORD, Simulator, USER};

/// Far longer than anything here takes: only a hang meets it.
const LIMIT: Duration = Duration::from_secs(60);
/// How much the simulator's buffer holds at least; what comes on top it drops, as a serial port does.
const GROUP_BYTES: usize = 500;

/// The inventory's side.
struct Inventory {
    accounts: Mutex<HashMap<String, String>>,
    asked: Mutex<HashMap<String, usize>>,
    seq: AtomicI64,
    feed: broadcast::Sender<String>,
}

/// A folder, an inventory, and a service that may be started again; all goes when dropped.
pub(crate) struct Head {
    pub(crate) socket: PathBuf,
    /// Where conman's clients come.
    pub(crate) conman: SocketAddr,
    /// What outlives the service; none: nothing does.
    store: Option<Arc<Store>>,
    folder: tempfile::TempDir,
    inventory: Arc<Inventory>,
    running: Option<(CancellationToken, JoinHandle<anyhow::Result<()>>)>,
    _serving: JoinSet<()>,
}

/// The rows of node N of chassis 0 and of its BMC `x0c0sNb0`.
pub(crate) fn node(number: u16, bmc: &Simulator) -> Vec<Value> {
    vec![component(number, None), endpoint(number, bmc.port, 1)]
}

pub(crate) fn component(number: u16, name: Option<&str>) -> Value {
    let id = format!("x0c0s{number}b0n0");
    json!({"kind": "component", "id": id, "row": {"id": id, "nid": number, "name": name}})
}

pub(crate) fn endpoint(number: u16, port: u16, credential_version: u32) -> Value {
    let id = format!("x0c0s{number}b0");
    let row = json!({"id": id, "address": "127.0.0.1", "port": port, "nodes": [format!("{id}n0")],
        "credential_version": credential_version});
    json!({"kind": "endpoint", "id": id, "row": row})
}

impl Head {
    /// Starts on a last good copy with these rows; `table` is added to `[console]`.
    pub(crate) async fn start(rows: Vec<Value>, table: &str) -> Self {
        Self::start_with(rows, table, None).await
    }

    /// The same, with what outlives the service.
    pub(crate) async fn start_with(rows: Vec<Value>, table: &str, store: Option<Arc<Store>>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), rows, table, store).await
    }

    /// The same in a folder that has something already.
    pub(crate) async fn start_in(
        folder: tempfile::TempDir,
        rows: Vec<Value>,
        table: &str,
        store: Option<Arc<Store>>,
    ) -> Self {
        let at = |name: &str| folder.path().join(name);
        for name in ["run", "state"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let header = json!({"epoch": uuid::Uuid::new_v4(), "seq": 1, "schema": 1});
        let mark = json!({"seq": 1});
        let lines = std::iter::once(header).chain(rows).chain([mark]).map(|it| format!("{it}\n"));
        std::fs::write(at("state/inventory.ndjson"), lines.collect::<String>()).unwrap();
        let (feed, _) = broadcast::channel(16);
        let (accounts, asked, seq) = (Mutex::default(), Mutex::default(), AtomicI64::new(1));
        let inventory = Arc::new(Inventory { accounts, asked, seq, feed });
        let router = routes(Arc::clone(&inventory));
        let listener = UnixListener::bind(at("run/inventory.sock")).unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let socket = at("run/console.sock");
        // Free now; whoever takes it in between makes the test fail with a clear error.
        let conman = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut head = Self { socket, conman, store, folder, inventory, running: None, _serving: serving };
        for number in 0..10 {
            head.set_account(number, PASSWORD);
        }
        head.start_again(table).await;
        head
    }

    /// One node with this BMC, and its console is open.
    pub(crate) async fn with_node(bmc: &Simulator) -> Self {
        let head = Self::start(node(1, bmc), "").await;
        head.until_logged("console open", 1).await;
        head
    }

    pub(crate) async fn start_again(&mut self, table: &str) {
        let at = |name: &str| self.folder.path().join(name);
        let dead_after = if table.contains("dead_after") { "" } else { "dead_after = \"3s\"\n" };
        let document = format!(
            "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"cluster.test\"\n\
             [console]\nlog_dir = {:?}\n{dead_after}{table}",
            at("log")
        );
        let document = Document::parse(&document).unwrap();
        console::check(&document).unwrap();
        let credentials = Some(at("credentials")).filter(|it| it.exists());
        let paths = Paths { config: at("none"), run: at("run"), state: at("state"), credentials };
        let stop = CancellationToken::new();
        let listen = vec![
            ("http".to_owned(), Address::Unix(self.socket.clone())),
            ("conman".to_owned(), Address::Tcp(self.conman)),
        ];
        let context = Context::new(Service::Console, paths, document, listen, stop.clone()).unwrap();
        let context = match &self.store {
            Some(store) => context.with_store(Arc::clone(store)).unwrap(),
            None => context,
        };
        self.running = Some((stop, tokio::spawn(console::serve(context))));
        let client = Client::unix(&self.socket);
        until(async || client.get::<Value>("/readyz").await.unwrap()["inventory"] == "live").await;
    }

    pub(crate) async fn stop(&mut self) {
        let (stop, served) = self.running.take().unwrap();
        stop.cancel();
        limited(served).await.unwrap().unwrap();
    }

    /// It dies without a chance to say so.
    pub(crate) async fn kill(&mut self) {
        let (_, served) = self.running.take().unwrap();
        served.abort();
        assert!(served.await.unwrap_err().is_cancelled());
    }

    pub(crate) fn set_account(&self, number: u16, password: &str) {
        self.inventory.accounts.lock().unwrap().insert(format!("x0c0s{number}b0"), password.to_owned());
    }

    /// How often the account of this node's BMC was asked for.
    pub(crate) fn asked(&self, number: u16) -> usize {
        self.inventory.asked.lock().unwrap().get(&format!("x0c0s{number}b0")).copied().unwrap_or(0)
    }

    /// Tells of a change as the inventory's feed does.
    pub(crate) fn tell(&self, mut row: Value) {
        let seq = self.inventory.seq.fetch_add(1, SeqCst) + 1;
        row["seq"] = json!(seq);
        self.inventory.feed.send(format!("{row}\n{{\"seq\":{seq}}}\n")).unwrap();
    }

    /// The first console of the list.
    pub(crate) async fn status(&self) -> Option<ConsoleStatus> {
        let listed = console::client::list(&Client::unix(&self.socket)).await.unwrap();
        listed.into_iter().next()
    }

    /// Waits until the one console is lost for a reason with these words.
    pub(crate) async fn until_lost(&self, words: &str) {
        until(async || {
            let status = self.status().await.unwrap();
            !status.connected && status.trouble.is_some_and(|it| it.contains(words))
        })
        .await;
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join("log").join(format!("console.{name}"))
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    /// All of a log: what was put aside, the oldest first, and the rest.
    pub(crate) fn whole_log(&self, name: &str) -> String {
        let begin = format!("console.{name}-");
        let entries = std::fs::read_dir(self.folder.path().join("log")).unwrap();
        let mut aside: Vec<PathBuf> = entries.map(|it| it.unwrap().path()).collect();
        aside.retain(|it| it.file_name().unwrap().to_string_lossy().starts_with(&begin));
        aside.sort();
        let texts = aside.iter().map(|it| read_aside(it).unwrap_or_default());
        texts.collect::<String>() + &self.log(name)
    }

    /// Waits until nid001's log has these words so many times.
    pub(crate) async fn until_logged(&self, words: &str, times: usize) {
        let seen = until(async || self.log("nid001").matches(words).count() >= times);
        if tokio::time::timeout(LIMIT / 2, seen).await.is_err() {
            panic!("{words:?} is not there {times} times:\n{}", self.log("nid001"));
        }
    }

    /// The node counts these numbers in lines of at least this length, no faster than they are logged.
    pub(crate) async fn count(&self, bmc: &mut Simulator, numbers: std::ops::Range<u32>, length: usize) {
        let lines: Vec<String> =
            numbers.map(|it| format!("{:length$}\r\n", format!("count {it}."))).collect();
        for group in lines.chunks(GROUP_BYTES / lines[0].len()) {
            bmc.write(&group.concat()).await;
            let last = group.last().unwrap().trim_end();
            // The log may have been put aside behind it.
            until(async || self.whole_log("nid001").contains(last)).await;
        }
    }
}

/// A log that was put aside; it may be compressed at this moment, or be gone.
fn read_aside(path: &std::path::Path) -> std::io::Result<String> {
    let (file, mut text) = (std::fs::File::open(path)?, String::new());
    if path.extension().is_some_and(|it| it == "gz") {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
    } else {
        std::io::BufReader::new(file).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The numbers of a log, which must each be on a line with a time stamp.
pub(crate) fn numbers(log: &str) -> Vec<u32> {
    let lines = log.lines().filter(|it| it.contains("count "));
    let number = |line: &str| {
        let (stamp, rest) = line.split_at(20);
        let digits = stamp.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect::<String>();
        assert_eq!(digits, "0000-00-00 00:00:00 ", "{line}");
        let number = rest.trim_end().strip_prefix("count ").and_then(|it| it.strip_suffix('.'));
        number.unwrap_or_else(|| panic!("{line}")).parse().unwrap()
    };
    lines.map(number).collect()
}

/// The lines of a log that the service wrote itself, without stamps.
pub(crate) fn marks(log: &str) -> Vec<String> {
    let marks = log.lines().filter_map(|it| it.split_once(" <Pilothouse> "));
    marks.map(|(_, mark)| mark.to_owned()).collect()
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

fn routes(inventory: Arc<Inventory>) -> Router {
    let show = async |State(inventory): State<Arc<Inventory>>, Path(bmc): Path<String>| {
        *inventory.asked.lock().unwrap().entry(bmc.clone()).or_default() += 1;
        match inventory.accounts.lock().unwrap().get(&bmc) {
            Some(password) => Ok(axum::Json(json!({"user": USER, "password": password}))),
            None => Err(StatusCode::NOT_FOUND),
        }
    };
    let changes = async |State(inventory): State<Arc<Inventory>>| {
        let first = format!("{{\"seq\":{}}}\n", inventory.seq.load(SeqCst));
        let lines = (Some(first), inventory.feed.subscribe());
        let lines = futures_util::stream::unfold(lines, async |(first, mut lines)| {
            let line = match first {
                Some(line) => line,
                None => lines.recv().await.ok()?,
            };
            Some((Ok::<_, Infallible>(line), (None, lines)))
        });
        Body::from_stream(lines)
    };
    Router::new()
        .route("/pilothouse/v1/bmcs/{bmc}/credential", get(show))
        .route("/changes", get(changes))
        .with_state(inventory)
}
