//! One console among its readers: what comes from the node goes to all, what one writer types goes to the node.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::Xname;
use ipmi::SolWriter;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::config::Config;

/// What a reader who comes later is shown of the past.
const REPLAY_BYTES: usize = 16 << 10;
/// Packets that wait for a slow reader; what it misses it is told.
const READER_QUEUE: usize = 512;
/// Readers of one console: more than an office has screens.
const READERS_MAX: usize = 64;
/// How long readers may take to hear that the service stops.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// All consoles.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) pattern: String,
    /// The attachments under way.
    pub(crate) attachments: TaskTracker,
    consoles: Mutex<HashMap<Xname, Arc<Console>>>,
}

/// One console.
pub(crate) struct Console {
    pub(crate) node: Xname,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    replay: VecDeque<u8>,
    /// There while someone reads: its queue alone is larger than all else of a console.
    output: Option<broadcast::Sender<Bytes>>,
    readers: usize,
    line: Option<SolWriter>,
    /// The reader who may type.
    writer: Option<u64>,
    last_reader: u64,
    trouble: Option<String>,
    /// Its node has no console any more.
    gone: bool,
}

/// What is known of a console, for lists.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) node: Xname,
    pub(crate) connected: bool,
    pub(crate) readers: usize,
    pub(crate) written: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

/// A reader's place at a console, free again when dropped.
pub(crate) struct Reader {
    id: u64,
    interactive: bool,
    console: Arc<Console>,
}

/// A reader's place, what it missed, and what comes.
pub(crate) type Attached = (Reader, Bytes, broadcast::Receiver<Bytes>);

impl Hub {
    pub(crate) fn new(config: Config, pattern: String) -> Self {
        Self { config, pattern, attachments: TaskTracker::new(), consoles: Mutex::default() }
    }

    /// The console of a node that gets a line now.
    pub(crate) fn add(&self, node: &Xname) -> Arc<Console> {
        let made = || Arc::new(Console { node: node.clone(), shared: Mutex::default() });
        Arc::clone(self.consoles().entry(node.clone()).or_insert_with(made))
    }

    pub(crate) fn find(&self, node: &Xname) -> Option<Arc<Console>> {
        self.consoles().get(node).cloned()
    }

    /// Forgets a console; its readers see its end.
    pub(crate) fn remove(&self, node: &Xname) {
        if let Some(console) = self.consoles().remove(node) {
            console.end();
        }
    }

    /// Ends all consoles and waits until their readers were told.
    pub(crate) async fn close(&self) {
        for (_, console) in self.consoles().drain() {
            console.end();
        }
        self.attachments.close();
        if tokio::time::timeout(CLOSE_MAX, self.attachments.wait()).await.is_err() {
            tracing::debug!("some readers did not hear of the end");
        }
    }

    /// Every console, by xname.
    pub(crate) fn list(&self) -> Vec<Status> {
        let mut list: Vec<Status> = self.consoles().values().map(|it| it.status()).collect();
        list.sort_by(|a, b| a.node.cmp(&b.node));
        list
    }

    fn consoles(&self) -> MutexGuard<'_, HashMap<Xname, Arc<Console>>> {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let shared = self.shared();
        Status {
            node: self.node.clone(),
            connected: shared.line.is_some(),
            readers: shared.readers,
            written: shared.writer.is_some(),
            trouble: shared.trouble.clone(),
        }
    }

    /// The line is up.
    pub(crate) fn connect(&self, line: SolWriter) {
        let mut shared = self.shared();
        shared.line = Some(line);
        shared.trouble = None;
    }

    /// The line is down.
    pub(crate) fn disconnect(&self, trouble: &str) {
        let mut shared = self.shared();
        shared.line = None;
        shared.trouble = Some(trouble.to_owned());
    }

    /// What came from the node, or what this service has to say.
    pub(crate) fn publish(&self, data: Vec<u8>) {
        let mut shared = self.shared();
        shared.replay.extend(&data);
        let over = shared.replay.len().saturating_sub(REPLAY_BYTES);
        shared.replay.drain(..over);
        // Sent under the lock, so that a reader who comes now has each byte in its replay or its queue, once.
        if let Some(output) = &shared.output {
            output.send(data.into()).ok(); // An error means that the last reader is leaving.
        }
    }

    /// Joins as a reader; an interactive one types if nobody else does, or `force`. None: there are too many.
    pub(crate) fn attach(self: &Arc<Self>, interactive: bool, force: bool) -> Option<Attached> {
        let mut shared = self.shared();
        if shared.readers >= READERS_MAX || shared.gone {
            return None;
        }
        shared.readers += 1;
        shared.last_reader += 1;
        let id = shared.last_reader;
        if interactive && (force || shared.writer.is_none()) {
            shared.writer = Some(id);
        }
        let output = shared.output.get_or_insert_with(|| broadcast::Sender::new(READER_QUEUE)).subscribe();
        let replay = shared.replay.iter().copied().collect();
        Some((Reader { id, interactive, console: Arc::clone(self) }, replay, output))
    }

    fn end(&self) {
        let mut shared = self.shared();
        shared.gone = true;
        shared.line = None;
        shared.output = None;
    }
}

impl Reader {
    /// Whether this reader wants to type, and somebody else does.
    pub(crate) fn is_refused(&self) -> bool {
        self.interactive && self.console.shared().writer != Some(self.id)
    }

    /// Where this reader may type; an interactive one gets the keyboard when it is free.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(crate) fn line(&self) -> Result<SolWriter, &'static str> {
        let mut shared = self.console.shared();
        if !self.interactive {
            return Err("you only read");
        }
        if *shared.writer.get_or_insert(self.id) != self.id {
            return Err("someone else types here; attach with force to take the keyboard");
        }
        shared.line.clone().ok_or("the console is lost; it is being opened again")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut shared = self.console.shared();
        shared.readers -= 1;
        if shared.readers == 0 {
            shared.output = None;
        }
        if shared.writer == Some(self.id) {
            shared.writer = None;
        }
    }
}
