//! How nodes without an address reach a DHCP server: by frames of their own on a wire, or through a relay that this
//! is. One socket for all nodes; answers find theirs by the transaction.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use domain::BootStage;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dhcp::{ACK, Answer, Asker, DISCOVER, NAK, OFFER, Question, REQUEST, frame, payload};
use super::{Faults, Outcome, Patience};

/// Room for the answers to thousands of nodes at once.
const RECEIVE_BUFFER: usize = 16 << 20;
/// So many answers to one question are kept; a second server makes two.
const ANSWERS_MAX: usize = 8;
/// So often a question is asked before a machine begins anew.
const TRIES: u16 = 5;

/// Frames that hold IPv4, UDP, unfragmented, to port 68 (the offsets of RFC 894 and RFC 791).
const FILTER: [(u16, u8, u8, u32); 11] = [
    (0x28, 0, 0, 12),
    (0x15, 0, 8, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 0, 6, 17),
    (0x28, 0, 0, 20),
    (0x45, 4, 0, 0x1fff),
    (0xb1, 0, 0, 14),
    (0x48, 0, 0, 16),
    (0x15, 0, 1, 68),
    (0x06, 0, 0, 0xffff),
    (0x06, 0, 0, 0),
];

/// A way to DHCP servers. Clones share it.
#[derive(Clone, Debug)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    way: Arc<Way>,
    waiting: Arc<Waiting>,
    transactions: AtomicU32,
    // Aborted with the last clone.
    _receiving: JoinSet<()>,
}

type Waiting = Mutex<HashMap<u32, mpsc::Sender<Answer>>>;

#[derive(Debug)]
enum Way {
    Relay { socket: UdpSocket, own: Ipv4Addr, server: SocketAddrV4 },
    Wire { socket: AsyncFd<Socket> },
}

/// What a machine was given.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) next: Ipv4Addr,
    pub(super) file: Option<String>,
}

/// A question that waits for answers; gone when dropped.
struct Ear<'a> {
    waiting: &'a Waiting,
    transaction: u32,
    answers: mpsc::Receiver<Answer>,
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.transaction);
    }
}

