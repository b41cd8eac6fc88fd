//! A second front door for recordings that carry no token: it forwards to the services' sockets as our own uid, root,
//! which peer credentials make an administrator. The product has no such door.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use domain::Service;
use http::{HeaderName, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Prefix, service, and whether the prefix is taken off: the path table of the recorded gateway, and our own paths.
const ROUTES: [(&str, Service, bool); 17] = [
    ("/hsm/v2", Service::Inventory, false),
    ("/boot/v1", Service::Boot, false),
    ("/apis/bss", Service::Boot, true),
    ("/phone-home", Service::Boot, false),
    ("/cloud-init", Service::CloudInit, false),
    ("/cloud-init-secure", Service::CloudInit, false),
    ("/oauth2", Service::Auth, false),
    ("/token", Service::Auth, false),
    ("/.well-known", Service::Auth, false),
    ("/acme", Service::Ca, false),
    ("/transitions", Service::Power, false),
    ("/power-status", Service::Power, false),
    ("/power-cap", Service::Power, false),
    ("/liveness", Service::Power, false),
    ("/readiness", Service::Power, false),
    ("/health", Service::Power, false),
    ("/remote-console", Service::Console, false),
];

/// Headers that belong to one connection (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 4] =
    [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING, header::TE];

/// The door; it closes when dropped.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    // Aborted when dropped.
    _accepting: JoinSet<()>,
}

type Body = Either<Incoming, Full<Bytes>>;

impl Front {
    /// Opens the door.
    ///
    /// # Errors
    ///
    /// If the address is taken.
    pub async fn open(address: SocketAddr, sockets: PathBuf) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, sockets.into()));
        Ok(Self { address, _accepting: accepting })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The service behind a path, and the path as that service knows it.
#[must_use]
pub fn route(path: &str) -> Option<(Service, &str)> {
    if let Some(rest) = path.strip_prefix("/services/") {
        let end = rest.find('/').unwrap_or(rest.len());
        return Some((rest[..end].parse().ok()?, &rest[end..]));
    }
    ROUTES.iter().find_map(|(prefix, service, strip)| {
        let rest = path.strip_prefix(prefix).filter(|it| it.is_empty() || it.starts_with('/'))?;
        Some((*service, if *strip { rest } else { path }))
    })
}

async fn accept(listener: TcpListener, sockets: Arc<Path>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&sockets)));
                }
                Err(error) => eprintln!("the front cannot accept: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, sockets: Arc<Path>) {
    let service = service_fn(move |request| {
        let sockets = Arc::clone(&sockets);
        async move {
            let answer = forward(request, &sockets).await;
            Ok::<_, std::convert::Infallible>(
                answer.unwrap_or_else(|error| say(StatusCode::BAD_GATEWAY, format!("{error:#}\n"))),
            )
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        // A client that goes away is nothing to tell of; anything else shows in the test that it breaks.
        if !error.is_incomplete_message() {
            eprintln!("front: {error}");
        }
    }
}

async fn forward(request: Request<Incoming>, sockets: &Path) -> anyhow::Result<Response<Body>> {
    let (mut head, body) = request.into_parts();
    let Some((service, path)) = route(head.uri.path()) else {
        return Ok(say(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()));
    };
    let query = head.uri.query().map(|it| format!("?{it}")).unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    head.uri = format!("{path}{query}").parse::<Uri>().context("rewrite the path")?;
    for name in HOP_BY_HOP {
        head.headers.remove(name);
    }
    head.headers.insert("x-forwarded-proto", http::HeaderValue::from_static("http"));
    let socket = sockets.join(format!("{service}.sock"));
    let stream =
        UnixStream::connect(&socket).await.with_context(|| format!("connect to {}", socket.display()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut answer = sender.send_request(Request::from_parts(head, body)).await.context("forward")?;
    for name in HOP_BY_HOP {
        answer.headers_mut().remove(name);
    }
    Ok(answer.map(Either::Left))
}

fn say(status: StatusCode, text: String) -> Response<Body> {
    let mut answer = Response::new(Either::Right(Full::new(Bytes::from(text))));
    *answer.status_mut() = status;
    answer
}

/// GET from the door or any other plain HTTP server: status and text.
///
/// # Errors
///
/// If no answer comes.
pub async fn get(url: &str) -> anyhow::Result<(StatusCode, String)> {
    let request = Request::get(url).body(Full::<Bytes>::default())?;
    let answer = send(request).await?;
    let (head, body) = answer.into_parts();
    Ok((head.status, String::from_utf8_lossy(&body).into_owned()))
}

/// One request of its own connection, without TLS; the answer is read whole.
///
/// # Errors
///
/// If no answer comes.
pub async fn send(request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
    let scheme = request.uri().scheme_str();
    anyhow::ensure!(scheme == Some("http"), "only http: URLs are asked here, not {}", request.uri());
    let stream = connect(request.uri()).await?;
    send_over(stream, request).await
}

/// A connection to where a URL leads.
pub(crate) async fn connect(url: &Uri) -> anyhow::Result<TcpStream> {
    let host = url.authority().context("a URL needs a host")?;
    let port = host.port_u16().unwrap_or(80);
    TcpStream::connect((host.host(), port)).await.with_context(|| format!("connect to {host}"))
}

/// One request over a connection that ends with it.
pub(crate) async fn send_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Bytes>> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().context("a URL needs a host")?.clone();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    head.headers.insert(header::HOST, host.as_str().parse()?);
    head.uri = head.uri.path_and_query().map_or("/", |it| it.as_str()).parse()?;
    let answer = sender.send_request(Request::from_parts(head, body)).await.context("no answer")?;
    let (head, body) = answer.into_parts();
    Ok(Response::from_parts(head, body.collect().await.context("the answer broke off")?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use domain::Service;

    #[test]
    fn paths_lead_to_services() {
        assert_eq!(super::route("/hsm/v2/groups"), Some((Service::Inventory, "/hsm/v2/groups")));
        assert_eq!(super::route("/apis/bss/boot/v1/hosts"), Some((Service::Boot, "/boot/v1/hosts")));
        assert_eq!(super::route("/cloud-init-secure/x"), Some((Service::CloudInit, "/cloud-init-secure/x")));
        assert_eq!(super::route("/services/dhcp/metrics"), Some((Service::Dhcp, "/metrics")));
        assert_eq!(super::route("/services/cloud-init/readyz"), Some((Service::CloudInit, "/readyz")));
        assert_eq!(super::route("/hsm/v22"), None);
    }
}
