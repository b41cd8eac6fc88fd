//! A site's own PKI: which chains are taken.

use anyhow::{Context as _, bail, ensure};
use ipnet::IpNet;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, PKCS_ECDSA_P256_SHA256,
    SubjectPublicKeyInfo,
};
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, NameConstraints};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::forge::{Forge, site_row};
use super::kept::Site;
use crate::model::{Policy, Validity, fingerprint, read_address};

/// More certificates than this make no chain.
const CHAIN_MAX: usize = 4;

/// What is read of an authority's certificate.
pub(crate) struct Known {
    /// The subject's DER.
    pub(crate) subject: Vec<u8>,
    /// The subject, if it can be written again.
    pub(crate) name: Option<DistinguishedName>,
    pub(crate) key: SubjectPublicKeyInfo,
    pub(crate) validity: Validity,
}

pub(crate) fn read(der: &[u8]) -> anyhow::Result<Known> {
    let certificate = parse(der)?;
    let key = SubjectPublicKeyInfo::from_der(certificate.public_key().raw).context("read its key")?;
    let validity = validity(&certificate);
    let subject = certificate.subject();
    Ok(Known { subject: subject.as_raw().to_vec(), name: rewrite(subject), key, validity })
}

fn parse(der: &[u8]) -> anyhow::Result<X509Certificate<'_>> {
    let (rest, certificate) = X509Certificate::from_der(der)
        .map_err(|error| anyhow::anyhow!("a certificate is unreadable: {error}"))?;
    ensure!(rest.is_empty(), "something follows a certificate");
    Ok(certificate)
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let it = certificate.validity();
    Validity { not_before: it.not_before.to_datetime(), not_after: it.not_after.to_datetime() }
}

/// A name for rcgen, which knows one value of each kind.
fn rewrite(name: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut written = DistinguishedName::new();
    for attribute in name.iter_attributes() {
        let oid: Vec<u64> = attribute.attr_type().iter()?.collect();
        let kind = DnType::from_oid(&oid);
        if written.get(&kind).is_some() {
            return None;
        }
        let text = attribute.as_str().ok()?;
        let value = match attribute.attr_value().tag().0 {
            12 => DnValue::Utf8String(text.to_owned()),
            19 => DnValue::PrintableString(text.try_into().ok()?),
            22 => DnValue::Ia5String(text.try_into().ok()?),
            _ => return None,
        };
        written.push(kind, value);
    }
    Some(written)
}

/// Checks a chain from an intermediate for our names to a root.
///
/// # Errors
///
/// Why it is of no use.
pub(crate) fn check_chain(chain: &[Vec<u8>], policy: &Policy, now: OffsetDateTime) -> anyhow::Result<()> {
    ensure!(
        (2..=CHAIN_MAX).contains(&chain.len()),
        "the chain is to have the intermediate, what is between, and the root: 2 to {CHAIN_MAX} certificates"
    );
    let chain: Vec<_> = chain.iter().map(|it| parse(it)).collect::<Result<_, _>>()?;
    for (depth, certificate) in chain.iter().enumerate() {
        let subject = certificate.subject();
        check_authority(certificate, depth).with_context(|| format!("{subject} issues nothing"))?;
        let validity = validity(certificate);
        ensure!(
            validity.holds(now),
            "{subject} holds from {} to {}",
            validity.not_before,
            validity.not_after
        );
        check_names(certificate, policy).with_context(|| format!("{subject} is bound to other names"))?;
        let issuer = chain.get(depth + 1).unwrap_or(certificate);
        ensure!(
            certificate.issuer().as_raw() == issuer.subject().as_raw(),
            "{subject} was issued by {}, which does not follow it; the last one is to be a self-signed root",
            certificate.issuer()
        );
        certificate
            .verify_signature(Some(issuer.public_key()))
            .map_err(|_| anyhow::anyhow!("{subject} is not signed by {}", issuer.subject()))?;
    }
    Ok(())
}

