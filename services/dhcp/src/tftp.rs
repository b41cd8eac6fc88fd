//! The TFTP server (RFC 1350 with options): read only, from a fixed table of names, each transfer on its own
//! port.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use domain::{BootStage, MacAddr, Service, StageResult, Xname};
use nix::sys::socket::{setsockopt, sockopt};
use prometheus_client::metrics::counter::Counter;
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{self, Progress, Window};
use crate::net::receive;
use crate::state::State;
use crate::wire::tftp::{ErrorCode, Packet, ReadRequest, data, error, option_ack, read};

/// Transfers at once; a client over it gets no answer and asks again.
const TRANSFERS_MAX: usize = 1024;
/// Blocks are not cut into fragments on an Ethernet of 1500 bytes.
const BLOCK_MAX: u16 = 1468;
const BLOCK_PLAIN: u16 = 512;
/// Blocks in flight at most; more overruns small receive buffers of boot loaders.
const WINDOW_MAX: u16 = 64;
/// The first wait for an acknowledgement; it doubles.
const WAIT_FIRST: Duration = Duration::from_millis(400);
const WAIT_MAX: Duration = Duration::from_secs(4);
/// So many waits without an answer end a transfer; fewer before the first: a forged request must not send
/// much.
const WAITS_MAX: u32 = 8;
const WAITS_FIRST_MAX: u32 = 4;
/// How long open transfers may take after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const REQUEST_MAX: usize = 1024;

static TRANSFERS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("tftp_transfers", "TFTP transfers that ended well"));
static FAILED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("tftp_failed", "TFTP transfers that broke off"));
static REFUSED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("tftp_refused", "TFTP requests refused: unknown names, writes, too many"));

/// The TFTP server.
pub(crate) struct Server {
    socket: tokio::net::UdpSocket,
    state: Arc<State>,
    files: Files,
    /// Clients that are served; a repeated request does not start a second transfer.
    active: Arc<Mutex<HashSet<SocketAddrV4>>>,
    transfers: TaskTracker,
}

/// Loaders in memory while somebody loads them.
#[derive(Default)]
struct Files(HashMap<String, Weak<Vec<u8>>>);

impl Server {
    /// Takes the socket.
    pub(crate) fn new(socket: UdpSocket, state: Arc<State>) -> io::Result<Self> {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        let (files, active, transfers) = (Files::default(), Arc::default(), TaskTracker::new());
        Ok(Self { socket: tokio::net::UdpSocket::from_std(socket)?, state, files, active, transfers })
    }

    /// Answers until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let mut buffer = [0; REQUEST_MAX];
            tokio::select! {
                () = stop.cancelled() => break,
                ready = self.socket.readable() => ready?,
            }
            match self.socket.try_io(Interest::READABLE, || receive(&self.socket, &mut buffer)) {
                Ok(it) => self.handle(&buffer[..it.length], it.from, it.local).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => tracing::debug!(%error, "a TFTP request cannot be received"),
            }
        }
        self.transfers.close();
        if tokio::time::timeout(DRAIN_MAX, self.transfers.wait()).await.is_err() {
            tracing::info!("{} TFTP transfers are left unfinished", self.transfers.len());
        }
        Ok(())
    }

    async fn handle(&mut self, packet: &[u8], from: SocketAddrV4, local: Ipv4Addr) {
        let request = match read(packet) {
            Packet::Read(request) => request,
            Packet::Write => return self.refuse(from, ErrorCode::Access, "nothing is written here"),
            Packet::Error(..) => return,
            Packet::Ack(_) | Packet::Other => {
                return self.refuse(from, ErrorCode::Illegal, "no TFTP read request");
            }
        };
        let Some(bytes) = self.files.find(&self.state, &request.name, local).await else {
            tracing::info!(client = %from.ip(), "TFTP: there is no file {:?}", request.name);
            return self.refuse(from, ErrorCode::NotFound, "no such file");
        };
        let begun = {
            let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            active.len() < TRANSFERS_MAX && active.insert(from)
        };
        if !begun {
            REFUSED.inc();
            return;
        }
        let (node, mac) = self.state.machine_at(*from.ip());
        let name = request.name.clone();
        let client = Client { node, mac, address: from, name };
        let active = Arc::clone(&self.active);
        self.transfers.spawn(async move {
            let ended = transfer(&client, local, &request, &bytes).await;
            client.note(ended);
            active.lock().unwrap_or_else(PoisonError::into_inner).remove(&from);
        });
    }

    fn refuse(&self, to: SocketAddrV4, code: ErrorCode, text: &str) {
        REFUSED.inc();
        if let Err(error) = self.socket.try_send_to(&error(code, text), to.into()) {
            tracing::debug!(%error, "a TFTP refusal cannot be sent");
        }
    }
}

