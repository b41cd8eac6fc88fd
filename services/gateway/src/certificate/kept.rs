//! A key with its certificate chain, in memory and in its file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use rcgen::{
    CertificateParams, CertificateSigningRequest, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use web::SealKey;
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
pub(crate) fn new_key(name: &str) -> anyhow::Result<(Zeroizing<String>, CertificateSigningRequest)> {
    request(CertificateParams::default(), name)
}

/// As [`new_key`], for these names.
pub(crate) fn new_key_for(
    names: &[String],
) -> anyhow::Result<(Zeroizing<String>, CertificateSigningRequest)> {
    let params = CertificateParams::new(names).context("name the names")?;
    request(params, names.first().map_or("", String::as_str))
}

fn request(
    mut params: CertificateParams,
    name: &str,
) -> anyhow::Result<(Zeroizing<String>, CertificateSigningRequest)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")?;
    params.distinguished_name = DistinguishedName::new();
    // A common name has at most 64 characters (RFC 5280 appendix A.1), and says nothing that the names do not.
    if name.chars().count() <= 64 {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let request = params.serialize_request(&key).context("make the request")?;
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

    /// Reads what [`text`](Self::text) wrote.
    pub(crate) fn read(text: Zeroizing<Vec<u8>>) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(&text).context("read the last good certificate")?;
        let begin =
            text.find("-----BEGIN CERTIFICATE-----").ok_or_else(|| anyhow!("it has no certificate"))?;
        let (key, chain) = text.split_at(begin);
        Self::new(Zeroizing::new(key.to_owned()), chain.to_owned())
    }

    /// Key and chain in one, so that they always belong together.
    pub(crate) fn text(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.key_pem.as_bytes(), self.chain_pem.as_bytes()].concat())
    }

    /// Whether it is good for this DNS name; a `*` stands for one label (RFC 9525 section 6.3).
    pub(crate) fn names(&self, name: &str) -> bool {
        let is = |it: &String| match it.strip_prefix("*.") {
            Some(domain) => name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
            None => it.eq_ignore_ascii_case(name),
        };
        self.names.iter().any(is)
    }

    /// Whether the same authority stands behind both.
    pub(crate) fn has_issuer_of(&self, other: &Self) -> bool {
        let issuer = |it: &Self| it.key.cert.get(1).cloned();
        issuer(self).is_some() && issuer(self) == issuer(other)
    }
}

/// Opens what [`save`] wrote; none if there is no file.
pub(crate) fn load(path: &Path, seal: &SealKey) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    match std::fs::read(path) {
        Ok(sealed) => Ok(Some(seal.open(&sealed, &row_of(path))?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Writes a secret, sealed for its place.
pub(crate) fn save(path: &Path, seal: &SealKey, secret: &[u8]) -> anyhow::Result<()> {
    let sealed = seal.seal(secret, &row_of(path))?;
    daemon::replace_file(path, &sealed, 0o600).with_context(|| format!("write {}", path.display()))
}

fn row_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("gateway/{name}")
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

    use super::{Kept, load, new_key, save};
    use web::SealKey;

    fn certified(key: &KeyPair) -> String {
        let params =
            CertificateParams::new(["demo.openchami.cluster".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn what_was_saved_is_loaded_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, seal) = (folder.path().join("head.sealed"), SealKey::new(&[7; 32]).unwrap());
        assert!(load(&path, &seal).unwrap().is_none());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let kept = Kept::new(Zeroizing::new(key.serialize_pem()), certified(&key)).unwrap();
        assert_eq!(kept.names, ["demo.openchami.cluster", "127.0.0.1"]);
        save(&path, &seal, &kept.text()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(5).any(|it| it == b"BEGIN"), "it is sealed");
        let again = Kept::read(load(&path, &seal).unwrap().unwrap()).unwrap();
        assert_eq!(again.serial, kept.serial);
        // Neither with another key, nor in another's place.
        assert!(load(&path, &SealKey::new(&[8; 32]).unwrap()).is_err());
        let other = folder.path().join("front.sealed");
        std::fs::rename(&path, &other).unwrap();
        assert!(load(&other, &seal).is_err());
    }

    #[test]
    fn a_name_is_looked_for_as_clients_do() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(["a.example".to_owned(), "*.b.example".to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let kept = Kept::new(Zeroizing::new(key.serialize_pem()), chain).unwrap();
        for (name, fits) in [
            ("a.example", true),
            ("A.Example", true),
            ("x.a.example", false),
            ("x.b.example", true),
            ("b.example", false),
            ("x.y.b.example", false),
        ] {
            assert_eq!(kept.names(name), fits, "{name}");
        }
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let (key, request) = new_key("demo.openchami.cluster").unwrap();
        assert!(request.pem().unwrap().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert!(Kept::new(key, certified(&other)).is_err());
    }
}
