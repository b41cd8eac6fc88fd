//! The services behind: one pool of kept connections each.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Context;
use domain::Service;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::body::{End, Progress, Upload};

/// How long a request waits while as many as allowed are open towards its service.
const TURN_MAX: Duration = Duration::from_secs(5);
/// How long a service may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an answer's head may take: the services give up by themselves after 60 s.
const HEAD_MAX: Duration = Duration::from_secs(65);
/// A kept connection is used again within this time: the services close idle ones after 10 s.
const KEEP_MAX: Duration = Duration::from_secs(5);
/// How many idle connections a pool keeps.
const IDLE_MAX: usize = 256;

/// A service behind.
#[derive(Debug)]
pub(crate) struct Upstream {
    service: Service,
    socket: PathBuf,
    open: Arc<Semaphore>,
    /// Newest last, which is used first, so that the rest gets old and goes.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A connection in use, and the right to use it.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<Upload>,
    upstream: Arc<Upstream>,
    progress: Option<Progress>,
    _permit: OwnedSemaphorePermit,
}

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("too many requests to it are open")]
    Busy,
    #[error("nobody accepts the connection")]
    Unreachable(#[source] io::Error),
    #[error("no answer came in {} s", HEAD_MAX.as_secs())]
    Silent,
    #[error("the connection broke off")]
    Broken(#[source] hyper::Error),
}

impl Upstream {
    pub(crate) fn new(context: &Context, service: Service, connections: usize) -> Arc<Self> {
        let open = Arc::new(Semaphore::new(connections));
        Arc::new(Self { service, socket: context.socket_of(service), open, idle: Mutex::default() })
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// Sends a request and waits for the answer's head. A kept connection that was closed meanwhile is not
    /// the client's fault: what was not sent is sent on another, and what only reads once more on a new one.
    ///
    /// # Errors
    ///
    /// Why no answer comes.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Upload>,
        progress: Option<Progress>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let permit = self.permit().await?;
        let repeatable = progress.is_none() && matches!(*request.method(), Method::GET | Method::HEAD);
        while let Some(mut sender) = self.take_idle().await {
            let copy = repeatable.then(|| copy_head(&request));
            match timeout(HEAD_MAX, sender.try_send_request(request)).await {
                Err(_) => return Err(Failure::Silent),
                Ok(Ok(response)) => return Ok((response, self.lease(sender, permit, progress))),
                Ok(Err(mut error)) => match (error.take_message(), copy) {
                    (Some(unsent), _) => request = unsent,
                    (None, Some(copy)) => {
                        request = copy;
                        break;
                    }
                    (None, None) => return Err(Failure::Broken(error.into_error())),
                },
            }
        }
        self.send_anew(request, permit, progress).await
    }

    /// Sends a request on a new connection.
    async fn send_anew(
        self: &Arc<Self>,
        request: Request<Upload>,
        permit: OwnedSemaphorePermit,
        progress: Option<Progress>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let mut sender = timeout(CONNECT_MAX, self.connect())
            .await
            .unwrap_or_else(|_| Err(Failure::Unreachable(io::ErrorKind::TimedOut.into())))?;
        let answer = timeout(HEAD_MAX, sender.send_request(request)).await.map_err(|_| Failure::Silent)?;
        let response = answer.map_err(Failure::Broken)?;
        Ok((response, self.lease(sender, permit, progress)))
    }

    fn lease(
        self: &Arc<Self>,
        sender: SendRequest<Upload>,
        permit: OwnedSemaphorePermit,
        progress: Option<Progress>,
    ) -> Lease {
        Lease { sender, upstream: Arc::clone(self), progress, _permit: permit }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = Arc::clone(&self.open).try_acquire_owned() {
            return Ok(permit);
        }
        let permit = timeout(TURN_MAX, Arc::clone(&self.open).acquire_owned()).await;
        permit.map_err(|_| Failure::Busy)?.map_err(|_| Failure::Busy)
    }

    /// The newest kept connection that still holds.
    async fn take_idle(&self) -> Option<SendRequest<Upload>> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            let mut sender = idle.sender;
            if idle.since.elapsed() > KEEP_MAX || sender.is_closed() {
                continue;
            }
            // Its task may be about to see the last answer's end.
            if sender.is_ready() || matches!(timeout(KEEP_MAX, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: SendRequest<Upload>) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= IDLE_MAX || idle.first().is_some_and(|it| now - it.since > KEEP_MAX) {
            idle.retain(|it| now - it.since <= KEEP_MAX && !it.sender.is_closed());
        }
        if idle.len() < IDLE_MAX {
            idle.push(Idle { sender, since: now });
        }
    }

    async fn connect(&self) -> Result<SendRequest<Upload>, Failure> {
        let mut wait = Duration::from_millis(5);
        let stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                // The service's queue is full for now (connect(2), EAGAIN); our caller bounds the time.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_millis(200));
                }
                Err(error) => return Err(Failure::Unreachable(error)),
            }
        };
        let made = Builder::new().max_buf_size(256 << 10).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(Failure::Broken)?;
        let service = self.service;
        // Ends with the sender; what goes wrong is told to whoever waits for the answer.
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to {service} ended badly");
            }
        });
        Ok(sender)
    }
}

impl Lease {
    /// The answer is over: the connection is free, unless the request's body is still on its way.
    pub(crate) fn give_back(self) {
        let Self { sender, upstream, progress, _permit } = self;
        if !sender.is_closed() && progress.is_none_or(|it| it.end() == End::Complete) {
            upstream.keep(sender);
        }
    }
}

/// A request without a body once more.
fn copy_head(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
