//! Whose certificates are believed: as `[power]` of the document says, and no other than power has kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::{Document, Xname};
use redfish::{Fingerprint, Trust};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use web::{Client, ClientError};

/// Where Debian keeps the roots that the system trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How long power is waited for.
const POWER_MAX: Duration = Duration::from_secs(5);

/// What the document says, and who knows the certificates of known BMCs.
pub(crate) struct Trusting {
    modes: toml::Table,
    roots: PathBuf,
    power: Client,
}

/// Why a BMC cannot be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("its certificate cannot be compared with the one that is known: {0}")]
    Power(String),
    #[error("power.tls says ca, and {0} holds no root certificate that can be used")]
    Roots(String),
}

impl Trusting {
    pub(super) fn new(document: &Document, power: Client) -> Self {
        let modes = document.power.get("tls").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let named = document.power.get("tls_ca").and_then(toml::Value::as_str);
        Self { modes, roots: named.unwrap_or(SYSTEM_ROOTS).into(), power }
    }

    /// The same by another document.
    pub(super) fn with(&self, document: &Document) -> Self {
        Self::new(document, self.power.clone())
    }

    /// How this BMC is believed; `is_known`: the inventory has it, so that power may know its certificate.
    pub(super) async fn of(
        &self,
        bmc: Option<&Xname>,
        class: Option<&str>,
        is_known: bool,
    ) -> Result<Trust, TrustError> {
        let own = bmc.and_then(|it| self.modes.get(it.as_str()));
        let class = || self.modes.get(&format!("class:{}", class?));
        let mode = own.or_else(class).or_else(|| self.modes.get("default")).and_then(toml::Value::as_str);
        match mode {
            Some("insecure") => Ok(Trust::Anyone),
            Some("ca") => self.read_roots().map(|it| Trust::Roots(Arc::new(it))),
            _ => match bmc.filter(|_| is_known) {
                Some(bmc) => self.pinned(bmc).await.map(Trust::Pin),
                None => Ok(Trust::Pin(None)),
            },
        }
    }

    async fn pinned(&self, bmc: &Xname) -> Result<Option<Fingerprint>, TrustError> {
        let asked = tokio::time::timeout(POWER_MAX, power::client::bmc(&self.power, bmc.as_str())).await;
        let state = match asked {
            Ok(Ok(state)) => state,
            // It has not heard of the BMC yet.
            Ok(Err(ClientError::Status { status, .. })) if status.as_u16() == 404 => return Ok(None),
            Ok(Err(error)) => return Err(TrustError::Power(error.to_string())),
            Err(_) => return Err(TrustError::Power("power does not answer".to_owned())),
        };
        let parse = |it: power::client::BmcCertificate| {
            it.sha256.parse().map_err(|error: redfish::Error| TrustError::Power(error.to_string()))
        };
        state.certificate.map(parse).transpose()
    }

    fn read_roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        let none = || TrustError::Roots(self.roots.display().to_string());
        for certificate in CertificateDer::pem_file_iter(&self.roots).map_err(|_| none())?.flatten() {
            // A bundle may hold what no TLS of today can use.
            if let Err(error) = roots.add(certificate) {
                tracing::debug!("a certificate of {} is left out: {error}", self.roots.display());
            }
        }
        if roots.is_empty() { Err(none()) } else { Ok(roots) }
    }
}
