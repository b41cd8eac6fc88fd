//! The two ports: accepting, TLS, and how many connections there may be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use daemon::Context;
use domain::Service;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::certificate::{Certificate, Shown};
use crate::config::Config;
use crate::model::Hop;
use crate::stream::{Activity, Timed};
use crate::upstream::Upstream;

/// A request's head is at most this long; also what is read ahead of a body.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A client that vanished is noticed by TCP after this time without a byte.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The port that URLs in refusals name.
const TLS_PORT: u16 = 8443;
/// Descriptors that are not a client's connection and its service's.
const FILES_RESERVED: usize = 64;

static OPEN: LazyLock<Gauge> =
    LazyLock::new(|| web::gauge("gateway_connections", "Connections that are open"));
static TURNED_AWAY: LazyLock<Counter> = LazyLock::new(|| {
    web::counter("gateway_connections_refused", "Connections closed because their source has too many")
});
static HANDSHAKES_FAILED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("gateway_handshakes_failed", "TLS handshakes that did not end well"));

/// What the two ports share.
pub(crate) struct Front {
    pub(crate) config: Config,
    /// `https://demo.openchami.cluster:8443`
    pub(crate) https: String,
    pub(crate) stop: CancellationToken,
    /// Connections and tunnels.
    pub(crate) tasks: TaskTracker,
    upstreams: Vec<Arc<Upstream>>,
    connections: Arc<Semaphore>,
    sources: Arc<Sources>,
}

/// One client's connection, and the places it holds.
pub(crate) struct Link {
    pub(crate) hop: Hop,
    pub(crate) tls: bool,
    pub(crate) activity: Arc<Activity>,
    _source: Option<Place>,
    _permit: OwnedSemaphorePermit,
}

impl Front {
    pub(crate) fn new(context: &Context, config: Config) -> Self {
        let each = config.connections_per_service;
        let upstreams = Service::ALL.into_iter().map(|it| Upstream::new(context, it, each)).collect();
        let connections = Arc::new(Semaphore::new(connections_max(config.connections)));
        Self {
            https: format!("https://{}:{TLS_PORT}", context.document.cluster.service_name()),
            stop: context.stop.clone(),
            tasks: TaskTracker::new(),
            upstreams,
            connections,
            sources: Arc::new(Sources { most: config.connections_per_source, open: Mutex::default() }),
            config,
        }
    }

    pub(crate) fn upstream(&self, service: Service) -> &Arc<Upstream> {
        let found = self.upstreams.iter().find(|it| it.service() == service);
        found.unwrap_or(&self.upstreams[0])
    }

    /// Ends when every connection has.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The connection's places; none if its source has too many already.
    fn admit(&self, address: IpAddr, tls: bool, permit: OwnedSemaphorePermit) -> Option<Link> {
        let trusted = self.config.trusts(address);
        let place = if trusted { None } else { Some(self.sources.take_place(address)?) };
        let hop = Hop::new(address, trusted, tls);
        Some(Link { hop, tls, activity: Arc::default(), _source: place, _permit: permit })
    }
}

/// As many as the process may have descriptors for: two a connection.
fn connections_max(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|it| it.strip_prefix("Max open files"));
    let files: Option<usize> = files.and_then(|it| it.split_whitespace().next()?.parse().ok());
    let most = files.map_or(wanted, |it| it.saturating_sub(FILES_RESERVED) / 2).max(16);
    if most < wanted {
        tracing::warn!("only {most} connections at once instead of {wanted}: raise LimitNOFILE= of the unit");
    }
    wanted.min(most)
}

/// TLS 1.2 and 1.3, HTTP/1.1, and whichever certificate is the newest.
pub(crate) fn acceptor(certificate: &Arc<Certificate>) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(Arc::clone(certificate))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves HTTP until the stop.
pub(crate) async fn serve_plain(front: Arc<Front>, listener: TcpListener) {
    accept(&front, &listener, false, |stream, link| {
        let front = Arc::clone(&front);
        front.tasks.clone().spawn(async move { converse(front, stream, link).await });
    })
    .await;
}

