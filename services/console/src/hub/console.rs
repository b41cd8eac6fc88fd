//! One console: its log, its line, and who is at it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::Xname;
use power::client::{Action, Request};
use time::OffsetDateTime;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::seat::{NOTICES_MAX, short_time};
use super::{Hub, Mode, Notice, Seat, Status, Told, Who, Wish};
use crate::line::{Port, Writer};
use crate::log::Log;

/// Packets that wait for a slow reader; what it misses it is told.
const READER_QUEUE: usize = 512;
/// Seats at one console: more than an office has screens.
const SEATS_MAX: usize = 64;

/// One console.
pub(crate) struct Console {
    pub(crate) node: Xname,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    name: String,
    port: Option<Arc<Port>>,
    log: Option<Arc<Log>>,
    /// There while someone reads: its queue alone is larger than all else of a console.
    output: Option<broadcast::Sender<Bytes>>,
    seats: Vec<Seat>,
    last_seat: u64,
    line: Option<Writer>,
    trouble: Option<Arc<str>>,
    resetting: bool,
    /// Its node has no console any more.
    gone: bool,
}

/// A place at a console, free again when dropped.
pub(crate) struct Place {
    id: u64,
    /// Gets the keyboard when it is free.
    waits: bool,
    console: Arc<Console>,
}

/// A place, what was missed, what comes, and what is told beside it.
pub(crate) struct Attached {
    pub(crate) place: Place,
    pub(crate) replay: Vec<u8>,
    pub(crate) output: broadcast::Receiver<Bytes>,
    pub(crate) told: mpsc::Receiver<Told>,
}

