//! The transfers from one address of the head: one socket and one thread for all of them. Packets are taken and sent
//! in batches, windows as one buffer that the kernel cuts up (UDP_SEGMENT, udp(7)).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use domain::{BootStage, MacAddr, Service, StageResult, Xname};
use prometheus_client::metrics::counter::Counter;

use crate::model::{Session, Step, Window};
use crate::wire::tftp::{Packet, ReadRequest, option_ack, read};

mod batch;

use batch::{Incoming, Outgoing};

/// Transfers at once; who comes when there are more is told to ask again.
const TRANSFERS_MAX: usize = 4096;
/// Blocks are not cut into fragments on an Ethernet of 1500 bytes.
const BLOCK_MAX: u16 = 1468;
const BLOCK_PLAIN: u16 = 512;
/// Blocks in flight at most; more overruns small receive buffers of boot loaders.
const WINDOW_MAX: u16 = 64;
/// How often is looked for transfers that wait for too long; below the shortest wait.
const TICK: Duration = Duration::from_millis(20);
/// Room for what many clients send at once.
const RECEIVE_BUFFER: usize = 4 << 20;
/// A send waits so long for room before its packets count as lost.
const SEND_MAX: Duration = Duration::from_millis(200);

static TRANSFERS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("tftp_transfers", "TFTP transfers that ended well"));
static FAILED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("tftp_failed", "TFTP transfers that broke off"));

/// Who loads what.
pub(super) struct Client {
    pub(super) node: Option<Xname>,
    pub(super) mac: Option<MacAddr>,
    pub(super) address: SocketAddrV4,
    pub(super) name: String,
}

/// One client's transfer.
pub(super) struct Transfer {
    client: Client,
    session: Session,
    bytes: Arc<Vec<u8>>,
    block: usize,
    /// What acknowledges the options; empty: the client gave none.
    offer: Vec<u8>,
    began: Instant,
    /// Whether the way to the client takes windows in one piece.
    whole: bool,
}

/// There are too many transfers.
#[derive(Debug)]
pub(super) struct Refused;

/// How a transfer ended.
enum End {
    Done,
    /// The client only wanted to know the size, and said so by an error before the first block.
    Declined,
    Failed(String),
    Silent,
}

type Transfers = HashMap<SocketAddrV4, Transfer>;

/// The transfers from one address of the head.
pub(super) struct Port {
    socket: UdpSocket,
    state: Mutex<State>,
    /// A transfer begins, or the end of all.
    woken: Condvar,
    /// The last transfer has ended.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    transfers: Transfers,
    /// No more; the thread ends with the last transfer, or at once when it is told twice.
    closing: bool,
    closed: bool,
}

impl Transfer {
    /// A transfer of these bytes as the client asked for it.
    pub(super) fn new(client: Client, request: &ReadRequest, bytes: Arc<Vec<u8>>, now: Instant) -> Self {
        let mut agreed = Vec::new();
        let block = request.block.map(|it| it.min(BLOCK_MAX));
        agreed.extend(block.map(|it| ("blksize", u64::from(it))));
        agreed.extend(request.size.then_some(("tsize", bytes.len() as u64)));
        agreed.extend(request.timeout.map(|it| ("timeout", u64::from(it))));
        let window = request.window.map(|it| it.min(WINDOW_MAX));
        agreed.extend(window.map(|it| ("windowsize", u64::from(it))));
        let wait = request.timeout.map(|it| Duration::from_secs(it.into()));
        let block = usize::from(block.unwrap_or(BLOCK_PLAIN));
        let blocks = Window::new(bytes.len(), block, window.unwrap_or(1));
        let session = Session::new(blocks, (bytes.len(), block), !agreed.is_empty(), wait, now);
        let offer = if agreed.is_empty() { Vec::new() } else { option_ack(&agreed) };
        Self { client, session, bytes, block, offer, began: now, whole: true }
    }

    /// A block's content.
    fn content(&self, block: u64) -> &[u8] {
        let from = usize::try_from(block - 1).unwrap_or(usize::MAX).saturating_mul(self.block);
        let to = from.saturating_add(self.block).min(self.bytes.len());
        &self.bytes[from.min(to)..to]
    }

    fn event(&self, stage: BootStage, detail: String) -> daemon::BootEvent {
        let client = &self.client;
        let event = daemon::BootEvent::new(Service::Dhcp, stage, detail);
        event.node(client.node.as_ref()).mac(client.mac).ip(*client.address.ip()).image(client.name.as_str())
    }

    fn note_start(&self) {
        let detail = format!("{} begins to load {}", self.client.address.ip(), self.client.name);
        self.event(BootStage::TftpStart, detail).send();
    }

    fn note(&self, end: End, now: Instant) {
        let (took, bytes) = (now.duration_since(self.began), self.session.bytes_acknowledged());
        let (ip, name) = (self.client.address.ip(), &self.client.name);
        let (detail, result, why) = match end {
            End::Done => {
                TRANSFERS.inc();
                let bytes = self.bytes.len();
                let detail = format!("{ip} has {name} ({bytes} bytes)");
                return self.event(BootStage::TftpEnd, detail).sent(bytes as u64, took).send();
            }
            End::Declined => return tracing::debug!("{ip} asked for the size of {name} alone"),
            End::Failed(reason) => {
                (format!("{name} to {ip} broke off: {reason}"), StageResult::Failed, "client-error")
            }
            End::Silent => {
                let detail = format!("{name} to {ip} broke off: the client does not answer");
                (detail, StageResult::Timeout, "no-answer")
            }
        };
        FAILED.inc();
        self.event(BootStage::TftpEnd, detail).sent(bytes, took).result(result).fact("why", why).send();
    }
}

