//! One console among its readers: what comes from the node goes to all, what one writer types goes to the node.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use domain::Xname;
use ipmi::SolWriter;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::config::Config;

/// What a reader who comes later is shown of the past.
const REPLAY_BYTES: usize = 16 << 10;
/// Packets that wait for a slow reader; what it misses it is told.
const READER_QUEUE: usize = 512;

/// All consoles.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) pattern: String,
    consoles: Mutex<HashMap<Xname, Arc<Console>>>,
}

/// One console.
pub(crate) struct Console {
    pub(crate) node: Xname,
    output: broadcast::Sender<Bytes>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    replay: VecDeque<u8>,
    line: Option<SolWriter>,
    /// The reader who may type.
    writer: Option<u64>,
    readers: u64,
    trouble: Option<String>,
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

/// A reader's end.
pub(crate) struct Reader {
    id: u64,
    console: Arc<Console>,
    pub(crate) replay: Bytes,
    pub(crate) output: broadcast::Receiver<Bytes>,
}

impl Hub {
    pub(crate) fn new(config: Config, pattern: String) -> Self {
        Self { config, pattern, consoles: Mutex::default() }
    }

    /// The console of a node, made when it is first asked for.
    pub(crate) fn console(&self, node: &Xname) -> Arc<Console> {
        let mut consoles = self.consoles.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let (output, _) = broadcast::channel(READER_QUEUE);
            Arc::new(Console { node: node.clone(), output, shared: Mutex::default() })
        };
        Arc::clone(consoles.entry(node.clone()).or_insert_with(made))
    }

    /// Forgets a console; its readers see its end.
    pub(crate) fn remove(&self, node: &Xname) {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    /// Every console, by xname.
    pub(crate) fn list(&self) -> Vec<Status> {
        let consoles = self.consoles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Status> = consoles.values().map(|it| it.status()).collect();
        list.sort_by(|a, b| a.node.cmp(&b.node));
        list
    }
}

impl Console {
    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let shared = self.shared();
        Status {
            node: self.node.clone(),
            connected: shared.line.is_some(),
            readers: self.output.receiver_count(),
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

    /// What came from the node.
    pub(crate) fn publish(&self, data: &[u8]) {
        let mut shared = self.shared();
        shared.replay.extend(data);
        let over = shared.replay.len().saturating_sub(REPLAY_BYTES);
        shared.replay.drain(..over);
        // Sent under the lock, so that a reader who comes now has each byte in its replay or its queue, once.
        // An error means that nobody reads.
        self.output.send(Bytes::copy_from_slice(data)).ok();
    }

    /// Joins as a reader; with `write` also as the writer, if there is none or `force`.
    pub(crate) fn attach(self: &Arc<Self>, write: bool, force: bool) -> (Reader, bool) {
        let mut shared = self.shared();
        shared.readers += 1;
        let id = shared.readers;
        let writes = write && (force || shared.writer.is_none());
        if writes {
            shared.writer = Some(id);
        }
        let replay = shared.replay.iter().copied().collect();
        (Reader { id, console: Arc::clone(self), replay, output: self.output.subscribe() }, writes)
    }
}

impl Reader {
    /// Where this reader may type, while it is the writer and the line is up.
    pub(crate) fn line(&self) -> Option<SolWriter> {
        let shared = self.console.shared();
        shared.line.clone().filter(|_| shared.writer == Some(self.id))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut shared = self.console.shared();
        if shared.writer == Some(self.id) {
            shared.writer = None;
        }
    }
}
