//! A few UDP sockets shared by any number of sessions.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Error;
pub(crate) use socket::{Inbox, Route, Socket};

mod socket;

/// How many sockets of each address family a pool has by default: enough that one socket's queue in the
/// kernel holds a packet of each of several hundred BMCs, few enough to be kept over a restart.
pub const SOCKETS: usize = 16;

/// Sockets that sessions share: several thousand sessions need a few descriptors, not several thousand.
///
/// What arrives is told apart by the BMC's address and the session's number. Each socket has one task that
/// receives. Clones are handles of the same pool, and every session holds one.
///
/// A pool made by [`Self::from_sockets`] receives from its [`Self::start`] on, or from the first session that
/// is opened on it: until then what arrived waits in the kernel, so that sessions can be resumed without
/// losing it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    v4: Vec<Arc<Socket>>,
    v6: Vec<Arc<Socket>>,
    next: AtomicUsize,
    /// Whether the tasks may receive.
    started: watch::Sender<bool>,
    /// Ended with the last handle.
    _tasks: Mutex<JoinSet<()>>,
}

impl Pool {
    /// A pool of [`SOCKETS`] sockets of each address family; of IPv4 alone where the system has no IPv6.
    ///
    /// # Errors
    ///
    /// The system has no more sockets, or this is not called within a tokio runtime.
    pub fn new() -> Result<Self, Error> {
        Self::with_sockets(SOCKETS)
    }

    /// The same with another number of sockets of each family; at least one.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn with_sockets(count: usize) -> Result<Self, Error> {
        let any_v4 = SocketAddr::from(([0; 4], 0));
        let any_v6 = SocketAddr::from(([0_u16; 8], 0));
        let bind = |any| (0..count.max(1)).map(|_| socket::bind(any)).collect::<std::io::Result<Vec<_>>>();
        let mut sockets = bind(any_v4).map_err(|source| failed(any_v4, source))?;
        match bind(any_v6) {
            Ok(more) => sockets.extend(more),
            Err(error) => tracing::debug!(%error, "no sockets for BMCs with IPv6 addresses"),
        }
        let pool = Self::from_sockets(sockets)?;
        pool.start();
        Ok(pool)
    }

    /// One socket, for one session.
    pub(crate) fn private(peer: SocketAddr) -> Result<Self, Error> {
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        Self::from_sockets(vec![socket::bind(any).map_err(|source| failed(peer, source))?])
    }

    /// A pool of sockets that another process had: see [`Self::sockets`]. It receives from [`Self::start`]
    /// on.
    ///
    /// # Errors
    ///
    /// One is not a bound UDP socket, or this is not called within a tokio runtime.
    pub fn from_sockets(sockets: Vec<UdpSocket>) -> Result<Self, Error> {
        let none = || Error::Invalid { reason: "a pool of sockets needs a tokio runtime" };
        let runtime = Handle::try_current().map_err(|_| none())?;
        let (mut v4, mut v6, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        let started = watch::Sender::new(false);
        for socket in sockets {
            let local = socket.local_addr().map_err(|source| failed(([0; 4], 0).into(), source))?;
            let socket = Arc::new(Socket::new(socket, local).map_err(|source| failed(local, source))?);
            tasks.spawn_on(Arc::clone(&socket).receive(started.subscribe()), &runtime);
            if local.is_ipv4() { v4.push(socket) } else { v6.push(socket) }
        }
        let shared = Shared { v4, v6, next: AtomicUsize::default(), started, _tasks: Mutex::new(tasks) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins to receive; again is the same as once.
    pub fn start(&self) {
        self.shared.started.send_if_modified(|started| !std::mem::replace(started, true));
    }

    /// Ceases to receive until [`Self::start`]: what arrives waits in the kernel. Sessions that are to be
    /// resumed elsewhere are best [suspended](crate::Session::suspend) after this.
    pub fn pause(&self) {
        self.shared.started.send_replace(false);
    }

    /// The sockets as other handles of the same, to be handed to a process that goes on with the sessions.
    ///
    /// # Errors
    ///
    /// The system has no more descriptors.
    pub fn sockets(&self) -> Result<Vec<UdpSocket>, Error> {
        self.all().map(|it| it.duplicate().map_err(|source| failed(it.local(), source))).collect()
    }

    /// How many sessions there are on it.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.all().map(|it| it.session_count()).sum()
    }

    /// A socket for a session with this BMC.
    pub(crate) fn pick(&self, peer: SocketAddr) -> Result<Arc<Socket>, Error> {
        let family = self.family(peer);
        let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(family.len()).unwrap_or_default();
        family.get(at).cloned().ok_or(Error::Invalid { reason: NO_FAMILY })
    }

    /// The socket with this port, for a session that goes on.
    pub(crate) fn find(&self, peer: SocketAddr, port: u16) -> Result<Arc<Socket>, Error> {
        let found = self.family(peer).iter().find(|it| it.local().port() == port);
        found
            .cloned()
            .ok_or(Error::Invalid { reason: "the pool has not the socket that the session was opened on" })
    }

    fn family(&self, peer: SocketAddr) -> &[Arc<Socket>] {
        if peer.is_ipv4() { &self.shared.v4 } else { &self.shared.v6 }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Socket>> {
        self.shared.v4.iter().chain(&self.shared.v6)
    }
}

const NO_FAMILY: &str = "the pool has no socket of the address's family; is IPv6 enabled on this machine?";

fn failed(address: SocketAddr, source: std::io::Error) -> Error {
    Error::Io { step: "open socket", address, source }
}

/// Tells the number of sockets and sessions.
impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("sockets", &self.all().count())
            .field("sessions", &self.session_count())
            .finish_non_exhaustive()
    }
}