impl Files {
    /// A file by its name in the table; the name itself never reaches the file system.
    async fn find(&mut self, state: &State, name: &str, head: Ipv4Addr) -> Option<Arc<Vec<u8>>> {
        let name = name.trim_start_matches("./");
        let table = &state.config.table;
        if name == "autoexec.ipxe" {
            return Some(Arc::new(model::autoexec(table, head).into_bytes()));
        }
        if name == "default" {
            // coresmd's script of this name.
            return Some(Arc::new(b"#!ipxe\nreboot\n".to_vec()));
        }
        let known = model::LOADERS.iter().find(|it| **it == name)?;
        if let Some(bytes) = self.0.get(*known).and_then(Weak::upgrade) {
            return Some(bytes);
        }
        let path = table.tftp_root.join(known);
        match tokio::fs::read(&path).await {
            Ok(bytes) => {
                let bytes = Arc::new(bytes);
                self.0.insert((*known).to_owned(), Arc::downgrade(&bytes));
                Some(bytes)
            }
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, %path, "a boot loader cannot be read; is ipxe installed?");
                None
            }
        }
    }
}

struct Client {
    node: Option<Xname>,
    mac: Option<MacAddr>,
    address: SocketAddrV4,
    name: String,
}

/// How a transfer ended.
enum End {
    Done {
        bytes: u64,
        took: Duration,
    },
    /// The client only wanted to know the size, and said so by an error before the first block.
    Declined,
    Failed {
        bytes: u64,
        took: Duration,
        reason: String,
    },
}

impl Client {
    fn event(&self, stage: BootStage, detail: String) -> daemon::BootEvent {
        let event = daemon::BootEvent::new(Service::Dhcp, stage, detail);
        event.node(self.node.as_ref()).mac(self.mac).ip(*self.address.ip()).image(self.name.as_str())
    }

    fn note(&self, end: End) {
        match end {
            End::Done { bytes, took } => {
                TRANSFERS.inc();
                let detail = format!("{} has {} ({bytes} bytes)", self.address.ip(), self.name);
                self.event(BootStage::TftpEnd, detail).sent(bytes, took).send();
            }
            End::Declined => {
                tracing::debug!("{} asked for the size of {} alone", self.address.ip(), self.name)
            }
            End::Failed { bytes, took, reason } => {
                FAILED.inc();
                let detail = format!("{} to {} broke off: {reason}", self.name, self.address.ip());
                let event = self.event(BootStage::TftpEnd, detail).sent(bytes, took);
                event.result(StageResult::Failed).send();
            }
        }
    }
}

