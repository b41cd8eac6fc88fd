//! What a BMC shows who connects: a certificate that it has signed itself, as most do.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// An acceptor, and the certificate (DER).
pub(super) fn make(address: SocketAddr) -> anyhow::Result<(TlsAcceptor, Vec<u8>)> {
    let key = KeyPair::generate().context("make a key")?;
    let params = CertificateParams::new(vec![address.ip().to_string(), "localhost".to_owned()])?;
    let certificate = params.self_signed(&key).context("make a certificate")?.der().to_vec();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.clone())],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    Ok((TlsAcceptor::from(Arc::new(config)), certificate))
}
