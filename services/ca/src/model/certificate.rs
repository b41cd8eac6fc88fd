//! What is in the certificates.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, CrlDistributionPoint, DistinguishedName,
    DnType, Error, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber,
};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::{Identifier, Policy, Request, Validity};

/// How many authorities may stand between a root and a leaf: a younger root that this one vouches for, a site's own,
/// and the intermediate.
const DEPTH: u8 = 4;

impl Policy {
    /// A self-signed root; the first has no number.
    pub(crate) fn root(
        &self,
        key: &KeyPair,
        number: usize,
        validity: Validity,
    ) -> Result<Certificate, Error> {
        let number = if number < 2 { String::new() } else { format!(" {number}") };
        let name = format!("Pilothouse {} Root CA{number}", self.cluster);
        root_params(&name, validity)?.self_signed(key)
    }

    /// The intermediate that issues: for our names alone, should its key ever be lost.
    pub(crate) fn intermediate(
        &self,
        key: &KeyPair,
        root: &Issuer<'_, KeyPair>,
        validity: Validity,
    ) -> Result<Certificate, Error> {
        let mut params = self.intermediate_params(validity)?;
        params.use_authority_key_identifier_extension = true;
        params.name_constraints = Some(self.name_constraints());
        params.signed_by(key, root)
    }

    /// What an intermediate is, whoever signs it.
    pub(crate) fn intermediate_params(&self, validity: Validity) -> Result<CertificateParams, Error> {
        let mut params = authority_params(&format!("Pilothouse {} Issuing CA", self.cluster), validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Ok(params)
    }

    /// The names that an authority is bound to.
    pub(crate) fn name_constraints(&self) -> NameConstraints {
        let permitted_subtrees = self.constraints().iter().filter_map(|it| subtree(it)).collect();
        NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }
    }

    /// The head's certificate for a public key. Whatever else the request asked for is not looked at.
    pub(crate) fn head_leaf(
        &self,
        key: &impl PublicKeyData,
        issuer: &Issuer<'_, KeyPair>,
        validity: Validity,
    ) -> Result<Certificate, Error> {
        let names = self.names.iter().cloned().map(Identifier::Dns);
        let names: Vec<_> = names.chain(self.addresses.iter().copied().map(Identifier::Ip)).collect();
        leaf_params(&self.head, &names, validity, false)?.signed_by(key, issuer)
    }

    /// A certificate for the names of an order.
    pub(crate) fn leaf(
        &self,
        request: &Request,
        names: &[Identifier],
        issuer: (&str, &Issuer<'_, KeyPair>),
        validity: Validity,
    ) -> Result<Certificate, Error> {
        // A common name has at most 64 characters; it says nothing that the alternative names do not say. An address
        // alone there would be taken for a DNS name, outside of our names (OpenSSL).
        let common = names.iter().map(|it| match it {
            Identifier::Dns(name) => name.clone(),
            Identifier::Ip(address) => format!("address {address}"),
        });
        let common = common.into_iter().find(|it| it.len() <= 64).unwrap_or_default();
        let mut params = leaf_params(&common, names, validity, request.is_rsa)?;
        if let Some(url) = self.crl_url(issuer.0) {
            params.crl_distribution_points.push(CrlDistributionPoint { uris: vec![url] });
        }
        params.signed_by(&request.key, issuer.1)
    }
}

/// What a root is, whoever signs it.
pub(crate) fn root_params(name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = authority_params(name, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(DEPTH));
    Ok(params)
}

fn authority_params(name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    // A common name has at most 64 characters (RFC 5280 appendix A.1); a cluster's may have 63 itself.
    let name: String = name.chars().take(64).collect();
    let mut params = params(&name, validity)?;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    common: &str,
    names: &[Identifier],
    validity: Validity,
    is_rsa: bool,
) -> Result<CertificateParams, Error> {
    let mut params = params(common, validity)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if is_rsa {
        // Old TLS sends secrets encrypted to RSA keys.
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    for name in names {
        params.subject_alt_names.push(match name {
            Identifier::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Identifier::Ip(address) => SanType::IpAddress(*address),
        });
    }
    Ok(params)
}

fn params(name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    // Random, positive, below 20 octets (RFC 5280 section 4.1.2.2); made from the key it would repeat itself.
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| Error::RemoteKeyError)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn subtree(constraint: &str) -> Option<GeneralSubtree> {
    match constraint.split_once(':')? {
        ("dns", name) => Some(GeneralSubtree::DnsName(name.to_owned())),
        ("ip", net) => {
            let (address, prefix) = net.rsplit_once('/')?;
            let subnet = CidrSubnet::from_addr_prefix(address.parse().ok()?, prefix.parse().ok()?);
            Some(GeneralSubtree::IpAddress(subnet))
        }
        _ => None,
    }
}

/// The subject key identifier of an authority, to say it again in another certificate of the same key.
pub(crate) fn key_id(certificate: &[u8]) -> Option<KeyIdMethod> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    certificate.extensions().iter().find_map(|it| match it.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(KeyIdMethod::PreSpecified(id.0.to_vec())),
        _ => None,
    })
}

/// The key identifier of a certificate's issuer.
pub(crate) fn authority_key_id(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    certificate.extensions().iter().find_map(|it| match it.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|it| it.0.to_vec()),
        _ => None,
    })
}

/// RFC 7468 section 5: base64 in lines of 64.
pub(crate) fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|it| text.get(it..text.len().min(it + 64))).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// SHA-256 in hexadecimal.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_constraint_is_understood() {
        for text in ["dns:a.b", "ip:10.0.0.0/8", "ip:fd00::1/128"] {
            assert!(super::subtree(text).is_some(), "{text}");
        }
        assert!(super::subtree("ip:10.0.0.0").is_none());
    }
}
