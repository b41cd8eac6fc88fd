//! The services behind: a pool of kept connections each.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use daemon::Context;
use domain::Service;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// How long a request waits while as many as allowed are open towards its service.
const TURN_MAX: Duration = Duration::from_secs(5);
/// How long a service may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a service may be silent before its answer begins: the services give up by themselves after 60 s.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(65);
/// A kept connection is used again within this time: the services close idle ones after 10 s.
const KEEP_MAX: Duration = Duration::from_secs(5);
/// How many idle connections a pool keeps.
const IDLE_MAX: usize = 256;

/// A service behind.
#[derive(Debug)]
pub(crate) struct Upstream {
    socket: PathBuf,
    open: Semaphore,
    /// Newest last, which is used first, so that the rest gets old and goes.
    idle: Mutex<Vec<(UnixStream, Instant)>>,
}

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("too many requests to it are open")]
    Busy,
    #[error("nobody accepts the connection")]
    Unreachable(#[source] io::Error),
    #[error("no answer came in {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the connection broke off")]
    Broken(#[source] io::Error),
}

impl Upstream {
    pub(crate) fn new(context: &Context, service: Service, connections: usize) -> Self {
        let (socket, open) = (context.socket_of(service), Semaphore::new(connections));
        Self { socket, open, idle: Mutex::default() }
    }

    /// The right to have one request open.
    ///
    /// # Errors
    ///
    /// If too many others have been for too long.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, Failure> {
        if let Ok(permit) = self.open.try_acquire() {
            return Ok(permit);
        }
        let permit = timeout(TURN_MAX, self.open.acquire()).await;
        permit.map_err(|_| Failure::Busy)?.map_err(|_| Failure::Busy)
    }

    /// The newest kept connection, if one still holds.
    pub(crate) fn take_idle(&self, now: Instant) -> Option<UnixStream> {
        loop {
            let (stream, since) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            // Nothing is to be read from it; if something is, then that the service has closed it.
            let quiet =
                matches!(stream.try_read(&mut [0]), Err(it) if it.kind() == io::ErrorKind::WouldBlock);
            if quiet && now.saturating_duration_since(since) <= KEEP_MAX {
                return Some(stream);
            }
        }
    }

    /// Takes back a connection whose answer is over.
    pub(crate) fn keep(&self, stream: UnixStream, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) > KEEP_MAX;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.first().is_some_and(|it| is_old(it.1)) {
            idle.retain(|it| !is_old(it.1));
        }
        if idle.len() < IDLE_MAX {
            idle.push((stream, now));
        }
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// If nobody accepts it.
    pub(crate) async fn connect(&self) -> Result<UnixStream, Failure> {
        let mut wait = Duration::from_millis(5);
        let connected = timeout(CONNECT_MAX, async {
            loop {
                match UnixStream::connect(&self.socket).await {
                    // The service's queue is full for now (connect(2), EAGAIN).
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(Duration::from_millis(200));
                    }
                    connected => return connected,
                }
            }
        });
        let connected = connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(Failure::Unreachable)
    }
}
