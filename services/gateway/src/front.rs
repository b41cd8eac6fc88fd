//! The two ports: accepting, TLS, and how many connections there may be.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use daemon::Context;
use domain::Service;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificate::{ALPN, Certificate, Shown};
use crate::config::Config;
use crate::limits::{Place, Sources};
use crate::model::Hop;
use crate::talk::converse;
use crate::upstream::Upstream;

/// A client that vanished is noticed by TCP after this time without a byte.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The port that URLs in refusals name.
pub(crate) const TLS_PORT: u16 = 8443;
/// How long accepting rests when the machine has no descriptor or memory for a connection, unless one ends before.
const REST_MAX: Duration = Duration::from_secs(1);
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
    upstreams: [Upstream; Service::ALL.len()],
    connections: Arc<Semaphore>,
    /// A connection has ended.
    freed: Arc<Notify>,
    sources: Sources,
}

/// One client's connection, and the places it holds.
pub(crate) struct Link {
    pub(crate) hop: Hop,
    pub(crate) tls: bool,
    /// None for a proxy, which has its own limits.
    source: Option<Place>,
    freed: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Link {
    /// Whether the client may ask now.
    pub(crate) fn may_ask(&self, now: Instant) -> bool {
        self.source.as_ref().is_none_or(|it| it.may_ask(now))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        OPEN.dec();
        self.freed.notify_one();
    }
}

impl Front {
    pub(crate) fn new(context: &Context, config: Config) -> Self {
        let each = config.connections_per_service;
        let upstreams = Service::ALL.map(|it| Upstream::new(context, it, each));
        let connections = Arc::new(Semaphore::new(connections_max(config.connections)));
        Self {
            https: format!("https://{}:{TLS_PORT}", context.document.cluster.service_name()),
            stop: context.stop.clone(),
            tasks: TaskTracker::new(),
            upstreams,
            connections,
            freed: Arc::default(),
            sources: Sources::new(config.allowance()),
            config,
        }
    }

    pub(crate) fn upstream(&self, service: Service) -> &Upstream {
        // In the order of the list they were made from.
        &self.upstreams[Service::ALL.iter().position(|it| *it == service).unwrap_or_default()]
    }

    /// Ends when every connection has.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The connection's places; none if its source has too many already.
    fn admit(&self, address: IpAddr, tls: bool, permit: OwnedSemaphorePermit) -> Option<Link> {
        let trusted = self.config.trusts(address);
        let place = if trusted { None } else { Some(self.sources.take_place(address, Instant::now())?) };
        let hop = Hop::new(address, trusted, tls);
        OPEN.inc();
        Some(Link { hop, tls, source: place, freed: Arc::clone(&self.freed), _permit: permit })
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
    // HTTP/2 would gain nobody here: nodes and command lines ask one thing after the other.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec(), ALPN.to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    // One will do; each costs as much as the rest of a resumed handshake.
    config.send_tls13_tickets = 1;
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
                // Somebody validates a name and has seen what it looks for (RFC 8737 section 3).
                Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN) => {}
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
                rest_after(front, &error).await;
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

/// What failed may be the one connection, which is no reason to keep others waiting (accept(2)). Without descriptors
/// or memory the next would fail as well until a connection ends.
async fn rest_after(front: &Front, error: &io::Error) {
    let of_machine = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    if !error.raw_os_error().is_some_and(|it| of_machine.contains(&it)) {
        tracing::debug!(%error, "a connection was gone before it was accepted");
        return tokio::task::yield_now().await;
    }
    tracing::warn!(%error, "cannot accept a connection until another ends; raise LimitNOFILE= of the unit");
    tokio::select! {
        () = front.freed.notified() => {}
        () = front.stop.cancelled() => {}
        () = tokio::time::sleep(REST_MAX) => {}
    }
}
