//! Whose certificate is believed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::{digest, signature};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Error;

/// Whose certificate is believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// This one; without one the first that is shown, which [`crate::Client::fingerprint`] tells.
    Pin(Option<Fingerprint>),
    /// Those of these roots, for the name or address that is asked.
    Roots(Arc<RootCertStore>),
    /// Anybody's.
    Anyone,
}

/// The SHA-256 of a certificate, shown as pairs of hexadecimal digits with colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate (DER).
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, certificate);
        let mut octets = [0; 32];
        octets.copy_from_slice(digest.as_ref());
        Self(octets)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, octet) in self.0.iter().enumerate() {
            write!(f, "{}{octet:02X}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let fail =
            || Error::Invalid("a fingerprint is 32 pairs of hexadecimal digits with colons between them");
        let mut octets = [0; 32];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs.next().filter(|it| it.len() == 2).ok_or_else(fail)?;
            let is_hex = pair.bytes().all(|it| it.is_ascii_hexdigit());
            *octet = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex).ok_or_else(fail)?;
        }
        if pairs.next().is_some() { Err(fail()) } else { Ok(Self(octets)) }
    }
}

impl Trust {
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = match self {
            Self::Roots(roots) => builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth(),
            Self::Pin(_) | Self::Anyone => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Any)).with_no_client_auth()
            }
        };
        // Whoever resumes shows no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Takes any certificate whose key signs the handshake; what it is is compared afterwards, before anything is sent.
/// BMCs show certificates that rustls' own reader refuses: of version 1, with keys of 1024 bits.
#[derive(Debug)]
struct Any;

impl Any {
    fn verify(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let unreadable = rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| unreadable)?;
        let algorithm: &dyn signature::VerificationAlgorithm = match signed.scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256 => &signature::ECDSA_P256_SHA256_ASN1,
            SignatureScheme::ECDSA_NISTP384_SHA384 => &signature::ECDSA_P384_SHA384_ASN1,
            SignatureScheme::ED25519 => &signature::ED25519,
            SignatureScheme::RSA_PSS_SHA256 => &signature::RSA_PSS_2048_8192_SHA256,
            SignatureScheme::RSA_PSS_SHA384 => &signature::RSA_PSS_2048_8192_SHA384,
            SignatureScheme::RSA_PSS_SHA512 => &signature::RSA_PSS_2048_8192_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256 => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            SignatureScheme::RSA_PKCS1_SHA512 => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            _ => {
                let none = rustls::PeerIncompatible::NoSignatureSchemesInCommon;
                return Err(rustls::Error::PeerIncompatible(none));
            }
        };
        let key = &certificate.public_key().subject_public_key.data;
        let good = signature::UnparsedPublicKey::new(algorithm, key).verify(message, signed.signature());
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
        good.map(|()| HandshakeSignatureValid::assertion()).map_err(|_| bad)
    }
}

impl ServerCertVerifier for Any {
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
        Self::verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA512,
        ]
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Fingerprint;

    #[test]
    fn a_fingerprint_is_read_as_it_is_shown() {
        let it = Fingerprint::of(b"certificate");
        let text = it.to_string();
        assert_eq!(text.len(), 95);
        assert_eq!(text.parse::<Fingerprint>().unwrap(), it);
        assert_eq!(text.to_lowercase().parse::<Fingerprint>().unwrap(), it);
        for wrong in ["", "AA", &text[3..], &format!("{text}:00"), &text.replace(':', "-")] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
