//! What a node's boot leaves behind: an entry of the journal, and a datagram for the timeline (INTERFACES 2). Both are
//! written by a thread of their own, so that whoever answers nodes waits for neither.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use domain::{BootStage, MacAddr, Service, StageResult, Xname};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A datagram is at most this long (INTERFACES 2).
const DATAGRAM_MAX: usize = 2048;
/// A detail is cut to so many bytes, so that the rest has room.
const DETAIL_MAX: usize = 600;
/// Events that wait for the thread; what is over it is dropped and counted.
const QUEUE_MAX: usize = 8192;
/// How long the timeline may leave its queue full before events are dropped at once.
const FULL_MAX: Duration = Duration::from_secs(2);
/// The thread takes what has gathered for so long: to wake it for each event costs more than to write it, and that
/// cost would be borne by whoever answers nodes.
const GATHERED: Duration = Duration::from_millis(5);

/// One stage of one boot. Made, filled, sent; nothing is waited for.
#[derive(Debug, Serialize)]
#[must_use = "an event counts once it is sent"]
pub struct BootEvent {
    v: u8,
    time: String,
    service: &'static str,
    stage: BootStage,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Xname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<MacAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    result: StageResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<&'static str, String>,
    detail: String,
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    /// There is something after there was nothing.
    filled: Condvar,
    /// All that was taken is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<BootEvent>,
    /// The thread is at work on some that it took.
    busy: bool,
}

static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

impl BootEvent {
    /// A stage that was reached now. `detail` is a sentence for a person.
    pub fn new(service: Service, stage: BootStage, detail: impl Into<String>) -> Self {
        let time = OffsetDateTime::now_utc();
        let micros = time.replace_nanosecond(time.nanosecond() / 1000 * 1000).unwrap_or(time);
        Self {
            v: 1,
            time: micros.format(&Rfc3339).unwrap_or_default(),
            service: service.name(),
            stage,
            node: None,
            mac: None,
            ip: None,
            result: StageResult::Ok,
            bytes: None,
            duration_ms: None,
            image: None,
            facts: BTreeMap::new(),
            detail: cut(detail.into()),
        }
    }

    /// The node, by its xname.
    pub fn node(mut self, node: Option<&Xname>) -> Self {
        self.node = node.cloned();
        self
    }

    /// The NIC.
    pub fn mac(mut self, mac: Option<MacAddr>) -> Self {
        self.mac = mac;
        self
    }

    /// The node's address.
    pub fn ip(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = Some(ip.into());
        self
    }

    /// What did not end well.
    pub fn result(mut self, result: StageResult) -> Self {
        self.result = result;
        self
    }

    /// How much was sent and how long it took.
    pub fn sent(mut self, bytes: u64, duration: Duration) -> Self {
        self.bytes = Some(bytes);
        self.duration_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The image or file.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.image = Some(image.into());
        self
    }

    /// Something that the timeline's rules look at: `why` of what failed (`http-404`, `cut-short`, `other-server` …),
    /// what the DHCP client said (`client`, `arch`, `secs`), where a script leads (`kernel`, `root`, `seed`).
    pub fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.insert(name, cut(value.to_string()));
        self
    }

    /// Has the entry written and the datagram sent.
    pub fn send(self) {
        match QUEUE.get() {
            // Not run by `daemon::run`, as in tests.
            None => self.note(),
            Some(queue) => queue.put(self),
        }
    }

    fn note(&self) {
        let field = |it: Option<String>| it.unwrap_or_default();
        let facts: Vec<String> = self.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        tracing::info!(
            message_id = self.stage.event().id,
            pilothouse_stage = self.stage.name(),
            pilothouse_result = self.result.name(),
            pilothouse_node = field(self.node.as_ref().map(ToString::to_string)),
            pilothouse_mac = field(self.mac.map(|it| it.to_string())),
            pilothouse_address = field(self.ip.map(|it| it.to_string())),
            pilothouse_image = self.image.as_deref().unwrap_or_default(),
            pilothouse_bytes = self.bytes.unwrap_or_default(),
            pilothouse_facts = facts.join(" "),
            "{}: {}",
            self.stage,
            self.detail
        );
    }

    /// Events that were not sent since the start: nobody took them, or they came too fast.
    #[must_use]
    pub fn dropped() -> u64 {
        DROPPED.load(Ordering::Relaxed)
    }
}

