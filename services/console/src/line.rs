//! One line: it is opened, what comes is logged and published, and it is opened again when it is lost.

mod account;
mod connection;
mod port;
mod serial;
mod sol;
mod stream;
mod tell;
mod telnet;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipmi::SessionOptions;
use power::Bmcs;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hub::{Console, Hub};
use crate::keeper::Keeper;
use crate::model::{Scribe, Waits, Watch};
use connection::{Connection, Event};
use stream::Stream;

pub(crate) use account::Account;
pub(crate) use connection::{SolLine, Writer};
pub(crate) use port::Port;
pub(crate) use sol::place as place_of;

/// Lines that are opened at once: each takes a session's memory meanwhile, and thousands of BMCs may be off.
const OPENING_MAX: usize = 1024;
/// What is said of a gap that began before this process.
const NOT_RUNNING: &str = "the service did not run";

/// What all lines need.
pub(crate) struct Places {
    pub(crate) hub: Arc<Hub>,
    pub(crate) bmcs: Bmcs,
    pub(crate) keeper: Keeper,
    /// How sessions are held.
    pub(crate) options: SessionOptions,
    /// The keys of SSH hosts.
    pub(crate) known_hosts: PathBuf,
    /// The key to log in to them with, where the unit hands one over.
    pub(crate) ssh_key: Option<PathBuf>,
    pub(crate) opening: Semaphore,
}

impl Places {
    pub(crate) fn opening() -> Semaphore {
        Semaphore::new(OPENING_MAX)
    }
}

/// One line.
pub(crate) struct Line {
    console: Arc<Console>,
    places: Arc<Places>,
    name: String,
    port: Arc<Port>,
    account: Arc<Account>,
    /// The version of the account that was used last.
    used: i64,
    scribe: Scribe,
    watch: Watch,
    /// Since when nothing was logged, none if nothing ever was; and why, none if the service did not run.
    since: Option<(OffsetDateTime, Option<Arc<str>>)>,
    /// The line is the one that the process before had: nothing is to be told of it.
    resumed: bool,
    /// Since when somebody else was found to hold the line.
    held: Option<Instant>,
    /// Why the line is lost, as far as it was told.
    reasons: Vec<Arc<str>>,
    /// The disk lags behind: until it has caught up nothing more is taken, and the BMC is not told that it was.
    full: bool,
    /// Kept for its room.
    text: Vec<u8>,
}

/// Why a line could not be opened, or was lost.
#[derive(Debug)]
struct Loss {
    reason: String,
    /// The BMC does not take the account.
    refused: bool,
}

impl Loss {
    fn new(reason: String) -> Self {
        Self { reason, refused: false }
    }

    fn of(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(format!("{:#}", anyhow::Error::new(error)))
    }
}

impl Line {
    pub(crate) fn new(
        places: Arc<Places>,
        console: Arc<Console>,
        name: &str,
        port: Arc<Port>,
        account: Arc<Account>,
    ) -> Self {
        let scribe = Scribe::new(places.hub.config.log_options);
        Self {
            console,
            places,
            name: name.to_owned(),
            port,
            used: account.version(),
            account,
            scribe,
            watch: Watch::default(),
            since: None,
            resumed: false,
            held: None,
            reasons: Vec::new(),
            full: false,
            text: Vec::new(),
        }
    }

    /// Takes over console and log, once the line that the node had before has ended.
    fn begin(&mut self) {
        let log = self.places.hub.logs.open(&self.name, &self.console.node);
        self.since = log.last_written().map(|it| (it, None));
        if self.since.is_some() {
            self.scribe.go_on(&log.last_line());
        }
        self.console.begin(&self.name, Arc::clone(&self.port), log);
    }

