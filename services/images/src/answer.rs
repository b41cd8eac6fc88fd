//! The port that nodes fetch from: HTTP/1.1 on TCP, files alone, sent by the kernel from its memory.

mod head;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use web::Problem;

use crate::event::{Asked, Course};
use crate::floor::{Floor, Found};
use crate::model::{Plan, Span, plan};
use crate::send::{Broken, UNREAD_MAX, send_bytes, send_file};
use crate::wire::{Bad, HEAD_MAX, Head, Method, Request, read_request};

use head::{Parts, begin, describe};

/// How long a head may take, from its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may rest between two requests.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long answers under way may take at a stop; below the 10 s that a service has.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// How long accepting rests when the machine has nothing left for a connection.
const REST: Duration = Duration::from_millis(50);
/// Descriptors that are not a connection and its file.
const FILES_RESERVED: usize = 128;
/// What is read of a request that was refused, and for how long.
const LINGER_MAX: usize = 1 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);
/// The longest problem document.
const PROBLEM_MAX: usize = 64 << 10;

static OPEN: LazyLock<Gauge> =
    LazyLock::new(|| web::gauge("images_connections", "Connections of nodes that are open"));
static REQUESTS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("images_requests", "Requests for files answered"));
static BYTES: LazyLock<Counter> = LazyLock::new(|| web::counter("images_bytes", "Bytes of files sent"));
static BROKEN: LazyLock<Counter> =
    LazyLock::new(|| web::counter("images_broken", "Files whose transfer broke off"));
static TURNED_AWAY: LazyLock<Counter> = LazyLock::new(|| {
    web::counter("images_connections_refused", "Connections refused because their source has too many")
});

/// The port.
pub(crate) struct Door {
    floor: Arc<Floor>,
    connections: Arc<Semaphore>,
    sources: Mutex<HashMap<IpAddr, usize>>,
    tracker: TaskTracker,
}

/// A connection's place among those of its source.
struct Place {
    door: Arc<Door>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.dec();
        let mut sources = self.door.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.address);
            }
        }
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Next,
    Close,
}

impl Door {
    pub(crate) fn new(floor: Arc<Floor>) -> Arc<Self> {
        let files = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map_or(1024, |it| usize::try_from(it.0).unwrap_or(usize::MAX));
        let wanted = floor.config.connections;
        let most = (files.saturating_sub(FILES_RESERVED) / 2).max(16);
        if most < wanted {
            tracing::warn!(
                "only {most} connections at once instead of {wanted}: raise LimitNOFILE= of the unit"
            );
        }
        let connections = Arc::new(Semaphore::new(wanted.min(most)));
        Arc::new(Self { floor, connections, sources: Mutex::default(), tracker: TaskTracker::new() })
    }

    /// Serves until the stop, and ends what is under way.
    pub(crate) async fn serve(self: &Arc<Self>, listeners: Vec<TcpListener>) {
        futures_util::future::join_all(listeners.into_iter().map(|it| self.accept(it))).await;
        self.tracker.close();
        if tokio::time::timeout(DRAIN_MAX, self.tracker.wait()).await.is_err() {
            tracing::info!("{} transfers are cut off by the stop", self.tracker.len());
        }
    }

    async fn accept(self: &Arc<Self>, listener: TcpListener) {
        let stop = &self.floor.context.stop;
        loop {
            let accepted = async {
                let permit = Arc::clone(&self.connections).acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = accepted => accepted,
            };
            let (stream, address) = match (permit, accepted) {
                (Err(_), _) => return,
                (Ok(permit), Ok((stream, address))) => (stream, (address.ip().to_canonical(), permit)),
                (Ok(_), Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            // A node that was switched off in the middle of a transfer answers nothing any more.
            let silence = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX));
            if let Err(error) = stream.set_nodelay(true).and(silence) {
                tracing::debug!(%error, "a connection was gone before it began");
                continue;
            }
            let (address, permit) = address;
            let place = self.admit(address, permit);
            let door = Arc::clone(self);
            self.tracker.spawn(async move { door.converse(stream, address, place).await });
        }
    }

    /// None if the source has too many connections.
    fn admit(self: &Arc<Self>, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sources.entry(address).or_insert(0);
        if *count >= self.floor.config.connections_per_source {
            TURNED_AWAY.inc();
            return None;
        }
        *count += 1;
        OPEN.inc();
        Some(Place { door: Arc::clone(self), address, _permit: permit })
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, address: IpAddr, place: Option<Place>) {
        let mut talk = Talk { door: &self, stream, address, inbox: Vec::new(), head: Vec::new() };
        if place.is_none() {
            let detail = "too many connections from this address; try again in some seconds";
            talk.refuse(&Ask::nothing(), Problem::unavailable(detail)).await;
            return;
        }
        while talk.next().await == Then::Next {}
    }
}

/// What an answer needs to know of its request.
#[derive(Clone, Copy, Debug)]
struct Ask {
    is_head: bool,
    keeps: bool,
    is_old: bool,
}

impl Ask {
    fn nothing() -> Self {
        Self { is_head: false, keeps: false, is_old: false }
    }
}

/// One connection.
struct Talk<'a> {
    door: &'a Door,
    stream: TcpStream,
    address: IpAddr,
    inbox: Vec<u8>,
    head: Vec<u8>,
}