/// The text, or its beginning.
fn cut(mut text: String) -> String {
    if text.len() > DETAIL_MAX {
        let end = (0..=DETAIL_MAX).rev().find(|it| text.is_char_boundary(*it)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// The way to the timeline.
struct Line {
    socket: UnixDatagram,
    path: PathBuf,
    /// Whether the timeline's queue was full for long: it is not waited for until it takes something.
    stuck: bool,
}

impl Line {
    fn send(&mut self, event: &BootEvent) -> io::Result<()> {
        let datagram = serde_json::to_vec(event)?;
        if datagram.len() > DATAGRAM_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let sent = self.socket.send_to(&datagram, &self.path);
        let full = sent.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock);
        if full != self.stuck && (full || sent.is_ok()) {
            self.socket.set_nonblocking(full)?;
            self.stuck = full;
        }
        sent.map(drop)
    }

    fn run(mut self, queue: &Queue) {
        loop {
            queue.wait_filled();
            std::thread::sleep(GATHERED);
            for event in queue.take() {
                event.note();
                if self.send(&event).is_err() {
                    DROPPED.fetch_add(1, Ordering::Relaxed);
                }
            }
            queue.note_written();
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, event: BootEvent) {
        let mut state = self.state();
        if state.events.len() >= QUEUE_MAX {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.events.push(event);
        let first = state.events.len() == 1 && !state.busy;
        drop(state);
        if first {
            self.filled.notify_one();
        }
    }

    fn wait_filled(&self) {
        let none = |it: &mut Waiting| it.events.is_empty();
        drop(self.filled.wait_while(self.state(), none).unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> Vec<BootEvent> {
        let mut state = self.state();
        state.busy = true;
        std::mem::take(&mut state.events)
    }

    fn note_written(&self) {
        self.state().busy = false;
        self.written.notify_all();
    }
}

/// Starts the thread; before that events are journal entries alone.
pub(crate) fn start(run: &Path) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(FULL_MAX))?;
    let line = Line { socket, path: run.join("timeline-events.sock"), stuck: false };
    let queue = Arc::<Queue>::default();
    if QUEUE.set(Arc::clone(&queue)).is_err() {
        tracing::debug!("boot events were started already");
        return Ok(());
    }
    std::thread::Builder::new().name("boot-events".to_owned()).spawn(move || line.run(&queue))?;
    Ok(())
}

/// Waits until all events so far are written, but not for long.
pub(crate) fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let unwritten = |it: &mut Waiting| it.busy || !it.events.is_empty();
    let written = queue.written.wait_timeout_while(queue.state(), FULL_MAX, unwritten);
    if written.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
        tracing::info!("boot events are left behind at the end");
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use domain::{BootStage, Service, StageResult};

    use super::{BootEvent, DATAGRAM_MAX, Line};

    /// A line to a socket of the test's.
    fn line() -> (Line, UnixDatagram, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let there = UnixDatagram::bind(&path).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        (Line { socket, path, stuck: false }, there, folder)
    }

    fn event(detail: &str) -> BootEvent {
        BootEvent::new(Service::Boot, BootStage::Script, detail).fact("why", "http-404")
    }

    #[test]
    fn a_datagram_is_json_with_what_is_known_and_never_too_long() {
        let (mut line, there, _folder) = line();
        line.send(&event(&"ä".repeat(5000)).result(StageResult::Failed)).unwrap();
        let mut datagram = [0; 2 * DATAGRAM_MAX];
        let length = there.recv(&mut datagram).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&datagram[..length]).unwrap();
        assert_eq!(value["v"], 1);
        assert_eq!((&value["stage"], &value["result"]), (&"script".into(), &"failed".into()));
        assert_eq!(value["facts"]["why"], "http-404");
        assert!(value.get("node").is_none() && length <= DATAGRAM_MAX);
    }

    #[test]
    fn a_timeline_that_takes_nothing_is_not_waited_for_twice() {
        let (mut line, there, _folder) = line();
        // The kernel's queue is finite, and the last one has waited.
        while line.send(&event("one more")).is_ok() {}
        assert!(line.stuck);
        line.send(&event("and another")).unwrap_err();
        there.set_nonblocking(true).unwrap();
        while there.recv(&mut [0; DATAGRAM_MAX]).is_ok() {}
        line.send(&event("it reads again")).unwrap();
        assert!(!line.stuck);
    }
}