/// Serves HTTPS until the stop. Until there is a certificate, clients wait as long as a handshake may take.
pub(crate) async fn serve_tls(
    front: Arc<Front>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
) {
    accept(&front, &listener, true, |stream, link| {
        let (front, acceptor, certificate) = (Arc::clone(&front), acceptor.clone(), Arc::clone(&certificate));
        front.tasks.clone().spawn(async move {
            let handshake = async {
                certificate.wait().await;
                acceptor.accept(stream).await
            };
            let made = tokio::select! {
                () = front.stop.cancelled() => return,
                made = timeout(front.config.header_timeout.0, handshake) => made,
            };
            match made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => converse(front, stream, link).await,
                Err(error) => {
                    HANDSHAKES_FAILED.inc();
                    tracing::debug!(%error, source = %link.hop.address, "a TLS handshake failed");
                }
            }
        });
    })
    .await;
}

async fn accept(front: &Front, listener: &TcpListener, tls: bool, mut begin: impl FnMut(TcpStream, Link)) {
    loop {
        let accepted = async {
            let permit = Arc::clone(&front.connections).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, address) = listener.accept().await?;
            io::Result::Ok((stream, address.ip().to_canonical(), permit))
        };
        let accepted = tokio::select! {
            () = front.stop.cancelled() => return,
            accepted = accepted => accepted,
        };
        let (stream, address, permit) = match accepted {
            Ok(it) => it,
            Err(error) => {
                // Out of descriptors, most likely: give those that are open time to end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
        let socket = socket2::SockRef::from(&stream);
        if let Err(error) = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive)) {
            tracing::debug!(%error, "a connection was gone before it began");
            continue;
        }
        match front.admit(address, tls, permit) {
            Some(link) => begin(stream, link),
            None => {
                TURNED_AWAY.inc();
                tracing::debug!("{address} has as many connections as one source may");
            }
        }
    }
}

async fn converse(
    front: Arc<Front>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    link: Link,
) {
    OPEN.inc();
    let link = Arc::new(link);
    let (head_max, idle_max) = (front.config.header_timeout.0, front.config.idle_timeout.0);
    let stream = Timed::new(stream, Arc::clone(&link.activity), head_max, idle_max);
    let stop = front.stop.clone();
    let service = service_fn(move |request| api::answer(Arc::clone(&front), Arc::clone(&link), request));
    let mut builder = hyper::server::conn::http1::Builder::new();
    // hyper counts from the end of the last answer; `Timed` counts from a head's first byte.
    builder.timer(TokioTimer::new()).header_read_timeout(idle_max).max_buf_size(HEAD_BYTES_MAX);
    // The buffer may come to hold more than its size, so heads are measured by themselves.
    builder.max_header_size(HEAD_BYTES_MAX);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
    OPEN.dec();
}

/// How many connections each source has.
struct Sources {
    most: u32,
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// A source's place for one connection, until it is dropped.
struct Place {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    fn take_place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { sources: Arc::clone(self), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sources.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = open.entry(self.source) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// One machine has a whole /64 of IPv6 addresses to come from.
fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => Ipv6Addr::from(u128::from(it) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::Sources;

    #[test]
    fn a_source_has_its_places_and_gets_them_back() {
        let sources = Arc::new(Sources { most: 2, open: Mutex::default() });
        let take = |it: &str| sources.take_place(it.parse().unwrap());
        let first = take("fd00::1");
        let second = take("fd00::2");
        assert!(first.is_some() && second.is_some() && take("fd00::3").is_none());
        assert!(take("fd00:0:0:1::1").is_some() && take("10.0.0.1").is_some());
        drop(first);
        assert!(take("fd00::3").is_some());
        drop(second);
        assert!(sources.open.lock().unwrap().is_empty());
    }
}
