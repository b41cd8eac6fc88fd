//! Boot events as the timeline will get them (INTERFACES 2): datagrams on a socket beside the services' own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use domain::BootStage;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A stage of a node's boot.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Which.
    pub stage: BootStage,
    /// Who says so.
    pub service: String,
    /// The node's xname, if it is known.
    #[serde(default)]
    pub node: Option<String>,
    /// Its NIC.
    #[serde(default)]
    pub mac: Option<String>,
    /// Its address.
    #[serde(default)]
    pub ip: Option<String>,
    /// `ok`, `failed` or `timeout`.
    pub result: String,
    /// How much was sent.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// A sentence.
    pub detail: String,
    /// When it came.
    #[serde(skip, default = "Instant::now")]
    pub at: Instant,
}

/// All events so far. Clones share them.
#[derive(Clone, Debug)]
pub struct Events {
    all: Arc<Mutex<Vec<Event>>>,
    count: watch::Receiver<usize>,
    // Aborted when the last clone is dropped.
    _collecting: Arc<JoinSet<()>>,
}

struct Keep {
    all: Arc<Mutex<Vec<Event>>>,
    count: watch::Sender<usize>,
}

impl Keep {
    fn push(&self, event: Event) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(event);
        self.count.send_replace(all.len());
    }
}

impl Event {
    /// The event of a journal entry, if it is one.
    fn of_entry(line: &str) -> Option<Self> {
        let entry: Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| entry[name].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
        let stage = serde_json::from_value(Value::String(field("PILOTHOUSE_STAGE")?)).ok()?;
        let micros = field("__REALTIME_TIMESTAMP")?.parse().ok()?;
        let age =
            SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_micros(micros)).unwrap_or_default();
        Some(Self {
            stage,
            service: field("_SYSTEMD_UNIT").unwrap_or_default(),
            node: field("PILOTHOUSE_NODE"),
            mac: field("PILOTHOUSE_MAC"),
            ip: field("PILOTHOUSE_ADDRESS"),
            result: "ok".to_owned(),
            bytes: field("PILOTHOUSE_BYTES").and_then(|it| it.parse().ok()),
            detail: field("MESSAGE").unwrap_or_default(),
            at: Instant::now().checked_sub(age)?,
        })
    }
}

impl Events {
    pub(super) fn collect(socket: &Path) -> anyhow::Result<Self> {
        let receiver =
            UnixDatagram::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self::new(async move |keep| {
            let mut datagram = vec![0; 4096];
            while let Ok(length) = receiver.recv(&mut datagram).await {
                match serde_json::from_slice(&datagram[..length]) {
                    Ok(event) => keep.push(event),
                    Err(error) => eprintln!("a boot event that makes no sense: {error}"),
                }
            }
        }))
    }

    /// Follows a command that prints a journal as JSON lines (systemd.journal-fields(7)); it ends with the events.
    pub(crate) fn follow(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut journal = command.spawn().context("follow the journal")?;
        let output = journal.stdout.take().context("read the journal")?;
        Ok(Self::new(async move |keep| {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(event) = Event::of_entry(&line) {
                    keep.push(event);
                }
            }
            drop(journal);
        }))
    }

    fn new<F: Future<Output = ()> + Send + 'static>(collect: impl FnOnce(Keep) -> F) -> Self {
        let all: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (sender, count) = watch::channel(0);
        let mut collecting = JoinSet::new();
        collecting.spawn(collect(Keep { all: Arc::clone(&all), count: sender }));
        Self { all, count, _collecting: Arc::new(collecting) }
    }

    /// All so far, in the order they came.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first event that fits; those that came before count too.
    ///
    /// # Errors
    ///
    /// When the time is over, with the events that came.
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<Event> {
        let mut count = self.count.clone();
        let found = async {
            loop {
                count.borrow_and_update();
                if let Some(event) = self.all().into_iter().find(&fits) {
                    return Ok(event);
                }
                count.changed().await.context("no more events come")?;
            }
        };
        match tokio::time::timeout(limit, found).await {
            Ok(found) => found,
            Err(_) => bail!("no event {what} within {limit:?}; there were\n{}", self.shown()),
        }
    }

    fn shown(&self) -> String {
        let line = |it: &Event| {
            let node = it.node.as_deref().or(it.mac.as_deref()).unwrap_or("?");
            format!("    {} {node} {} {}: {}\n", it.service, it.stage, it.result, it.detail)
        };
        self.all().iter().map(line).collect()
    }
}
