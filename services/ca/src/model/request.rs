//! Certificate requests (PKCS #10, RFC 2986) of ACME clients.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{PublicKeyData, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::model::Identifier;
use crate::wire::Jwk;

/// The bits of RSA moduli that are taken.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A request that was read and whose signature holds.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) names: BTreeSet<Identifier>,
    pub(crate) key: SubjectPublicKeyInfo,
    pub(crate) is_rsa: bool,
    /// The key in DER, as accounts' keys are compared with it.
    key_info: Vec<u8>,
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the request is no PKCS #10 in DER")]
    Unreadable,
    #[error("the request is not signed with its own key")]
    Signature,
    #[error("the key is to be ECDSA P-256 or P-384, Ed25519, or RSA with 2048 to 8192 bits")]
    Key,
    #[error("the request asks to be an authority")]
    Authority,
    #[error("the request names {0}, which is no DNS name and no address")]
    Name(String),
    #[error("the request names nothing")]
    Nothing,
}

impl Request {
    /// Reads a request. Of what it asks for only its names are looked at, and that it is no authority.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub(crate) fn read(der: &[u8]) -> Result<Self, RequestError> {
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestError::Unreadable)?;
        if !rest.is_empty() {
            return Err(RequestError::Unreadable);
        }
        let info = &request.certification_request_info;
        let is_rsa = match info.subject_pki.parsed() {
            Ok(PublicKey::RSA(key)) => {
                let modulus =
                    key.modulus.iter().position(|it| *it != 0).map_or(&[][..], |it| &key.modulus[it..]);
                let bits = modulus.len() * 8 - modulus.first().map_or(0, |it| it.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) || key.exponent.len() > 5 {
                    return Err(RequestError::Key);
                }
                true
            }
            _ => false,
        };
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| RequestError::Key)?;
        let is_taken = is_rsa
            || [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
                .contains(&key.algorithm());
        // A point of a curve in its uncompressed form (SEC 1 section 2.3.3); an Ed25519 key has 32 octets.
        if !is_taken || (!is_rsa && ![65, 97, 32].contains(&key.der_bytes().len())) {
            return Err(RequestError::Key);
        }
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let mut names = BTreeSet::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(all) => {
                    for name in &all.general_names {
                        names.insert(read_name(name)?);
                    }
                }
                ParsedExtension::BasicConstraints(it) if it.ca => return Err(RequestError::Authority),
                ParsedExtension::KeyUsage(it) if it.key_cert_sign() || it.crl_sign() => {
                    return Err(RequestError::Authority);
                }
                _ => {}
            }
        }
        for name in info.subject.iter_common_name() {
            let text = name.as_str().map_err(|_| RequestError::Unreadable)?;
            let kind = if text.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
            let name = Identifier::parse(kind, text).map_err(|_| RequestError::Name(text.to_owned()))?;
            names.insert(name);
        }
        if names.is_empty() {
            return Err(RequestError::Nothing);
        }
        Ok(Self { names, key, is_rsa, key_info: info.subject_pki.raw.to_vec() })
    }

    /// Whether it is for this key.
    pub(crate) fn has_key(&self, key: &Jwk) -> bool {
        x509_parser::x509::SubjectPublicKeyInfo::from_der(&self.key_info).is_ok_and(|(_, it)| key.is_of(&it))
    }
}

fn read_name(name: &GeneralName<'_>) -> Result<Identifier, RequestError> {
    match name {
        GeneralName::DNSName(name) => {
            Identifier::parse("dns", name).map_err(|_| RequestError::Name((*name).to_owned()))
        }
        GeneralName::IPAddress(octets) => {
            read_address(octets).map(Identifier::Ip).ok_or(RequestError::Unreadable)
        }
        other => Err(RequestError::Name(format!("{other:?}").chars().take(80).collect())),
    }
}

/// An address of four or sixteen octets.
pub(crate) fn read_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

    use super::{Request, RequestError};

    fn made(
        algorithm: &'static rcgen::SignatureAlgorithm,
        change: impl Fn(&mut CertificateParams),
    ) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params =
            CertificateParams::new(vec!["nid001.openchami.cluster".to_owned(), "172.16.0.1".to_owned()])
                .unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn every_kind_of_key_is_read() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let request = Request::read(&made(algorithm, |_| {})).unwrap();
            let names: Vec<_> = request.names.iter().map(ToString::to_string).collect();
            assert_eq!(names, ["dns:nid001.openchami.cluster", "ip:172.16.0.1"]);
            assert_eq!(request.is_rsa, algorithm == &rcgen::PKCS_RSA_SHA256);
        }
    }

    #[test]
    fn what_asks_for_too_much_is_refused() {
        let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
        let ca = made(p256, |it| it.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        assert_eq!(Request::read(&ca).unwrap_err(), RequestError::Authority);
        let signs = made(p256, |it| it.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
        assert_eq!(Request::read(&signs).unwrap_err(), RequestError::Authority);
        let nothing = made(p256, |it| it.subject_alt_names.clear());
        assert_eq!(Request::read(&nothing).unwrap_err(), RequestError::Nothing);
        let mut forged = made(p256, |_| {});
        let at = forged.len() - 4;
        forged[at] ^= 1;
        assert_eq!(Request::read(&forged).unwrap_err(), RequestError::Signature);
        let curve = made(&rcgen::PKCS_ECDSA_P521_SHA512, |_| {});
        assert_eq!(Request::read(&curve).unwrap_err(), RequestError::Key);
        let good = made(p256, |_| {});
        for length in 0..good.len() {
            assert!(Request::read(&good[..length]).is_err());
        }
        assert!(Request::read(&[good, vec![0]].concat()).is_err());
        let common = made(p256, |it| it.distinguished_name.push(rcgen::DnType::CommonName, "other.example"));
        assert_eq!(Request::read(&common).unwrap().names.len(), 3);
    }
}