    /// Logs until the stop, through every loss of the line; `resumed` is one that the process before had.
    pub(crate) async fn keep(mut self: Box<Self>, resumed: Option<Box<SolLine>>, stop: CancellationToken) {
        self.begin();
        let mut waits = Waits::default();
        let mut ready = resumed.map(Connection::Sol);
        if ready.is_some() {
            self.note_resumed();
        }
        loop {
            let opened = match ready.take() {
                Some(connection) => Ok(connection),
                None => {
                    let places = Arc::clone(&self.places);
                    // Before the box is made: a line that waits takes no room for a session, as thousands of BMCs may
                    // be off.
                    let permit = tokio::select! {
                        () = stop.cancelled() => break,
                        permit = places.opening.acquire() => permit,
                    };
                    let opened = tokio::select! {
                        () = stop.cancelled() => break,
                        opened = Box::pin(self.open()) => opened,
                    };
                    drop(permit);
                    opened
                }
            };
            let loss = match opened {
                Ok(connection) => {
                    let begun = Instant::now();
                    let Some(loss) = Box::pin(self.log_until_lost(connection, &stop)).await else { return };
                    waits.lasted(begun.elapsed());
                    loss
                }
                Err(loss) => loss,
            };
            let wait = waits.next(loss.refused, random());
            self.note_lost(&loss.reason);
            self.text = Vec::new();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                () = self.account.changed(self.used) => waits = Waits::default(),
            }
        }
        self.note_end();
    }

    async fn open(&mut self) -> Result<Connection, Loss> {
        let places = Arc::clone(&self.places);
        self.used = self.account.version();
        match &*Arc::clone(&self.port) {
            Port::Sol(endpoint) => self.open_sol(endpoint).await.map(|it| Connection::Sol(Box::new(it))),
            port => Ok(Connection::Stream(Box::new(Stream::open(port, &places).await?))),
        }
    }

    /// Logs what comes; none: it was stopped.
    async fn log_until_lost(&mut self, mut connection: Connection, stop: &CancellationToken) -> Option<Loss> {
        self.console.connect(connection.writer());
        self.note_open();
        let lost = loop {
            if self.full {
                tokio::select! {
                    () = self.console.room() => self.full = false,
                    () = stop.cancelled() => break None,
                }
            }
            let event = tokio::select! {
                biased;
                event = connection.recv() => event,
                () = stop.cancelled() => break None,
            };
            if let Some(loss) = self.take(event) {
                break Some(loss);
            }
        };
        if lost.is_some() {
            self.console.disconnect("the line is lost");
            connection.close().await;
            return lost;
        }
        // What has come was confirmed to the BMC, so nobody else has it.
        while let Some(event) = connection.recv_now()
            && self.take(event).is_none()
        {}
        let service_stops = self.places.hub.is_stopping();
        let kept = if service_stops { connection.suspend() } else { Err(connection) };
        match kept {
            Ok(rest) => {
                for event in rest {
                    self.take(sol::translate(event));
                }
                self.console.disconnect("the service is started again");
            }
            Err(connection) => {
                connection.close().await;
                self.note_end();
            }
        }
        None
    }

    /// Takes what came from the line; gives the reason if it was the last.
    fn take(&mut self, event: Event) -> Option<Loss> {
        match event {
            Event::Data(data) => self.write(data),
            Event::Break => self.mark("serial break"),
            Event::Overflow => self.mark("the BMC lost characters here"),
            Event::Lost(loss) => return Some(loss),
        }
        None
    }

    fn write(&mut self, data: Vec<u8>) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let (watch, patterns) = (&mut self.watch, &self.places.hub.patterns);
        let mut sights = Vec::new();
        self.scribe.write(&data, OffsetDateTime::now_utc(), &mut text, |line, whole| {
            watch.look(line, whole, patterns, |it| sights.push(it));
        });
        self.full = !self.console.publish(&text, data);
        self.text = text;
        for sight in sights {
            self.tell_sight(sight);
        }
    }
}

/// A byte of chance, for waits.
fn random() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}

/// How long ago, for people.
fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
