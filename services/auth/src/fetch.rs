//! Fetching what another issuer publishes: HTTPS, one GET, no redirects, bounded in time and size.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;

/// How long one GET may take.
const TIME_MAX: Duration = Duration::from_secs(10);
/// The longest answer: a JWK set of dozens of keys is some tens of KiB.
const ANSWER_MAX: usize = 512 << 10;
/// The roots the head trusts, which a site adds its own to.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is wrong with the address of an issuer or its keys.
pub(crate) fn check(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no address"))?;
    let loopback = matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost"));
    match uri.scheme_str() {
        Some("https") if uri.host().is_some() => Ok(()),
        // Nobody else is on that wire.
        Some("http") if loopback => Ok(()),
        _ => Err(format!("{url:?} is not https; keys that anybody could replace on their way prove nothing")),
    }
}

/// The JSON at an address.
pub(crate) async fn get(url: &str) -> anyhow::Result<Value> {
    let fetched = tokio::time::timeout(TIME_MAX, exchange(url)).await;
    fetched.with_context(|| format!("{url} did not answer in {} s", TIME_MAX.as_secs()))?
}

async fn exchange(url: &str) -> anyhow::Result<Value> {
    check(url).map_err(anyhow::Error::msg)?;
    let uri: Uri = url.parse().context("read the address")?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream =
        TcpStream::connect((host.as_str(), port)).await.with_context(|| format!("reach {host}:{port}"))?;
    if !secure {
        return ask(stream, &uri).await;
    }
    let name =
        ServerName::try_from(host.clone()).with_context(|| format!("{host} is no name of a server"))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config(Path::new(ROOTS))?));
    let stream = connector.connect(name, stream).await.with_context(|| format!("speak TLS with {host}"))?;
    ask(stream, &uri).await
}

async fn ask<S>(stream: S, uri: &Uri) -> anyhow::Result<Value>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender; what breaks it shows in the request.
    let connection = tokio::spawn(connection);
    let host = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(path).header(header::HOST, host).header(header::ACCEPT, "application/json");
    let request = request.header(header::USER_AGENT, "pilothouse").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await.context("ask")?;
    anyhow::ensure!(answer.status().is_success(), "{uri} answers {}", answer.status());
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed).context("read the answer")?.to_bytes();
    connection.abort();
    serde_json::from_slice(&body).with_context(|| format!("{uri} answers no JSON"))
}

fn config(system: &Path) -> anyhow::Result<ClientConfig> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let file = named.as_deref().unwrap_or(system);
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file);
    for certificate in certificates.with_context(|| format!("read the roots in {}", file.display()))? {
        // A bundle may hold what no TLS of today can use.
        if let Err(error) = roots.add(certificate?) {
            tracing::debug!(%error, "a root certificate is left out");
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in ["https://sso.site/keys", "http://127.0.0.1:3333", "http://localhost:1/x"] {
            assert!(super::check(good).is_ok(), "{good}");
        }
        for bad in
            ["", "sso.site", "http://sso.site/keys", "file:///etc/passwd", "http://127.0.0.1.evil.example/"]
        {
            assert!(super::check(bad).is_err(), "{bad}");
        }
    }
}