impl Port {
    /// Opens a port of this address, and starts its thread.
    pub(super) fn open(local: Ipv4Addr) -> io::Result<Arc<Self>> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_read_timeout(Some(TICK))?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        // As much as the machine allows, without an error.
        socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket2::SockRef::from(&socket).set_send_buffer_size(RECEIVE_BUFFER)?;
        let port =
            Arc::new(Self { socket, state: Mutex::default(), woken: Condvar::new(), idle: Condvar::new() });
        let served = Arc::clone(&port);
        thread::Builder::new().name("tftp".to_owned()).spawn(move || served.serve())?;
        Ok(port)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a transfer, or answers a request that came again.
    pub(super) fn begin(&self, new: Transfer, now: Instant) -> Result<(), Refused> {
        let mut state = self.lock();
        let address = new.client.address;
        if let Some(known) = state.transfers.get_mut(&address)
            && known.client.name == new.client.name
            && let Some(step) = known.session.repeat(now)
        {
            self.send_first(known, &step);
            return Ok(());
        }
        if state.closing
            || (state.transfers.len() >= TRANSFERS_MAX && !state.transfers.contains_key(&address))
        {
            return Err(Refused);
        }
        self.send_first(&new, &new.session.first());
        if let Some(old) = state.transfers.insert(address, new)
            && old.session.is_confirmed()
        {
            old.note(End::Failed("the client asks anew".to_owned()), now);
        }
        self.woken.notify_one();
        Ok(())
    }

    fn send_first(&self, transfer: &Transfer, step: &Step) {
        let packet = match step {
            Step::Offer => transfer.offer.clone(),
            Step::Blocks(_) => [&crate::wire::tftp::data_head(1), transfer.content(1)].concat(),
            Step::Wait | Step::Done | Step::Lost => return,
        };
        if let Err(error) = self.socket.send_to(&packet, transfer.client.address) {
            tracing::debug!(%error, "the first packet of a TFTP transfer cannot be sent");
        }
    }

    /// Takes no more transfers and waits for those under way; how many were left at that time.
    pub(super) fn drain(&self, until: Instant) -> usize {
        let mut state = self.lock();
        state.closing = true;
        self.woken.notify_one();
        while !state.transfers.is_empty() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            state = self.idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.closed = true;
        state.transfers.len()
    }

    /// The thread.
    fn serve(&self) {
        let (mut incoming, mut outgoing) = (Incoming::default(), Outgoing::default());
        let (mut steps, mut ended) = (Vec::new(), Vec::new());
        let mut looked = Instant::now();
        loop {
            {
                let mut state = self.lock();
                while state.transfers.is_empty() && !state.closing {
                    state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.closed || state.transfers.is_empty() {
                    return;
                }
            }
            if let Err(error) = incoming.receive(self.socket.as_raw_fd()) {
                tracing::debug!(%error, "TFTP packets cannot be received");
            }
            let now = Instant::now();
            let mut state = self.lock();
            for (from, packet) in incoming.packets() {
                if let Some(transfer) = state.transfers.get_mut(&from) {
                    take(transfer, packet, now, &mut steps, &mut ended);
                }
            }
            if now.duration_since(looked) >= TICK {
                looked = now;
                for transfer in state.transfers.values_mut() {
                    match transfer.session.tick(now) {
                        Step::Offer => self.send_first(transfer, &Step::Offer),
                        step => put(transfer.client.address, step, &mut steps, &mut ended),
                    }
                }
            }
            outgoing.send(self.socket.as_raw_fd(), &mut state.transfers, &steps);
            steps.clear();
            let over: Vec<_> = ended
                .drain(..)
                .filter_map(|(address, end)| Some((state.transfers.remove(&address)?, end)))
                .collect();
            if state.transfers.is_empty() {
                self.idle.notify_all();
            }
            drop(state);
            over.into_iter().for_each(|(transfer, end)| transfer.note(end, now));
        }
    }
}

type Steps = Vec<(SocketAddrV4, RangeInclusive<u64>)>;
type Ended = Vec<(SocketAddrV4, End)>;

/// Takes what a client sent.
fn take(transfer: &mut Transfer, packet: &[u8], now: Instant, steps: &mut Steps, ended: &mut Ended) {
    let address = transfer.client.address;
    match read(packet) {
        Packet::Ack(number) => {
            let silent = !transfer.session.is_confirmed();
            let step = transfer.session.acknowledge(number, now);
            // A file of one block is acknowledged whole by the first word.
            if silent && (transfer.session.is_confirmed() || step == Step::Done) {
                transfer.note_start();
            }
            put(address, step, steps, ended);
        }
        Packet::Error(code, reason) if transfer.session.is_confirmed() => {
            ended.push((address, End::Failed(format!("the client gave up: {code} {reason:?}"))));
        }
        Packet::Error(..) => ended.push((address, End::Declined)),
        Packet::Read(_) | Packet::Write | Packet::Other => {}
    }
}

fn put(address: SocketAddrV4, step: Step, steps: &mut Steps, ended: &mut Ended) {
    match step {
        Step::Wait | Step::Offer => {}
        Step::Blocks(blocks) => steps.push((address, blocks)),
        Step::Done => ended.push((address, End::Done)),
        Step::Lost => ended.push((address, End::Silent)),
    }
}
