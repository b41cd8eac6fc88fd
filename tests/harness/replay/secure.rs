//! HTTPS to a head, by its own root certificate.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::front;

/// A client that trusts one root.
#[derive(Clone)]
pub struct Secure(TlsConnector);

impl Secure {
    /// A client that trusts the certificates of a PEM file.
    ///
    /// # Errors
    ///
    /// If there are none in it.
    pub fn trusting(file: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let read = || format!("read {}", file.display());
        for certificate in CertificateDer::pem_file_iter(file).with_context(read)? {
            roots.add(certificate.with_context(read)?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// One request of its own connection.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        let host = request.uri().host().context("a URL needs a host")?.to_owned();
        let stream = front::connect(request.uri()).await?;
        let stream = self.0.connect(ServerName::try_from(host)?, stream).await.context("speak TLS")?;
        front::send_over(stream, request).await
    }
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secure")
    }
}
