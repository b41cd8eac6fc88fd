//! A head with a gateway, stand-ins for the services behind it, and clients.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use daemon::{Address, Context, Paths};
use domain::{Document, Service};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, SanType,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A folder for everything, and a root that clients trust.
pub(crate) struct Head {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: Arc<Authority>,
    table: String,
}

/// The gateway in this process, until it is dropped.
pub(crate) struct Gateway {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// ca, as far as the gateway knows it.
pub(crate) struct Authority {
    root_pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// How long its certificates live.
    life: Duration,
    pub(crate) issued: AtomicUsize,
    pub(crate) refuses: AtomicBool,
}

impl Head {
    pub(crate) fn new(table: &str, life: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::new(life));
        std::fs::write(folder.path().join("root.pem"), &authority.root_pem).unwrap();
        Self { folder, authority, table: table.to_owned() }
    }

    /// A head whose ca answers and whose other services tell what reached them.
    pub(crate) async fn started(table: &str) -> (Self, Gateway) {
        let head = Self::new(table, Duration::from_secs(3600));
        head.serve(Service::Ca, head.ca());
        for service in [Service::Inventory, Service::Boot, Service::CloudInit, Service::Auth] {
            head.serve(service, telling(service));
        }
        let gateway = head.start();
        gateway.ready(&head).await;
        (head, gateway)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    pub(crate) fn socket(&self, service: Service) -> PathBuf {
        self.folder.path().join(format!("{service}.sock"))
    }

    pub(crate) fn ca(&self) -> Router {
        let root = self.authority.root_pem.clone();
        Router::new()
            .route("/pilothouse/v1/head-certificate", post(certify))
            .route("/pilothouse/v1/root.pem", get(async || root))
            .with_state(Arc::clone(&self.authority))
    }

    /// Runs a stand-in; the number counts its connections.
    pub(crate) fn serve(&self, service: Service, router: Router) -> Arc<AtomicUsize> {
        let accepted = Arc::new(AtomicUsize::new(0));
        let listener = UnixListener::bind(self.socket(service)).unwrap();
        let listener = Counted { listener, accepted: Arc::clone(&accepted) };
        tokio::spawn(async move { axum::serve(listener, router).await });
        accepted
    }

    pub(crate) fn start(&self) -> Gateway {
        let (plain, tls) = (free_address(), free_address());
        let text = format!(
            "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[gateway]\n{}\n",
            self.table
        );
        let path = self.folder.path();
        let paths = Paths {
            config: path.join("pilothouse.toml"),
            run: path.to_owned(),
            state: path.join("state"),
            credentials: Some(self.credentials()),
        };
        let listen = vec![
            ("http".to_owned(), Address::Unix(self.socket(Service::Gateway))),
            ("plain".to_owned(), Address::Tcp(plain)),
            ("tls".to_owned(), Address::Tcp(tls)),
        ];
        let stop = CancellationToken::new();
        let document = Document::parse(&text).unwrap();
        let context = Context::new(Service::Gateway, paths, document, listen, stop.clone()).unwrap();
        let ended = tokio::spawn(gateway::serve(context));
        Gateway { plain, tls, stop, ended }
    }

    /// A folder with the sealing key, and what a test has put there.
    pub(crate) fn credentials(&self) -> PathBuf {
        let folder = self.folder.path().join("credentials");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("gateway.seal-key"), [7; 32]).unwrap();
        folder
    }

    /// What the gateway wrote beside its health issues, or its health issues.
    pub(crate) fn report(&self, file: &str) -> Value {
        let text = std::fs::read(self.folder.path().join("gateway").join(file)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }
}

impl Gateway {
    /// Waits until it has a certificate.
    pub(crate) async fn ready(&self, head: &Head) {
        until(async || {
            let stream = UnixStream::connect(head.socket(Service::Gateway)).await.unwrap();
            let mut sender = sender(stream).await;
            let request = Request::get("/readyz").header("host", "x").body(Full::default()).unwrap();
            sender.send_request(request).await.unwrap().status() == StatusCode::OK
        })
        .await;
    }

    /// A connection to the plain port.
    pub(crate) async fn plain(&self) -> SendRequest<Full<Bytes>> {
        sender(TcpStream::connect(self.plain).await.unwrap()).await
    }