/// What holds for one transfer, after the options were agreed on.
struct Terms {
    block: usize,
    window: u16,
    wait: Duration,
    /// What is acknowledged; empty: the client gave no option.
    agreed: Vec<(&'static str, u64)>,
}

impl Terms {
    fn of(request: &ReadRequest, size: usize) -> Self {
        let mut agreed = Vec::new();
        let block = request.block.map(|it| it.min(BLOCK_MAX));
        agreed.extend(block.map(|it| ("blksize", u64::from(it))));
        agreed.extend(request.size.then_some(("tsize", size as u64)));
        agreed.extend(request.timeout.map(|it| ("timeout", u64::from(it))));
        let window = request.window.map(|it| it.min(WINDOW_MAX));
        agreed.extend(window.map(|it| ("windowsize", u64::from(it))));
        let wait = request.timeout.map_or(WAIT_FIRST, |it| Duration::from_secs(it.into()));
        Self { block: block.unwrap_or(BLOCK_PLAIN).into(), window: window.unwrap_or(1), wait, agreed }
    }
}

async fn transfer(client: &Client, local: Ipv4Addr, request: &ReadRequest, bytes: &[u8]) -> End {
    let began = Instant::now();
    let mut sent = 0;
    let ended = send_file(client, local, &Terms::of(request, bytes.len()), bytes, &mut sent).await;
    let took = began.elapsed();
    match ended {
        Ok(true) => End::Done { bytes: bytes.len() as u64, took },
        Ok(false) => End::Declined,
        Err(reason) => End::Failed { bytes: sent, took, reason },
    }
}

/// Sends a file; false if the client declined before the first block.
async fn send_file(
    client: &Client,
    local: Ipv4Addr,
    terms: &Terms,
    bytes: &[u8],
    sent: &mut u64,
) -> Result<bool, String> {
    let text = |error: io::Error| error.to_string();
    let socket = tokio::net::UdpSocket::bind((local, 0)).await.map_err(text)?;
    socket.connect(client.address).await.map_err(text)?;
    if !terms.agreed.is_empty() {
        let offer = option_ack(&terms.agreed);
        let mut waits = Waits::new(terms.wait);
        loop {
            socket.send(&offer).await.map_err(text)?;
            match waits.next(&socket, WAITS_FIRST_MAX).await? {
                Some(Packet::Ack(0)) => break,
                Some(Packet::Error(..)) => return Ok(false),
                _ => {}
            }
        }
    }
    let start = format!("{} begins to load {}", client.address.ip(), client.name);
    client.event(BootStage::TftpStart, start).send();
    let mut window = Window::new(bytes.len(), terms.block, terms.window);
    let mut waits = Waits::new(terms.wait);
    let mut due = true;
    loop {
        if due {
            for number in window.pending() {
                let from = usize::try_from(number - 1).unwrap_or(usize::MAX).saturating_mul(terms.block);
                let block = &bytes[from.min(bytes.len())..from.saturating_add(terms.block).min(bytes.len())];
                socket.send(&data(number, block)).await.map_err(text)?;
            }
        }
        let limit = if *sent == 0 && terms.agreed.is_empty() { WAITS_FIRST_MAX } else { WAITS_MAX };
        match waits.next(&socket, limit).await? {
            None => due = true,
            Some(Packet::Ack(number)) => {
                let progress = window.acknowledge(number);
                due = progress != Progress::None;
                if due {
                    waits = Waits::new(terms.wait);
                    *sent = (window.pending().start() - 1)
                        .saturating_mul(terms.block as u64)
                        .min(bytes.len() as u64);
                }
                if progress == Progress::Done {
                    return Ok(true);
                }
            }
            Some(Packet::Error(code, reason)) => {
                return Err(format!("the client gave up: {code} {reason:?}"));
            }
            Some(_) => due = false,
        }
    }
}

/// Waits for the client, each time longer. A wait goes on over packets that mean nothing.
struct Waits {
    wait: Duration,
    until: Instant,
    count: u32,
}

impl Waits {
    fn new(wait: Duration) -> Self {
        Self { wait, until: Instant::now() + wait, count: 0 }
    }

    /// The next packet, or None when it is time to send again.
    async fn next(&mut self, socket: &tokio::net::UdpSocket, limit: u32) -> Result<Option<Packet>, String> {
        let mut buffer = [0; REQUEST_MAX];
        match tokio::time::timeout_at(self.until.into(), socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => Ok(Some(read(&buffer[..length]))),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) if self.count + 1 >= limit => Err("the client does not answer".to_owned()),
            Err(_) => {
                self.count += 1;
                self.wait = (self.wait * 2).min(WAIT_MAX.max(self.wait));
                self.until = Instant::now() + self.wait;
                Ok(None)
            }
        }
    }
}
