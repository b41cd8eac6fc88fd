//! Serving a router on sockets, with the bounds that every service has.

mod body;
mod stream;

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::Context;
use domain::Scope;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{Guard, Peer, Problem, Verifier, audit, metrics, openapi, scoped};
use body::Taken;

pub use stream::Unread;

/// The longest body that is taken: 10,000 components are about 2 MB.
pub const BODY_MAX: usize = 16 << 20;
/// Connections open at once on all sockets of a service; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8192;
/// How long sent bytes may stay unacknowledged before a TCP connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest head; a longer one is answered 431.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Where every service says what it answers.
const ROUTES: &str = "/pilothouse/v1/routes";

/// How long answers under way may take at a stop; below the 10 s that a service has.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// How long a connection on which nothing was asked yet is kept at a stop, for a request that is on its way.
const FRESH_MAX: Duration = Duration::from_millis(200);

static REQUESTS: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter("http_requests", "HTTP requests answered"));

/// How long a client may take. The product has the defaults; tests have less patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For a request's head.
    pub head: Duration,
    /// For the next piece of a request's body.
    pub piece: Duration,
    /// For a whole request and the beginning of its answer; streams begin within it.
    pub request: Duration,
    /// For taking the next piece of its answer.
    pub unread: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let second = Duration::from_secs;
        Self { head: second(10), piece: second(20), request: second(60), unread: second(60) }
    }
}

/// Serves a service's router on its socket `http` until the context's stop. Adds `/healthz`, `/metrics`, the guard
/// that verifies callers, and the bounds; follows the token issuer's keys meanwhile.
///
/// # Errors
///
/// If the socket was not handed over.
pub async fn serve(context: &Context, router: Router) -> anyhow::Result<()> {
    serve_all(context, router, Vec::new()).await
}

/// As [`serve`], and on TCP sockets too.
///
/// # Errors
///
/// If the socket was not handed over.
pub async fn serve_all(context: &Context, router: Router, tcp: Vec<TcpListener>) -> anyhow::Result<()> {
    serve_bounded(context, router, tcp, Bounds::default()).await
}

/// As [`serve_all`], with other bounds.
///
/// # Errors
///
/// If the socket was not handed over.
pub async fn serve_bounded(
    context: &Context,
    router: Router,
    tcp: Vec<TcpListener>,
    bounds: Bounds,
) -> anyhow::Result<()> {
    let socket = context.sockets().unix("http").context("take the inherited socket")?;
    let verifier = Arc::new(Verifier::new(&context.document)?);
    let keys = verifier.follow(Verifier::issuer_socket(context), context.stop.clone());
    let door = Arc::new(Door {
        router: finish(router),
        guard: Guard { service: context.service, verifier: Arc::clone(&verifier) },
        bounds,
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        stop: context.stop.clone(),
        tracker: TaskTracker::new(),
    });
    let unix = accept_unix(socket, &door);
    let inet = futures_util::future::join_all(tcp.into_iter().map(|it| accept_tcp(it, &door)));
    tokio::join!(keys, unix, inet);
    door.tracker.close();
    if tokio::time::timeout(DRAIN_MAX, door.tracker.wait()).await.is_err() {
        tracing::info!("{} connections are cut off by the stop", door.tracker.len());
    }
    Ok(())
}

/// What every connection of a service needs.
struct Door {
    router: Router,
    guard: Guard,
    bounds: Bounds,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// The router with what every service has.
fn finish(router: Router) -> Router {
    let common = Router::new()
        .route("/healthz", get(async || StatusCode::NO_CONTENT))
        .route("/metrics", scoped(get(metrics::show), Scope::MetricsRead));
    let router = router.merge(common);
    // The routes as they are, for the table of rights: `GET /path`. What is below a fallback is in the OpenAPI document.
    let mut routes = openapi::list_routes(&format!("{router:?}"));
    routes.insert(format!("GET {ROUTES}"));
    let show_routes = get(async move || crate::Json(routes));
    // `Taken` counts instead, for every way in which a body is read.
    router.route(ROUTES, scoped(show_routes, Scope::MetricsRead)).layer(DefaultBodyLimit::disable())
}

async fn accept_unix(listener: UnixListener, door: &Arc<Door>) {
    while let Some(permit) = next_permit(door).await {
        tokio::select! {
            () = door.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let peer = stream.peer_cred().map(|it| Peer::of_uid(it.uid())).unwrap_or_default();
                    door.tracker.spawn(converse(stream, peer, Arc::clone(door), permit));
                }
                Err(error) => pause(&error).await,
            }
        }
    }
}

async fn accept_tcp(listener: TcpListener, door: &Arc<Door>) {
    while let Some(permit) = next_permit(door).await {
        tokio::select! {
            () = door.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection stays with Nagle's algorithm");
                    }
                    // A node that was switched off in the middle of a transfer answers nothing any more.
                    let silence = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE_MAX));
                    if let Err(error) = silence {
                        tracing::debug!(%error, "a connection may stay after its peer is gone");
                    }
                    let peer = Peer::of_address(address.ip().to_canonical());
                    door.tracker.spawn(converse(stream, peer, Arc::clone(door), permit));
                }
                Err(error) => pause(&error).await,
            }
        }
    }
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// Room for one more connection; none once the service stops.
async fn next_permit(door: &Door) -> Option<Permit> {
    tokio::select! {
        () = door.stop.cancelled() => None,
        permit = Arc::clone(&door.connections).acquire_owned() => permit.ok(),
    }
}

/// Out of descriptors, most likely: gives those that are open time to end.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// In every request: cancelled when the service stops, for answers that would go on for ever.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(pub(crate) CancellationToken);

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    door: Arc<Door>,
    permit: Permit,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let (asks, asked_of) = (Arc::clone(&asked), Arc::clone(&door));
    let service = service_fn(move |request| {
        asks.store(true, Ordering::Relaxed);
        answer(Arc::clone(&asked_of), peer.clone(), request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(door.bounds.head).max_buf_size(HEAD_BYTES_MAX);
    let stream = Unread::new(stream, door.bounds.unread);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = door.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // hyper would wait for a first request, for as long as a head may take.
            match tokio::time::timeout(FRESH_MAX, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) if asked.load(Ordering::Relaxed) => connection.await,
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
    drop(permit);
}

/// One request, within its bounds.
async fn answer(door: Arc<Door>, peer: Peer, request: Request<Incoming>) -> Result<Response, Infallible> {
    REQUESTS.inc();
    let (mut head, body) = request.into_parts();
    let (body, fault) = Taken::bound(body, &head.headers, door.bounds.piece);
    if let Some(problem) = fault.as_ref().and_then(|it| it.problem()) {
        // Dropped, the body is read to its end, so that the client gets to read this.
        return Ok(problem.into_response());
    }
    head.extensions.insert(peer);
    head.extensions.insert(door.guard.clone());
    head.extensions.insert(Stopping(door.stop.clone()));
    let answered = audit::watched(door.router.clone().oneshot(Request::from_parts(head, body)));
    let Ok(answered) = tokio::time::timeout(door.bounds.request, answered).await else {
        let detail = format!("the request took more than {} s", door.bounds.request.as_secs());
        return Ok(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response());
    };
    // Whatever the handler makes of a body that broke off, this is why.
    match fault.as_ref().and_then(|it| it.problem()) {
        Some(problem) => Ok(problem.into_response()),
        None => answered,
    }
}