impl Link {
    /// A relay at `own` that passes everything on to a server. Answers come back to `own`, port 67, or, from a server
    /// on the same machine, to wherever it was asked from: then `own` is an address of loopback, and the port any.
    ///
    /// # Errors
    ///
    /// If the port is taken.
    pub async fn relay(own: SocketAddrV4, server: SocketAddrV4) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(own).await.with_context(|| format!("be a relay at {own}"))?;
        grow(&socket)?;
        Ok(Self::new(Way::Relay { socket, own: *own.ip(), server }))
    }

    /// The wire behind an interface of this network namespace.
    ///
    /// # Errors
    ///
    /// If there is no such interface, or without CAP_NET_RAW.
    pub fn wire(interface: &str) -> anyhow::Result<Self> {
        let index = if_nametoindex(interface).with_context(|| format!("find the interface {interface}"))?;
        let protocol = Protocol::from(i32::from(0x0800_u16.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(protocol));
        let socket = socket.context("open a raw socket")?;
        let code = FILTER.map(|(code, jt, jf, k)| SockFilter::new(code, jt, jf, k));
        socket.attach_filter(&code).context("attach the filter")?;
        grow(&socket)?;
        socket.bind(&address_of(index)?).with_context(|| format!("bind to {interface}"))?;
        #[expect(
            unsafe_code,
            reason = "the socket is owned here, and closed no earlier than this is dropped"
        )]
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self::new(Way::Wire { socket }))
    }

    fn new(way: Way) -> Self {
        let (way, waiting) = (Arc::new(way), Arc::<Waiting>::default());
        let mut receiving = JoinSet::new();
        // Never made to wait for its turn while there are answers: among thousands of nodes a turn comes seldom.
        let hear = receive(Arc::clone(&way), Arc::clone(&waiting));
        receiving.spawn(tokio::task::unconstrained(hear));
        let first = Instant::now().elapsed().subsec_nanos() ^ std::process::id().rotate_left(12);
        Self(Arc::new(Shared { way, waiting, transactions: AtomicU32::new(first), _receiving: receiving }))
    }

    fn listen(&self) -> Ear<'_> {
        // Odd, so that each number comes once before one comes again.
        let number = self.0.transactions.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b1);
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        Ear { waiting: &self.0.waiting, transaction: number, answers }
    }

    async fn send(&self, mut question: Question) -> Result<(), String> {
        let sent = match &*self.0.way {
            Way::Relay { socket, own, server } => {
                question.relay = Some(*own);
                socket.send_to(&question.write(), server).await.map(drop)
            }
            Way::Wire { socket } => {
                let frame = frame(question.mac, &question.write());
                socket.async_io(tokio::io::Interest::WRITABLE, |it| it.send(&frame)).await.map(drop)
            }
        };
        // A full queue of the network is a lost packet.
        match sent {
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => {
                Err(format!("cannot send by DHCP: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// The four-way exchange (RFC 2131 section 4.4.1), again and again until it comes to something.
    pub(super) async fn acquire(
        &self,
        asker: Asker,
        patience: &Patience,
        faults: &Faults,
        log: &mut Outcome,
    ) -> Result<Lease, String> {
        loop {
            let begun = Instant::now();
            let mut ear = self.listen();
            let mut question = Question {
                kind: DISCOVER,
                asker,
                mac: log.node.mac,
                transaction: ear.transaction,
                seconds: faults.asking_for_s,
                relay: None,
                chosen: None,
            };
            log.reach(BootStage::DhcpDiscover);
            let Some(offer) = self.ask(&mut ear, &mut question, OFFER, begun, patience, log).await? else {
                continue;
            };
            log.reach(BootStage::DhcpOffer);
            if log.is_silent(faults) {
                return Err("it is silent".to_owned());
            }
            question.kind = REQUEST;
            question.chosen = Some((offer.address, faults.other_server.unwrap_or(offer.server)));
            if let Some(other) = faults.other_server {
                self.send(question).await?;
                return Err(format!("it took an offer of {other}, which has nothing to boot"));
            }
            let given = self.ask(&mut ear, &mut question, ACK, begun, patience, log).await?;
            // Refused or unheard: from the beginning.
            let Some(ack) = given.filter(|it| it.kind == ACK) else { continue };
            log.reach(BootStage::DhcpAck);
            log.address = Some(ack.address);
            return Ok(Lease { address: ack.address, next: ack.next, file: ack.file.or(offer.file) });
        }
    }

    /// Sends a question until it is answered; none when a machine would begin anew.
    async fn ask(
        &self,
        ear: &mut Ear<'_>,
        question: &mut Question,
        kind: u8,
        begun: Instant,
        patience: &Patience,
        log: &mut Outcome,
    ) -> Result<Option<Answer>, String> {
        let mut wait = patience.dhcp;
        let first = question.seconds;
        for attempt in 0..TRIES {
            if attempt > 0 {
                log.again += 1;
            }
            let elapsed = u16::try_from(begun.elapsed().as_secs()).unwrap_or(u16::MAX);
            question.seconds = first.saturating_add(elapsed);
            self.send(*question).await?;
            let heard = tokio::time::timeout(wait, async {
                loop {
                    match ear.answers.recv().await {
                        Some(it) if it.kind == kind || (it.kind == NAK && kind == ACK) => return Some(it),
                        Some(_) => {}
                        None => return None,
                    }
                }
            });
            match heard.await {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => return Err("the link is gone".to_owned()),
                Err(_) => log.waited += wait,
            }
            wait = (wait * 2).min(patience.dhcp_max);
        }
        question.seconds = first;
        Ok(None)
    }
}

/// Asks for a large receive buffer, by force where we may.
fn grow(socket: &impl std::os::fd::AsFd) -> anyhow::Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER))
        .context("enlarge the receive buffer")
}

fn address_of(index: u32) -> io::Result<socket2::SockAddr> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "no library builds a sockaddr_ll; the zeroed storage is larger than it")]
    let ((), address) = unsafe {
        socket2::SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*address).sll_protocol = 0x0800_u16.to_be();
            (*address).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// Hands each answer to the question that waits for it.
async fn receive(way: Arc<Way>, waiting: Arc<Waiting>) {
    let mut buffer = vec![0; 4096];
    loop {
        let received = match &*way {
            Way::Relay { socket, .. } => socket.recv(&mut buffer).await,
            Way::Wire { socket } => {
                let read = |it: &Socket| {
                    let mut it = it;
                    io::Read::read(&mut it, &mut buffer)
                };
                socket.async_io(tokio::io::Interest::READABLE, read).await
            }
        };
        // An ICMP error of an earlier packet comes back here; the next packet is read all the same.
        let Ok(length) = received else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let packet = &buffer[..length];
        let packet = if matches!(&*way, Way::Wire { .. }) { payload(packet) } else { Some(packet) };
        let Some(answer) = packet.and_then(Answer::read) else { continue };
        let asked = {
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.get(&answer.transaction).cloned()
        };
        // One more than is kept is a lost packet too.
        if let Some(sender) = asked
            && let Err(error) = sender.try_send(answer)
        {
            drop(error);
        }
    }
}