fn check_authority(certificate: &X509Certificate<'_>, depth: usize) -> anyhow::Result<()> {
    let basic = certificate.basic_constraints().context("read its basic constraints")?;
    let basic = basic.filter(|it| it.value.ca).context("it is no authority (basic constraints)")?;
    if let Some(length) = basic.value.path_len_constraint {
        ensure!(length as usize >= depth, "its path length {length} is below the {depth} that follow");
    }
    if let Some(usage) = certificate.key_usage().context("read its key usage")? {
        ensure!(usage.value.key_cert_sign(), "its key usage lacks keyCertSign");
        ensure!(depth > 0 || usage.value.crl_sign(), "its key usage lacks cRLSign");
    }
    Ok(())
}

/// Whether a certificate is for all of our names.
pub(crate) fn check_bounds(der: &[u8], policy: &Policy) -> anyhow::Result<()> {
    check_names(&parse(der)?, policy)
}

/// Every name that we issue for has to be permitted (RFC 5280 section 4.2.1.10).
fn check_names(certificate: &X509Certificate<'_>, policy: &Policy) -> anyhow::Result<()> {
    let Some(constraints) = certificate.name_constraints().context("read its name constraints")? else {
        return Ok(());
    };
    for ours in policy.constraints() {
        if !permits(constraints.value, ours) {
            bail!("its name constraints do not permit {ours}");
        }
    }
    Ok(())
}

fn permits(constraints: &NameConstraints<'_>, ours: &str) -> bool {
    let Some((kind, value)) = ours.split_once(':') else { return false };
    let trees = |list: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
        let list = list.iter().flatten();
        list.filter_map(|it| covers(&it.base, kind, value)).collect::<Vec<_>>()
    };
    let permitted = trees(&constraints.permitted_subtrees);
    // What is excluded below one of ours would be found out by a client alone; so nothing of the kind may be.
    trees(&constraints.excluded_subtrees).is_empty() && (permitted.is_empty() || permitted.contains(&true))
}

/// Whether a subtree has all of ours in it; none if it is of another kind.
fn covers(tree: &GeneralName<'_>, kind: &str, ours: &str) -> Option<bool> {
    match (tree, kind) {
        (GeneralName::DNSName(tree), "dns") => {
            let tree = tree.trim_start_matches('.').to_ascii_lowercase();
            let rest = ours.strip_suffix(tree.as_str());
            Some(rest.is_some_and(|it| it.is_empty() || it.ends_with('.') || tree.is_empty()))
        }
        (GeneralName::IPAddress(octets), "ip") => {
            let ours: IpNet = ours.parse().ok()?;
            let (address, mask) = octets.split_at(octets.len() / 2);
            let tree = IpNet::with_netmask(read_address(address)?, read_address(mask)?).ok()?;
            (tree.addr().is_ipv4() == ours.addr().is_ipv4()).then(|| tree.contains(&ours))
        }
        _ => None,
    }
}

impl Forge {
    /// A new key, and the request that the site's PKI is to answer.
    pub(crate) fn request(&self, now: OffsetDateTime) -> anyhow::Result<Site> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make the intermediate's key")?;
        let mut params: CertificateParams = self.policy.intermediate_params(Validity::root(now))?;
        // The number is the signer's to give.
        params.serial_number = None;
        let request = params.serialize_request(&key).context("make the request")?.der().to_vec();
        let id = fingerprint(&request);
        let sealed = self.seal.seal(key.serialized_der(), &site_row(&id))?;
        Ok(Site { id, request, sealed, made: now, chain: Vec::new(), usable_from: None })
    }

    /// Whether a chain's first certificate has this request's key.
    pub(crate) fn answers(&self, site: &Site, chain: &[Vec<u8>]) -> bool {
        let Ok(request) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&site.request)
        else {
            return false;
        };
        let asked = request.1.certification_request_info.subject_pki.raw;
        chain.first().and_then(|it| parse(it).ok()).is_some_and(|it| it.public_key().raw == asked)
    }
}
