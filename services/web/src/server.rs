//! Serving a router on sockets, with the bounds that every service has.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::Context;
use domain::Scope;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{Guard, Peer, Problem, Verifier, metrics, scoped};

/// The longest body that is taken: 10,000 components are about 2 MB.
pub const BODY_MAX: usize = 16 << 20;
/// Connections open at once on all sockets of a service; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8192;
/// How long a request's head may take to arrive.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a request may take to be answered, its body's arrival included; streams begin within it.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// How long sent bytes may stay unacknowledged before a TCP connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long answers under way may take at a stop; below the 10 s that a service has.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// How long a connection on which nothing was asked yet is kept at a stop, for a request that is on its way.
const FRESH_MAX: Duration = Duration::from_millis(200);

static REQUESTS: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter("http_requests", "HTTP requests answered"));

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
    let socket = context.sockets().unix("http").context("take the inherited socket")?;
    let verifier = Arc::new(Verifier::new(&context.document)?);
    let router = finish(router, Guard { service: context.service, verifier: Arc::clone(&verifier) });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stop = &context.stop;
    let tracker = TaskTracker::new();
    let keys = verifier.follow(Verifier::issuer_socket(context), stop.clone());
    let unix = accept_unix(socket, router.clone(), Arc::clone(&connections), stop.clone(), tracker.clone());
    let inet = tcp
        .into_iter()
        .map(|it| accept_tcp(it, router.clone(), Arc::clone(&connections), stop.clone(), tracker.clone()));
    tokio::join!(keys, unix, futures_util::future::join_all(inet));
    tracker.close();
    if tokio::time::timeout(DRAIN_MAX, tracker.wait()).await.is_err() {
        tracing::info!("{} connections are cut off by the stop", tracker.len());
    }
    Ok(())
}

/// The router with what every service has.
fn finish(router: Router, guard: Guard) -> Router {
    let common = Router::new()
        .route("/healthz", get(async || StatusCode::NO_CONTENT))
        .route("/metrics", scoped(get(metrics::show), Scope::MetricsRead));
    router
        .merge(common)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(bound))
        .layer(axum::Extension(guard))
}

async fn bound(request: Request, next: Next) -> Response {
    REQUESTS.inc();
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took more than 60 s").into_response()
        }
    }
}

async fn accept_unix(
    listener: UnixListener,
    router: Router,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    while let Some(permit) = next_permit(&connections, &stop).await {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let peer = stream.peer_cred().map(|it| Peer::of_uid(it.uid())).unwrap_or_default();
                    tracker.spawn(converse(stream, peer, router.clone(), stop.clone(), permit));
                }
                Err(error) => pause(&error).await,
            }
        }
    }
}

async fn accept_tcp(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    while let Some(permit) = next_permit(&connections, &stop).await {
        tokio::select! {
            () = stop.cancelled() => return,
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
                    tracker.spawn(converse(stream, peer, router.clone(), stop.clone(), permit));
                }
                Err(error) => pause(&error).await,
            }
        }
    }
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// Room for one more connection; none once `stop` is cancelled.
async fn next_permit(connections: &Arc<Semaphore>, stop: &CancellationToken) -> Option<Permit> {
    tokio::select! {
        () = stop.cancelled() => None,
        permit = Arc::clone(connections).acquire_owned() => permit.ok(),
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
    router: Router,
    stop: CancellationToken,
    permit: Permit,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let (asks, stopping) = (Arc::clone(&asked), Stopping(stop.clone()));
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        asks.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(stopping.clone());
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
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
