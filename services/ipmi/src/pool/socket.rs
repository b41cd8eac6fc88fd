//! One shared socket: who is to get what arrives on it.
//!
//! A session's packets are handed to it in the receiving task, which proves each before it has any effect:
//! what is forged costs time, and no memory. A handshake has a short queue of its own; what it has no room
//! for is dropped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

use socket2::{Domain, SockRef, Socket as Socket2, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;

use crate::session::lock;
use crate::wire::{Datagram, PlusPacket};

/// The longest datagram we take; IPMI's are far below.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// What a handshake has not looked at yet. It sends one packet at a time, so more is repetition or noise.
const INBOX_MAX: usize = 8;
/// So many datagrams are taken before other tasks have their turn.
const BATCH_MAX: usize = 64;
/// Errors in a row after which a socket is given up. The next packet ends the row.
const ERRORS_MAX: u32 = 1000;
/// The kernel's queue that is asked for; it gives as much as the system allows (`net.core.rmem_max`), and takes twice
/// that for its own book-keeping: a packet of IPMI, however short, may count 2,304 bytes (a buffer of the card
/// and its head). A BMC has one packet of its line and one answer on the way, so this is room for 900 BMCs a socket
/// while nobody reads; where the system gives its default of 208 KiB, for 90.
const QUEUE_BYTES: usize = 2 << 20;

/// Where the packets of a session go.
pub(crate) trait Route: Send + Sync {
    /// Takes a packet of this session; nothing about it is proven yet.
    fn take(&self, datagram: &mut [u8]);
}

/// A BMC as the sender of packets.
type Peer = (IpAddr, u16);

pub(crate) struct Socket {
    io: UdpSocket,
    local: SocketAddr,
    routes: Mutex<Routes>,
}

#[derive(Default)]
struct Routes {
    /// By BMC and our number of the session.
    sessions: HashMap<(Peer, u32), Weak<dyn Route>>,
    /// By BMC: what is outside of sessions goes to all handshakes with it.
    handshakes: HashMap<Peer, Vec<mpsc::Sender<Vec<u8>>>>,
}

/// Binds a socket for [`Socket::new`].
pub(super) fn bind(any: SocketAddr) -> io::Result<net::UdpSocket> {
    let socket = Socket2::new(Domain::for_address(any), Type::DGRAM, None)?;
    if any.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&any.into())?;
    Ok(socket.into())
}

impl Socket {
    pub(super) fn new(socket: net::UdpSocket, local: SocketAddr) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_recv_buffer_size(QUEUE_BYTES)?;
        Ok(Self { io: UdpSocket::from_std(socket)?, local, routes: Mutex::default() })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn duplicate(&self) -> io::Result<net::UdpSocket> {
        SockRef::from(&self.io).try_clone().map(Into::into)
    }

    pub(super) fn session_count(&self) -> usize {
        lock(&self.routes).sessions.len()
    }

    /// Sends at once, or says that the kernel has no room.
    pub(crate) fn try_send(&self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        SockRef::from(&self.io).send_to(datagram, &peer.into()).map(drop)
    }

    /// Waits until the kernel has room again.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        // The runtime has to learn of it first: it was not it that sent.
        let full = self.io.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        drop(full);
        self.io.writable().await
    }

    pub(crate) async fn send(&self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        loop {
            match self.try_send(datagram, peer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                sent => return sent,
            }
        }
    }

    /// Hands the session's packets to this route from now on.
    ///
    /// # Errors
    ///
    /// The number is taken by another session with this BMC.
    pub(crate) fn register(&self, peer: SocketAddr, id: u32, route: Weak<dyn Route>) -> Result<(), ()> {
        match lock(&self.routes).sessions.entry((key(peer), id)) {
            Entry::Occupied(_) => Err(()),
            Entry::Vacant(free) => {
                free.insert(route);
                Ok(())
            }
        }
    }

    /// Ends what [`Self::register`] began.
    pub(crate) fn forget(&self, peer: SocketAddr, id: u32) {
        lock(&self.routes).sessions.remove(&(key(peer), id));
    }

    /// Whether the number is free for a session with this BMC.
    pub(crate) fn is_free(&self, peer: SocketAddr, id: u32) -> bool {
        !lock(&self.routes).sessions.contains_key(&(key(peer), id))
    }

    /// What arrives from this BMC outside of a session.
    pub(crate) fn listen(self: &Arc<Self>, peer: SocketAddr) -> Inbox {
        let (sender, datagrams) = mpsc::channel(INBOX_MAX);
        lock(&self.routes).handshakes.entry(key(peer)).or_default().push(sender);
        Inbox { socket: Arc::clone(self), peer, datagrams }
    }

    /// Receives for as long as the pool lasts.
    pub(super) async fn receive(self: Arc<Self>, mut started: watch::Receiver<bool>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut errors = 0;
        // An error says that the pool is gone.
        while errors < ERRORS_MAX && started.wait_for(|started| *started).await.is_ok() {
            if self.io.readable().await.is_err() {
                return;
            }
            for _ in 0..BATCH_MAX {
                if !*started.borrow() {
                    break;
                }
                match self.io.try_recv_from(&mut buffer) {
                    Ok((count, peer)) => {
                        errors = 0;
                        self.hand_on(buffer.get_mut(..count).unwrap_or_default(), peer);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        errors += 1;
                        tracing::trace!(local = %self.local, %error, "cannot receive");
                    }
                }
            }
            yield_now().await;
        }
        tracing::debug!(local = %self.local, errors, "receiving has ended");
    }

    fn hand_on(&self, datagram: &mut [u8], peer: SocketAddr) {
        let peer = key(peer);
        let id = match Datagram::decode(datagram) {
            Ok(Datagram::Plus(PlusPacket { session_id, .. })) if session_id != 0 => session_id,
            // Also what a lenient handshake can read though it is not quite right.
            _ => return self.hand_to_handshakes(datagram, peer),
        };
        let route = lock(&self.routes).sessions.get(&(peer, id)).and_then(Weak::upgrade);
        if let Some(route) = route {
            route.take(datagram);
        }
    }

    fn hand_to_handshakes(&self, datagram: &[u8], peer: Peer) {
        let routes = lock(&self.routes);
        for handshake in routes.handshakes.get(&peer).into_iter().flatten() {
            if let Ok(room) = handshake.try_reserve() {
                room.send(datagram.to_vec());
            }
        }
    }
}

/// Scope and flow label play no part: they are ours, not the sender's.
fn key(peer: SocketAddr) -> Peer {
    (peer.ip(), peer.port())
}

/// A handshake's queue; dropped, it is no longer filled.
pub(crate) struct Inbox {
    socket: Arc<Socket>,
    peer: SocketAddr,
    datagrams: mpsc::Receiver<Vec<u8>>,
}

impl Inbox {
    pub(crate) async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram, self.peer).await
    }

    /// Waits for a datagram.
    pub(crate) async fn recv(&mut self) -> Vec<u8> {
        match self.datagrams.recv().await {
            Some(datagram) => datagram,
            None => std::future::pending().await, // The sender goes only with us.
        }
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.datagrams.close();
        let mut routes = lock(&self.socket.routes);
        if let Some(all) = routes.handshakes.get_mut(&key(self.peer)) {
            all.retain(|it| !it.is_closed());
            if all.is_empty() {
                routes.handshakes.remove(&key(self.peer));
            }
        }
    }
}