impl Talk<'_> {
    /// Takes a request and answers it.
    async fn next(&mut self) -> Then {
        let request = match self.read().await {
            Ok(Some(request)) => request,
            Ok(None) => return Then::Close,
            Err(bad) => {
                let status = match bad {
                    Bad::TooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    Bad::Unreadable | Bad::Body | Bad::Host => StatusCode::BAD_REQUEST,
                };
                return self.refuse(&Ask::nothing(), Problem::new(status, bad.to_string())).await;
            }
        };
        REQUESTS.inc();
        self.inbox.drain(..request.length);
        let stopping = self.door.floor.context.stop.is_cancelled();
        let is_head = request.method == Method::Head;
        let ask = Ask { is_head, keeps: request.keeps && !stopping, is_old: request.is_old };
        if request.method == Method::Other {
            let detail = "files are fetched by GET; everything else goes through the gateway";
            return self.refuse(&ask, Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)).await;
        }
        if request.path == "/healthz" {
            Head::begin(&mut self.head, 204).end(ask.keeps, ask.is_old);
            return self.tell(&ask).await;
        }
        self.answer(&request, &ask).await
    }

    /// The next request; none if there is none.
    async fn read(&mut self) -> Result<Option<Request>, Bad> {
        let mut until = Instant::now() + IDLE_MAX;
        let mut begun = false;
        loop {
            if !self.inbox.is_empty() {
                if let Some(request) = read_request(&self.inbox)? {
                    return Ok(Some(request));
                }
                if !begun {
                    (begun, until) = (true, Instant::now() + HEAD_TIME);
                }
            }
            let stop = &self.door.floor.context.stop;
            let readable = tokio::select! {
                biased;
                readable = timeout_at(until, self.stream.readable()) => readable,
                () = stop.cancelled() => return Ok(None),
            };
            let Ok(Ok(())) = readable else { return Ok(None) };
            self.inbox.reserve(HEAD_MAX);
            match self.stream.try_read_buf(&mut self.inbox) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(None),
            }
        }
    }

    async fn answer(&mut self, request: &Request, ask: &Ask) -> Then {
        let floor = &self.door.floor;
        let found = match floor.find(&request.path, request.query.as_deref()).await {
            Ok(found) => found,
            Err(missing) => {
                let asked = Asked::of(floor, &request.path, self.address);
                let problem = asked.refused(&missing);
                return self.refuse(ask, problem).await;
            }
        };
        let known = &found.opened.known;
        let planned = plan(&request.fields, ask.is_head, known);
        let spans = match &planned {
            Plan::Failed => {
                let detail = "the file is another one now";
                return self.refuse(ask, Problem::new(StatusCode::PRECONDITION_FAILED, detail)).await;
            }
            Plan::Unchanged => {
                describe(&mut Head::begin(&mut self.head, 304), &found).end(ask.keeps, ask.is_old);
                return self.tell(ask).await;
            }
            Plan::Nothing => {
                let mut head = Head::begin(&mut self.head, 416);
                let head = describe(&mut head, &found);
                head.field("content-range", format_args!("bytes */{}", known.length));
                head.field("content-length", 0).end(ask.keeps, ask.is_old);
                return self.tell(ask).await;
            }
            Plan::Whole if known.length == 0 => Vec::new(),
            Plan::Whole => vec![Span { first: 0, last: known.length - 1 }],
            Plan::Parts(spans) => spans.clone(),
        };
        let parts = begin(&mut self.head, &planned, &spans, &found, ask);
        if ask.is_head {
            return self.tell(ask).await;
        }
        let _busy = floor.digests.note_busy();
        let mut course = Course::new(floor, &found, self.address, &spans);
        let sent = self.send(&found, &spans, &parts, course.sent()).await;
        BYTES.inc_by(*course.sent());
        course.end(sent);
        match sent {
            Ok(()) if ask.keeps => Then::Next,
            Ok(()) => Then::Close,
            Err(_) => {
                BROKEN.inc();
                Then::Close
            }
        }
    }

    /// The head, then each part with what is written before it.
    async fn send(&self, found: &Found, spans: &[Span], parts: &Parts, sent: &mut u64) -> Result<(), Broken> {
        send_bytes(&self.stream, &self.head, !spans.is_empty()).await?;
        for (at, span) in spans.iter().enumerate() {
            if let Some(before) = parts.before.get(at) {
                send_bytes(&self.stream, before.as_bytes(), true).await?;
            }
            send_file(&self.stream, &found.opened.file, *span, sent).await?;
        }
        send_bytes(&self.stream, parts.after.as_bytes(), false).await
    }

    /// Sends the head alone.
    async fn tell(&mut self, ask: &Ask) -> Then {
        match send_bytes(&self.stream, &self.head, false).await {
            Ok(()) if ask.keeps => Then::Next,
            _ => Then::Close,
        }
    }

    async fn refuse(&mut self, ask: &Ask, problem: Problem) -> Then {
        let (parts, body) = problem.into_response().into_parts();
        let body = to_bytes(body, PROBLEM_MAX).await.unwrap_or_default();
        let mut head = Head::begin(&mut self.head, parts.status.as_u16());
        for (name, value) in &parts.headers {
            if name != "content-length" {
                head.field(name.as_str(), value.to_str().unwrap_or_default());
            }
        }
        if parts.status == StatusCode::METHOD_NOT_ALLOWED {
            head.field("allow", "GET, HEAD");
        }
        head.field("content-length", body.len()).end(ask.keeps, ask.is_old);
        if !ask.is_head {
            self.head.extend_from_slice(&body);
        }
        let then = self.tell(ask).await;
        if then == Then::Close {
            self.linger().await;
        }
        then
    }

    /// Reads what is still on its way, for a moment: a connection that is closed over it may lose the answer.
    async fn linger(&mut self) {
        if socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let until = Instant::now() + LINGER_TIME;
        let mut left = LINGER_MAX;
        while left > 0 {
            let Ok(Ok(())) = timeout_at(until, self.stream.readable()).await else { return };
            self.inbox.clear();
            self.inbox.reserve(HEAD_MAX);
            match self.stream.try_read_buf(&mut self.inbox) {
                Ok(0) => return,
                Ok(length) => left = left.saturating_sub(length),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}
