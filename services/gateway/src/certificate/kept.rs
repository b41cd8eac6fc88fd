//! A key with its certificate chain, in memory and in its file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::model::Validity;

/// A key with its certificate chain.
pub(crate) struct Kept {
    key_pem: Zeroizing<String>,
    chain_pem: String,
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) serial: String,
}

/// A new P-256 key, and the request for its certificate (PKCS #10). The head's names are known to ca.
pub(crate) fn new_key(name: &str) -> anyhow::Result<(Zeroizing<String>, String)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // A common name has at most 64 characters (RFC 5280 appendix A.1).
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    let request = params.serialize_request(&key).and_then(|it| it.pem()).context("make the request")?;
    Ok((Zeroizing::new(key.serialize_pem()), request))
}

impl Kept {
    /// Puts key and chain together.
    ///
    /// # Errors
    ///
    /// If they cannot be read or do not belong together.
    pub(crate) fn new(key_pem: Zeroizing<String>, chain_pem: String) -> anyhow::Result<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
        let chain = chain.context("read the certificate chain")?;
        let leaf = chain.first().ok_or_else(|| anyhow!("the certificate chain is empty"))?.clone();
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).context("read the key")?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .context("put key and certificate together")?;
        let (_, certificate) = X509Certificate::from_der(&leaf).context("read the certificate")?;
        let validity = certificate.validity();
        let validity = Validity {
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        };
        let (names, issuer) = (names_of(&certificate), certificate.issuer().to_string());
        let serial = certificate.raw_serial_as_string();
        Ok(Self { key_pem, chain_pem, key: Arc::new(key), validity, names, issuer, serial })
    }

    /// Reads what [`save`](Self::save) wrote; none if there is no file.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("read the last good certificate"),
        };
        let begin =
            text.find("-----BEGIN CERTIFICATE-----").ok_or_else(|| anyhow!("it has no certificate"))?;
        let (key, chain) = text.split_at(begin);
        Self::new(Zeroizing::new(key.to_owned()), chain.to_owned()).map(Some)
    }

    /// Writes key and chain to one file, so that they always belong together.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let text = Zeroizing::new([self.key_pem.as_str(), &self.chain_pem].concat());
        daemon::replace_file(path, text.as_bytes(), 0o600)
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let show = |it: &GeneralName<'_>| match it {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(std::net::IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(std::net::IpAddr::from))
                .ok()
                .map(|it| it.to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(show).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
    use zeroize::Zeroizing;

    use super::{Kept, new_key};

    fn certified(key: &KeyPair) -> String {
        let params =
            CertificateParams::new(["demo.openchami.cluster".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn what_was_saved_is_loaded_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificate.pem");
        assert!(Kept::load(&path).unwrap().is_none());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let kept = Kept::new(Zeroizing::new(key.serialize_pem()), certified(&key)).unwrap();
        assert_eq!(kept.names, ["demo.openchami.cluster", "127.0.0.1"]);
        kept.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Kept::load(&path).unwrap().unwrap().serial, kept.serial);
        std::fs::write(&path, "rubbish").unwrap();
        assert!(Kept::load(&path).is_err());
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let (key, request) = new_key("demo.openchami.cluster").unwrap();
        assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert!(Kept::new(key.clone(), certified(&other)).is_err());
        assert!(Kept::new(key, String::new()).is_err());
    }
}