    /// A connection to the TLS port that verifies as any client does.
    pub(crate) async fn tls(&self, head: &Head, name: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.tls).await?;
        let name = ServerName::try_from(name.to_owned())?;
        let stream = connector(&head.root()).connect(name, stream).await?;
        Ok(sender(stream).await)
    }

    /// One request to the TLS port.
    pub(crate) async fn ask(&self, head: &Head, request: Request<Full<Bytes>>) -> (Response<()>, String) {
        let mut sender = self.tls(head, "demo.openchami.cluster").await.unwrap();
        read(sender.send_request(request).await.unwrap()).await
    }

    /// One request to the plain port.
    pub(crate) async fn ask_plain(&self, request: Request<Full<Bytes>>) -> (Response<()>, String) {
        read(self.plain().await.send_request(request).await.unwrap()).await
    }
}

impl Authority {
    fn new(life: Duration) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { root_pem, issuer, life, issued: AtomicUsize::new(0), refuses: AtomicBool::new(false) }
    }
}

impl Authority {
    /// A certificate for a key of somebody's.
    pub(crate) fn sign(&self, key: &KeyPair, name: &str) -> String {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

async fn certify(State(authority): State<Arc<Authority>>, Json(body): Json<Value>) -> Response {
    if authority.refuses.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    authority.issued.fetch_add(1, Ordering::SeqCst);
    let mut request = CertificateSigningRequestParams::from_pem(body["csr_pem"].as_str().unwrap()).unwrap();
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let params = &mut request.params;
    (params.not_before, params.not_after) = (now, now + authority.life);
    let names = ["demo.openchami.cluster", "localhost"].map(|it| SanType::DnsName(it.try_into().unwrap()));
    params.subject_alt_names = names.into();
    params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let chain_pem = request.signed_by(&authority.issuer).unwrap().pem();
    let show = |it: OffsetDateTime| it.format(&Rfc3339).unwrap();
    let (not_before, not_after) = (show(now), show(now + authority.life));
    Json(json!({"chain_pem": chain_pem, "not_before": not_before, "not_after": not_after})).into_response()
}

/// A stand-in that answers with what reached it.
pub(crate) fn telling(service: Service) -> Router {
    Router::new().fallback(async move |request: Request| {
        let (head, body) = request.into_parts();
        let headers: Vec<_> =
            head.headers.iter().map(|it| json!([it.0.as_str(), it.1.to_str().unwrap()])).collect();
        let Ok(body) = body.collect().await else { return StatusCode::BAD_REQUEST.into_response() };
        let told = json!({
            "service": service.name(),
            "method": head.method.as_str(),
            "uri": head.uri.to_string(),
            "headers": headers,
            "bytes": body.to_bytes().len(),
        });
        Json(told).into_response()
    })
}

/// All values of a header that reached a stand-in.
pub(crate) fn told<'a>(told: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = told["headers"].as_array().unwrap();
    headers.iter().filter(|it| it[0] == name).map(|it| it[1].as_str().unwrap()).collect()
}

struct Counted {
    listener: UnixListener,
    accepted: Arc<AtomicUsize>,
}

impl axum::serve::Listener for Counted {
    type Io = UnixStream;
    type Addr = ();
    async fn accept(&mut self) -> (UnixStream, ()) {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.accepted.fetch_add(1, Ordering::SeqCst);
        (stream, ())
    }
    fn local_addr(&self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn get_request(path: &str) -> axum::http::request::Builder {
    Request::get(path).header("host", "demo.openchami.cluster")
}

pub(crate) fn post_request(path: &str) -> axum::http::request::Builder {
    Request::post(path).header("host", "demo.openchami.cluster")
}

pub(crate) async fn sender<B>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn read(response: Response<Incoming>) -> (Response<()>, String) {
    let (head, body) = response.into_parts();
    let bytes = tokio::time::timeout(LIMIT, body.collect()).await.unwrap().unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(bytes.into()).unwrap())
}

pub(crate) fn connector(root: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Waits until something is so.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let held = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, held).await.unwrap();
}

/// curl's status line, headers and body.
pub(crate) async fn curl(arguments: &[&str]) -> (bool, String) {
    let mut curl = tokio::process::Command::new("/usr/bin/curl");
    curl.args(["--silent", "--show-error", "--include", "--max-time", "15"])
        .args(arguments)
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, curl.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), text)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