impl Console {
    pub(super) fn new(node: Xname) -> Self {
        Self { node, shared: Mutex::default() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has a line from now on: of this name, by this port, to this log.
    pub(crate) fn begin(&self, name: &str, port: Arc<Port>, log: Arc<Log>) {
        let mut shared = self.shared();
        name.clone_into(&mut shared.name);
        (shared.port, shared.log) = (Some(port), Some(log));
    }

    pub(super) fn status(&self) -> Status {
        let shared = self.shared();
        let (connection_type, connection_host, connection_port) =
            shared.port.as_ref().map_or(("", String::new(), 0), |it| it.shown_by_parts());
        Status {
            id: self.node.clone(),
            connection_type,
            connection_host,
            connection_port,
            console_entry_command: shared
                .port
                .as_ref()
                .and_then(|it| it.entry())
                .unwrap_or_default()
                .to_owned(),
            node: self.node.clone(),
            name: shared.name.clone(),
            connected: shared.line.is_some(),
            readers: shared.seats.len(),
            written: shared.writers().next().is_some(),
            trouble: shared.trouble.as_deref().map(str::to_owned),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.shared().name.clone()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.shared().line.is_some()
    }

    /// The line is up.
    pub(crate) fn connect(&self, line: Writer) {
        let mut shared = self.shared();
        shared.line = Some(line);
        shared.trouble = None;
    }

    /// The line is down.
    pub(crate) fn disconnect(&self, trouble: impl Into<Arc<str>>) {
        let mut shared = self.shared();
        shared.line = None;
        shared.trouble = Some(trouble.into());
    }

    /// What came from the node, as the log has it and as it came; whether the log has [room](Self::room) for more.
    pub(crate) fn publish(&self, text: &[u8], raw: Vec<u8>) -> bool {
        let shared = self.shared();
        // Under one lock, so that a reader who comes now has each byte in its replay or its queue, once.
        if let Some(log) = &shared.log {
            log.append(text, &raw);
        }
        if let Some(output) = &shared.output {
            output.send(raw.into()).ok(); // An error means that the last reader is leaving.
        }
        shared.log.as_ref().is_none_or(|it| !it.is_full())
    }

    /// Waits until the disk has caught up with the log.
    pub(crate) async fn room(&self) {
        let log = self.shared().log.clone();
        if let Some(log) = log {
            log.room().await;
        }
    }

    /// A line of our own for the log.
    pub(crate) fn note(&self, text: &str) {
        if let Some(log) = &self.shared().log {
            log.append(text.as_bytes(), &[]);
        }
    }

    /// Tells everybody.
    pub(crate) fn notify(&self, notice: &Notice) {
        self.shared().notify(notice, &[]);
    }

    /// That the line is up, in conman's words.
    pub(crate) fn connected_to(&self) -> String {
        let shared = self.shared();
        format!("Console [{}] connected to {}", shared.name, shared.shown())
    }

    /// That the line is lost, in conman's words.
    pub(crate) fn disconnected_from(&self) -> String {
        let shared = self.shared();
        format!("Console [{}] disconnected from {}", shared.name, shared.shown())
    }

    /// What conman tells whoever comes to a console without a line.
    pub(crate) fn unconnected(&self) -> Option<String> {
        let shared = self.shared();
        let (name, shown) = (&shared.name, shared.shown());
        shared.line.is_none().then(|| format!("Console [{name}] is currently disconnected from {shown}"))
    }

    /// Who writes here, as conman tells it.
    pub(crate) fn shown_writers(&self, now: Instant) -> Vec<String> {
        let shared = self.shared();
        shared.writers().map(|it| it.shown(&shared.name, now)).collect()
    }

    /// Joins, with so many bytes of the past at most: reading them waits for the disk. None: there are too
    /// many.
    pub(crate) fn attach(self: &Arc<Self>, who: Who, wish: Wish, past: usize) -> Option<Attached> {
        let log = self.shared().log.clone().filter(|_| past > 0);
        let held = log.as_ref().map(|it| it.hold());
        let (told, tells) = mpsc::channel(NOTICES_MAX);
        let mut shared = self.shared();
        let id = shared.seat(who, wish, Mode::Write, told)?;
        let output = shared.output.get_or_insert_with(|| broadcast::Sender::new(READER_QUEUE)).subscribe();
        let waiting = log.as_ref().map(|it| it.waiting_raw()).unwrap_or_default();
        drop(shared);
        let before = held.map(|it| it.last_raw(past.saturating_sub(waiting.len()))).unwrap_or_default();
        let place = Place { id, waits: wish != Wish::Read, console: Arc::clone(self) };
        Some(Attached { place, replay: [before, waiting].concat(), output, told: tells })
    }

    /// Joins to write alone, and to be told; for whoever writes to many consoles.
    pub(crate) fn attach_writer(
        self: &Arc<Self>,
        who: Who,
        wish: Wish,
        told: mpsc::Sender<Told>,
    ) -> Option<Place> {
        let id = self.shared().seat(who, wish, Mode::Broadcast, told)?;
        Some(Place { id, waits: false, console: Arc::clone(self) })
    }

    /// The end of the log's text, so many bytes at most.
    pub(crate) fn last_text(&self, max: usize) -> Option<Vec<u8>> {
        let log = self.shared().log.clone()?;
        Some(log.hold().last_text(max))
    }

    pub(super) fn end(&self) {
        let mut shared = self.shared();
        shared.gone = true;
        shared.line = None;
        shared.output = None;
        // Their notices end, and with them whoever waits for these.
        shared.seats.clear();
    }

    /// Switches its node off and on, for somebody who may.
    pub(crate) fn reset(self: &Arc<Self>, hub: &Arc<Hub>, who: &Who) {
        let name = self.name();
        let Who { user, host, .. } = who;
        // conman names the process that resets; that is us.
        let pid = std::process::id();
        if std::mem::replace(&mut self.shared().resetting, true) {
            let text = format!("Ignoring reset of console [{name}]: pid {pid} still active");
            return self.notify(&Notice::new(text));
        }
        self.notify(&Notice::new(format!("Console [{name}] reset by <{user}@{host}> (pid {pid})")));
        let node = &self.node;
        daemon::audit!(actor = user, whence = host, result = "ok", node = node, "reset of {name} by console");
        let (console, power) = (Arc::clone(self), hub.power.clone());
        hub.attachments.spawn(async move {
            let nodes = vec![console.node.to_string()];
            let request = Request { nodes, action: Some(Action::Cycle), boot: None };
            let failed = match power::client::power(&power, &request).await {
                Ok(outcomes) => outcomes.into_iter().find_map(|it| it.error),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failed {
                console.notify(&Notice::new(format!("Unable to reset console [{name}]: {error}")));
            }
            console.shared().resetting = false;
        });
    }
}

impl Shared {
    fn writers(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|it| it.mode.writes())
    }

    /// Where the line goes, as conman shows it.
    fn shown(&self) -> String {
        self.port.as_ref().map(|it| it.to_string()).unwrap_or_default()
    }

    /// Tells all but these.
    fn notify(&self, notice: &Notice, but: &[u64]) {
        for seat in self.seats.iter().filter(|it| !but.contains(&it.id)) {
            seat.tell(Told::Notice(notice.clone()));
        }
    }

    /// A new seat, which writes as `mode` if it may.
    fn seat(&mut self, who: Who, wish: Wish, mode: Mode, told: mpsc::Sender<Told>) -> Option<u64> {
        if self.seats.len() >= SEATS_MAX || self.gone {
            return None;
        }
        self.last_seat += 1;
        let id = self.last_seat;
        let free = self.writers().next().is_none();
        let seat = Seat { id, who, mode: Mode::Read, typed: Instant::now(), told };
        match wish {
            Wish::Read => self.seats.push(seat),
            Wish::Write if !free => self.seats.push(seat),
            Wish::Write | Wish::Force | Wish::Join => {
                self.announce(&seat, wish == Wish::Force, mode);
                self.seats.push(Seat { mode, ..seat });
            }
        }
        Some(id)
    }

    /// Tells all who are here that somebody writes from now on, and the newcomer who does already; a forced
    /// one ends that.
    fn announce(&mut self, new: &Seat, force: bool, mode: Mode) {
        let (name, now) = (self.name.clone(), short_time(OffsetDateTime::now_utc()));
        let stolen = force && self.writers().next().is_some();
        let verb = if stolen { "stolen" } else { "joined" };
        let kind = if mode == Mode::Broadcast { " for B/C" } else { "" };
        self.notify(&Notice::new(format!("Console [{name}] {verb}{kind} by {} at {now}", new.who)), &[]);
        let verb = if stolen { "stolen from" } else { "joined with" };
        for writer in self.writers().filter(|it| it.id != new.id) {
            let text = format!("Console [{name}] {verb} {} at {now}", writer.who);
            new.tell(Told::Notice(Notice::new(text)));
        }
        if !stolen {
            return;
        }
        let victims: Vec<u64> = self.writers().map(|it| it.id).filter(|it| *it != new.id).collect();
        for (index, victim) in victims.iter().enumerate() {
            let Some(seat) = self.seats.iter_mut().find(|it| it.id == *victim) else { continue };
            seat.mode = Mode::Read;
            let text = format!("Console [{name}] departed by {} at {now}", seat.who);
            seat.tell(Told::Stolen);
            self.notify(&Notice::new(text), victims.get(..=index).unwrap_or_default());
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|it| it.id == id)
    }

    /// Tells the others that somebody writes no more; `but` hears nothing.
    fn announce_departure(&self, who: &Who, but: &[u64]) {
        let now = short_time(OffsetDateTime::now_utc());
        let text = format!("Console [{}] departed by {who} at {now}", self.name);
        self.notify(&Notice::new(text), but);
    }
}

impl Place {
    pub(crate) fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// What its holder does here now.
    pub(crate) fn mode(&self) -> Mode {
        self.console.shared().find(self.id).map_or(Mode::Read, |it| it.mode)
    }

    /// Whether its holder wants to type, and somebody else does.
    pub(crate) fn is_refused(&self) -> bool {
        self.waits && !self.mode().writes()
    }

    /// Begins to write, from reading.
    pub(crate) fn write(&self, force: bool) {
        let mut shared = self.console.shared();
        let own = shared.find(self.id).filter(|it| !it.mode.writes()).map(|it| it.clone());
        let Some(own) = own else { return };
        // It hears of its own coming like the others.
        shared.announce(&own, force, Mode::Write);
        if let Some(seat) = shared.find(self.id) {
            seat.mode = Mode::Write;
        }
    }

    /// Reads only, from now on.
    pub(crate) fn read(&self) {
        let mut shared = self.console.shared();
        let Some(seat) = shared.find(self.id).filter(|it| it.mode.writes()) else { return };
        seat.mode = Mode::Read;
        let who = seat.who.clone();
        shared.announce_departure(&who, &[]);
    }

    /// Where this one may type; who waits for the keyboard gets it when it is free.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(crate) fn line(&self) -> Result<Writer, &'static str> {
        let mut shared = self.console.shared();
        let free = shared.writers().next().is_none();
        let line = shared.line.clone();
        let waits = self.waits;
        let Some(seat) = shared.find(self.id) else { return Err("the console is closed") };
        seat.typed = Instant::now();
        if free && waits {
            seat.mode = Mode::Write;
        }
        if seat.mode.writes() {
            line.ok_or("the console is lost; it is being opened again")
        } else if waits {
            Err("someone else types here; attach with force to take the keyboard")
        } else {
            Err("you only read")
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = self.console.shared();
        if let Some(index) = shared.seats.iter().position(|it| it.id == self.id) {
            let seat = shared.seats.swap_remove(index);
            if seat.mode.writes() {
                shared.announce_departure(&seat.who, &[]);
            }
        }
        if shared.seats.iter().all(|it| it.mode == Mode::Broadcast) {
            shared.output = None;
        }
    }
}
