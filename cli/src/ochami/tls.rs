//! Connections, and whose certificates are believed: a given root's, else the system's and the head's own.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::error::Stop;
use super::http::chain;
use super::log;

/// Where distributions keep the roots they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// How long a connection and its handshake may take.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Whose certificates are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// This file's alone.
    pub(crate) file: Option<PathBuf>,
    /// Everyone's.
    pub(crate) anyone: bool,
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Trust {
    /// Connects to the host of an address.
    pub(crate) async fn connect(&self, to: &Uri) -> Result<Stream, Stop> {
        let host = to.host().unwrap_or_default().trim_matches(['[', ']']);
        let secure = to.scheme_str() == Some("https");
        let port = to.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let work = async {
            let stream = TcpStream::connect((host, port))
                .await
                .map_err(|it| Stop::failed(format!("no connection to {host}:{port}")).because(it))?;
            // Small requests follow each other: waiting for more to send would only slow them down.
            stream.set_nodelay(true).map_err(|it| Stop::failed("no connection").because(it))?;
            if !secure {
                return Ok(Stream::Plain(stream));
            }
            let name = ServerName::try_from(host.to_owned())
                .map_err(|it| Stop::failed(format!("{host} is no name of a server")).because(it))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::new(self.config()?));
            let stream = connector.connect(name, stream).await.map_err(|it| {
                let advice =
                    "TLS failed; --cacert names the cluster's root certificate, which `get_ca_cert` prints";
                Stop::failed(advice).because(chain(&it))
            })?;
            Ok(Stream::Tls(Box::new(stream)))
        };
        match tokio::time::timeout(CONNECT_MAX, work).await {
            Ok(connected) => connected,
            Err(_) => Err(Stop::failed(format!("no connection to {host}:{port} in time"))),
        }
    }

    fn config(&self) -> Result<ClientConfig, Stop> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|it| Stop::failed("TLS cannot be used").because(it))?;
        if self.anyone {
            let verifier = Arc::new(Anyone(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        Ok(builder.with_root_certificates(self.roots()?).with_no_client_auth())
    }

    fn roots(&self) -> Result<RootCertStore, Stop> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.file {
            let fail = || Stop::failed(format!("no root certificate can be read from {}", file.display()));
            let count = add(&mut roots, file).map_err(|it| fail().because(it))?;
            return if count == 0 { Err(fail()) } else { Ok(roots) };
        }
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let bundle = named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|it| it.is_file()));
        for file in bundle.into_iter().chain([own_root()]) {
            match add(&mut roots, &file) {
                Ok(count) => log::debug(format!("{count} root certificates from {}", file.display())),
                Err(error) => log::debug(format!("no root certificates from {}: {error}", file.display())),
            }
        }
        Ok(roots)
    }
}

/// On the head itself its root is known without anyone having installed it.
fn own_root() -> PathBuf {
    let run = std::env::var_os("PILOTHOUSE_RUN").unwrap_or_else(|| "/run/pilothouse".into());
    Path::new(&run).join("ca/root.pem")
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<usize, rustls_pki_types::pem::Error> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(file)? {
        // A bundle may hold what no TLS of today can use.
        if let Err(error) = roots.add(certificate?) {
            log::debug(format!("a certificate of {} is left out: {error}", file.display()));
        }
    }
    Ok(roots.len() - before)
}

/// Believes everyone, as `--insecure` asks.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_read(cx, to),
            Self::Tls(it) => Pin::new(it).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write(cx, from),
            Self::Tls(it) => Pin::new(it).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_flush(cx),
            Self::Tls(it) => Pin::new(it).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_shutdown(cx),
            Self::Tls(it) => Pin::new(it).poll_shutdown(cx),
        }
    }
}
