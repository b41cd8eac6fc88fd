//! A client of conman's protocol at its consoles.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use super::Named;
use super::keys::{Key, Keys};
use super::wire::{self, Command, Fault, Kind};
use crate::hub::{Attached, Hub, Notice, Place, Told, Who, Wish};

/// What is replayed of a log, bytes, as conman does.
const REPLAY_BYTES: usize = 4096;
/// What waits for a client that reads slowly, bytes; what comes then it misses.
const OUT_BYTES_MAX: usize = 64 << 10;
/// What is typed and waits.
const TYPED_MAX: usize = 64;
/// Notices that wait.
const NOTICES_MAX: usize = 64;

/// A client at its consoles.
pub(super) struct Session {
    hub: Arc<Hub>,
    who: Who,
    command: Command,
    consoles: Vec<Named>,
    may_reset: bool,
    suspended: bool,
    /// To be sent.
    out: Vec<u8>,
}

/// Where a client sits, what comes, and what it is told.
struct Seats {
    places: Arc<Vec<Place>>,
    /// None: it writes to several, and reads none.
    output: Option<broadcast::Receiver<Bytes>>,
    told: mpsc::Receiver<Told>,
}

/// What is typed.
enum Typed {
    Data(Vec<u8>),
    Break,
}

impl Session {
    pub(super) fn new(
        hub: Arc<Hub>,
        who: Who,
        command: Command,
        consoles: Vec<Named>,
        may_reset: bool,
    ) -> Self {
        Self { hub, who, command, consoles, may_reset, suspended: false, out: Vec::new() }
    }

    /// Answers, and goes on until the client or the last console is gone.
    pub(super) async fn run(mut self, mut stream: BufReader<TcpStream>, reply: Vec<u8>) -> io::Result<()> {
        let Some(mut seats) = self.sit_down() else {
            return stream.get_mut().write_all(&wire::error(&Fault::Full)).await;
        };
        self.audit("attached to");
        self.out = reply;
        while let Ok(told) = seats.told.try_recv() {
            self.tell(&told);
        }
        for console in seats.places.iter().map(Place::console) {
            if let Some(text) = console.unconnected() {
                self.put_notice(&text);
            }
        }
        let (typing, typed) = mpsc::channel(TYPED_MAX);
        let mut typist = JoinSet::new();
        typist.spawn(type_in(Arc::clone(&seats.places), typed));
        let ended = self.converse(&mut stream, &mut seats, &typing).await;
        self.audit("left");
        ended
    }

    fn sit_down(&self) -> Option<Seats> {
        let Command { kind, force, join, .. } = self.command;
        let wish = match kind {
            Kind::Query | Kind::Monitor => Wish::Read,
            Kind::Connect if force => Wish::Force,
            Kind::Connect if join => Wish::Join,
            Kind::Connect => Wish::Write,
        };
        if let ([(_, console)], false) = (self.consoles.as_slice(), self.command.broadcast) {
            let Attached { place, output, told, .. } = console.attach(self.who.clone(), wish, 0)?;
            return Some(Seats { places: Arc::new(vec![place]), output: Some(output), told });
        }
        let (teller, told) = mpsc::channel(NOTICES_MAX);
        let places: Option<Vec<Place>> = self
            .consoles
            .iter()
            .map(|(_, console)| console.attach_writer(self.who.clone(), wish, teller.clone()))
            .collect();
        Some(Seats { places: Arc::new(places?), output: None, told })
    }

