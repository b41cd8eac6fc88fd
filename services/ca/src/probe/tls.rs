//! tls-alpn-01: a self-signed certificate with the digest of the key authorization, shown to who asks for the protocol
//! `acme-tls/1` (RFC 8737).

use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::signature;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Missed, Probe, Proof, wrong};
use crate::api::acme::AcmeProblem;
use crate::model::{Identifier, read_address};

const PROTOCOL: &[u8] = b"acme-tls/1";
/// id-pe-acmeIdentifier (RFC 8737 section 6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Any certificate will do here; what is in it is looked at afterwards.
pub(super) fn config() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS for tls-alpn-01")?;
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Any)).with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A ticket of one look is nothing for another.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

pub(super) async fn look(probe: &Probe, proof: &Proof) -> Result<(), Missed> {
    let port = if proof.is_head { probe.settings.head_port } else { probe.settings.tls_port };
    let stream = probe.connect(&proof.identifier, proof.is_head, port).await?;
    let name = ServerName::try_from(proof.identifier.server_name())
        .map_err(|_| wrong("malformed", format!("{} cannot be asked for", proof.identifier)))?;
    let stream = TlsConnector::from(Arc::clone(&probe.tls)).connect(name, stream).await.map_err(|error| {
        // Who is about to start, or restarts, drops connections; who speaks TLS says what is wrong.
        let detail = format!("{} port {port}: {error}", proof.identifier.value());
        let spoke = error.get_ref().is_some_and(|it| it.is::<Error>());
        if spoke { wrong("tls", detail) } else { Missed::Silent(AcmeProblem::bad("connection", detail)) }
    })?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(PROTOCOL) {
        let detail = format!("{} port {port} does not speak acme-tls/1", proof.identifier.value());
        return Err(wrong("unauthorized", detail));
    }
    let certificate = session.peer_certificates().and_then(|it| it.first());
    let certificate = certificate.ok_or_else(|| wrong("tls", "no certificate was shown".to_owned()))?;
    check(certificate, &proof.identifier, proof.digest().as_ref()).map_err(|why| {
        let detail = format!("the certificate at {} port {port} {why}", proof.identifier.value());
        wrong("incorrectResponse", detail)
    })
}

/// One name, the identifier's, and the digest in a critical extension (RFC 8737 section 3).
fn check(der: &[u8], identifier: &Identifier, digest: &[u8]) -> Result<(), &'static str> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "is unreadable")?;
    let names = certificate.subject_alternative_name().map_err(|_| "has two lists of names")?;
    let names = names.ok_or("names nobody")?;
    let [name] = names.value.general_names.as_slice() else { return Err("has not just one name") };
    let is_ours = match (name, identifier) {
        (GeneralName::DNSName(name), Identifier::Dns(ours)) => name.eq_ignore_ascii_case(ours),
        (GeneralName::IPAddress(octets), Identifier::Ip(ours)) => read_address(octets) == Some(*ours),
        _ => false,
    };
    if !is_ours {
        return Err("is for another name");
    }
    let mut extensions =
        certificate.extensions().iter().filter(|it| it.oid.to_id_string() == ACME_IDENTIFIER);
    let (Some(extension), None) = (extensions.next(), extensions.next()) else {
        return Err("has no acmeIdentifier, or two");
    };
    if !extension.critical {
        return Err("has an acmeIdentifier that is not critical");
    }
    // An OCTET STRING of 32 octets.
    let [4, 32, found @ ..] = extension.value else { return Err("has an acmeIdentifier of another form") };
    if found == digest { Ok(()) } else { Err("has the digest of another key authorization") }
}

/// Takes any certificate whose key signs the handshake. rustls' own check reads no certificate with an extension that
/// is critical and unknown to it, as acmeIdentifier has to be.
#[derive(Debug)]
struct Any;

impl Any {
    fn verify(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unreadable = Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| unreadable)?;
        let algorithm: &dyn signature::VerificationAlgorithm = match signed.scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256 => &signature::ECDSA_P256_SHA256_ASN1,
            SignatureScheme::ECDSA_NISTP384_SHA384 => &signature::ECDSA_P384_SHA384_ASN1,
            SignatureScheme::ED25519 => &signature::ED25519,
            SignatureScheme::RSA_PSS_SHA256 => &signature::RSA_PSS_2048_8192_SHA256,
            SignatureScheme::RSA_PSS_SHA384 => &signature::RSA_PSS_2048_8192_SHA384,
            SignatureScheme::RSA_PSS_SHA512 => &signature::RSA_PSS_2048_8192_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Error::PeerIncompatible(rustls::PeerIncompatible::NoSignatureSchemesInCommon)),
        };
        let key = &certificate.public_key().subject_public_key.data;
        let good = signature::UnparsedPublicKey::new(algorithm, key).verify(message, signed.signature());
        let bad = Error::InvalidCertificate(rustls::CertificateError::BadSignature);
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
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
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
        ]
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::check;
    use crate::model::Identifier;

    fn made(names: &[&str], extensions: Vec<CustomExtension>) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.custom_extensions = extensions;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn only_the_very_certificate_is_a_proof() {
        let acme = || CustomExtension::new_acme_identifier(&[7; 32]);
        let (name, address) = ("dns:a.b".parse().unwrap(), "ip:10.0.0.1".parse::<Identifier>().unwrap());
        assert_eq!(check(&made(&["a.b"], vec![acme()]), &name, &[7; 32]), Ok(()));
        assert_eq!(check(&made(&["10.0.0.1"], vec![acme()]), &address, &[7; 32]), Ok(()));
        let mut loose = acme();
        loose.set_criticality(false);
        for (names, extensions) in [
            (&["a.b", "c.d"][..], vec![acme()]),
            (&["c.d"], vec![acme()]),
            (&["10.0.0.1"], vec![acme()]),
            (&[], vec![acme()]),
            (&["a.b"], vec![]),
            (&["a.b"], vec![loose]),
            (&["a.b"], vec![CustomExtension::new_acme_identifier(&[8; 32])]),
        ] {
            assert!(check(&made(names, extensions), &name, &[7; 32]).is_err(), "{names:?}");
        }
        assert!(check(b"", &name, &[7; 32]).is_err());
    }
}