    async fn converse(
        &mut self,
        stream: &mut BufReader<TcpStream>,
        seats: &mut Seats,
        typing: &mpsc::Sender<Typed>,
    ) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = [0; 1024];
        let mut keys = Keys::default();
        let mut ends = false;
        while !ends || !self.out.is_empty() {
            let hears = !self.suspended && self.out.len() < OUT_BYTES_MAX;
            let reads = async {
                // What cannot be typed yet is not read.
                let room = typing.reserve().await;
                drop(room);
                reader.read(&mut buffer).await
            };
            tokio::select! {
                biased;
                written = writer.write(&self.out), if !self.out.is_empty() && !self.suspended => {
                    self.out.drain(..written?);
                }
                told = seats.told.recv(), if !ends => match told {
                    Some(Told::Stolen) | None => ends = true,
                    Some(told) => self.tell(&told),
                },
                output = heard(&mut seats.output), if hears && !ends => match output {
                    Ok(data) => self.out.extend_from_slice(&data),
                    // conman's clients are not told what they missed either.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => ends = true,
                },
                read = reads, if !ends => match read? {
                    0 => ends = true,
                    count => {
                        for key in keys.take(buffer.get(..count).unwrap_or_default()) {
                            self.take(key, seats, typing).await;
                        }
                    }
                },
            }
        }
        writer.shutdown().await
    }

    async fn take(&mut self, key: Key, seats: &Seats, typing: &mpsc::Sender<Typed>) {
        let single = seats.places.first().filter(|_| seats.output.is_some());
        match key {
            // The typist goes with this session alone.
            Key::Typed(data) => drop(typing.send(Typed::Data(data)).await),
            Key::Break => drop(typing.send(Typed::Break).await),
            Key::Force | Key::Join => {
                if let Some(place) = single {
                    place.write(key == Key::Force);
                }
            }
            Key::Monitor => {
                if let Some(place) = single {
                    place.read();
                }
            }
            Key::Replay => {
                if let Some(place) = single {
                    self.replay(place).await;
                }
            }
            Key::Quiet => {
                self.command.quiet = !self.command.quiet;
                let (state, what) =
                    if self.command.quiet { ("enabled", "suppressed") } else { ("disabled", "displayed") };
                self.put(&format!("Quiet-mode {state} -- info msgs will be {what}"));
            }
            Key::Reset if self.may_reset => {
                for place in seats.places.iter().filter(|it| it.mode().writes()) {
                    place.console().reset(&self.hub, &self.who);
                }
            }
            Key::Reset => {}
            Key::Suspend => self.suspended = !self.suspended,
        }
    }

    async fn replay(&mut self, place: &Place) {
        let console = Arc::clone(place.console());
        let name = console.name();
        let read = tokio::task::spawn_blocking(move || console.last_text(REPLAY_BYTES)).await;
        self.put(&format!("Begin log replay of console [{name}]"));
        let mut text = Vec::new();
        for byte in read.ok().flatten().unwrap_or_default() {
            if byte == b'\n' {
                text.push(b'\r');
            }
            text.push(byte);
        }
        text.drain(..text.len().saturating_sub(REPLAY_BYTES));
        self.out.extend(text);
        self.put(&format!("End log replay of console [{name}]"));
    }

    fn tell(&mut self, told: &Told) {
        if let Told::Notice(Notice { conman, .. }) = told {
            let text = Arc::clone(conman);
            self.put_notice(&text);
        }
    }

    /// What a client that wants quiet is not told.
    fn put_notice(&mut self, text: &str) {
        if !self.command.quiet {
            self.put(text);
        }
    }

    fn put(&mut self, text: &str) {
        self.out.extend(format!("\r\n<ConMan> {text}.\r\n").into_bytes());
    }

    fn audit(&self, what: &str) {
        let Who { user, host, .. } = &self.who;
        let reads = if self.command.kind == Kind::Monitor { " to read" } else { "" };
        for (name, console) in &self.consoles {
            let node = &console.node;
            daemon::audit!(
                actor = user,
                whence = host,
                result = "ok",
                node = node,
                "{what} the console of {name} by conman's protocol{reads}"
            );
        }
    }
}

async fn heard(output: &mut Option<broadcast::Receiver<Bytes>>) -> Result<Bytes, RecvError> {
    match output {
        Some(output) => output.recv().await,
        None => std::future::pending().await,
    }
}

/// Types on all consoles at once, one thing after the other; a console that takes nothing holds up nobody's
/// reading.
async fn type_in(places: Arc<Vec<Place>>, mut typed: mpsc::Receiver<Typed>) {
    while let Some(typed) = typed.recv().await {
        let types = places.iter().filter(|it| it.mode().writes()).map(async |place| {
            let Ok(line) = place.line() else { return };
            let sent = match &typed {
                Typed::Data(data) => line.send(data).await,
                Typed::Break => line.send_break().await,
            };
            if let Err(error) = sent {
                tracing::debug!("{}: not sent: {error}", place.console().node);
            }
        });
        join_all(types).await;
    }
}
