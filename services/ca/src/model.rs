//! What is certified and how: names by policy, and the three kinds of certificate. Pure but for the serial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use domain::Document;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DistinguishedName, DnType, Error,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::config::{Config, HeadName};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The root's life, ten years.
const ROOT_LIFE: Duration = Duration::from_secs(3652 * 24 * 3600);
/// An intermediate's life, two years; a new one is made at a start past two thirds of it.
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(730 * 24 * 3600);
/// Certificates are good from some time before they were made, for machines whose clock is behind: nodes
/// without a battery get their time only after they have fetched it.
const AUTHORITY_BACKDATE: Duration = DAY;
const LEAF_BACKDATE: Duration = Duration::from_secs(3600);

/// For which names certificates are issued; all of it from the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    cluster: String,
    head: String,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    constraints: Vec<String>,
}

/// A time in which a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Validity {
    fn new(now: OffsetDateTime, backdate: Duration, life: Duration) -> Self {
        // X.509 counts whole seconds.
        let now = now.replace_nanosecond(0).unwrap_or(now);
        Self { not_before: now - backdate, not_after: now + life }
    }

    pub(crate) fn root(now: OffsetDateTime) -> Self {
        Self::new(now, AUTHORITY_BACKDATE, ROOT_LIFE)
    }

    /// Never beyond the root's.
    pub(crate) fn intermediate(now: OffsetDateTime, root: Self) -> Self {
        Self::new(now, AUTHORITY_BACKDATE, INTERMEDIATE_LIFE).within(root)
    }

    /// Never beyond the intermediate's.
    pub(crate) fn leaf(now: OffsetDateTime, life: Duration, intermediate: Self) -> Self {
        Self::new(now, LEAF_BACKDATE.min(life), life).within(intermediate)
    }

    fn within(self, outer: Self) -> Self {
        let not_before = self.not_before.max(outer.not_before);
        Self { not_before, not_after: self.not_after.min(outer.not_after) }
    }

    /// Whether less than two thirds of it are over.
    pub(crate) fn is_fresh(self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now < self.not_before + (self.not_after - self.not_before) * 2 / 3
    }
}

impl Policy {
    pub(crate) fn new(document: &Document, config: &Config) -> Self {
        let cluster = &document.cluster;
        let head = cluster.head_name();
        let mut names = vec![
            cluster.service_name(),
            head.clone(),
            format!("{head}.{}", cluster.domain),
            "localhost".to_owned(),
        ];
        let planes = || document.network.planes.iter().flat_map(|it| it.addresses.iter().copied());
        let mut addresses: Vec<IpAddr> = planes().map(|it| it.addr().into()).collect();
        addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
        let mut constraints =
            vec![format!("dns:{}", cluster.domain), format!("dns:{head}"), "dns:localhost".to_owned()];
        constraints.extend(planes().map(|it| format!("ip:{}/{}", it.network(), it.prefix_len())));
        constraints.extend(["ip:127.0.0.1/32".to_owned(), "ip:::1/128".to_owned()]);
        for extra in &config.head_names {
            match extra {
                HeadName::Dns(name) => {
                    constraints.push(format!("dns:{name}"));
                    names.push(name.clone());
                }
                HeadName::Address(address) => {
                    constraints.push(format!("ip:{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
                    addresses.push(*address);
                }
            }
        }
        constraints.sort();
        constraints.dedup();
        let mut seen = std::collections::HashSet::new();
        names.retain(|it| seen.insert(it.clone()));
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|it| seen.insert(*it));
        Self { cluster: cluster.name.clone(), head, names, addresses, constraints }
    }

    /// What an intermediate is bound to: the cluster's domain, the head's names, the planes' networks.
    pub(crate) fn constraints(&self) -> &[String] {
        &self.constraints
    }

    /// The head's names, for a log.
    pub(crate) fn names(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.names.iter().cloned().chain(addresses).collect::<Vec<_>>().join(", ")
    }

    /// A self-signed root.
    pub(crate) fn root(&self, key: &KeyPair, validity: Validity) -> Result<Certificate, Error> {
        let mut params = self.authority_params(&format!("Pilothouse {} Root CA", self.cluster), validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.self_signed(key)
    }

    /// The intermediate that issues: for our names alone, should its key ever be lost.
    pub(crate) fn intermediate(
        &self,
        key: &KeyPair,
        root: &Issuer<'_, KeyPair>,
        validity: Validity,
    ) -> Result<Certificate, Error> {
        let mut params =
            self.authority_params(&format!("Pilothouse {} Issuing CA", self.cluster), validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        let permitted_subtrees = self.constraints.iter().filter_map(|it| subtree(it)).collect();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        params.signed_by(key, root)
    }

    /// The head's certificate for a public key. Whatever else the request asked for is not looked at.
    pub(crate) fn leaf(
        &self,
        key: &impl PublicKeyData,
        issuer: &Issuer<'_, KeyPair>,
        validity: Validity,
    ) -> Result<Certificate, Error> {
        let mut params = params(&self.head, validity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        for name in &self.names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        params.signed_by(key, issuer)
    }

    fn authority_params(&self, name: &str, validity: Validity) -> Result<CertificateParams, Error> {
        // A common name has at most 64 characters (RFC 5280 appendix A.1); a cluster's may have 63 itself.
        let name: String = name.chars().take(64).collect();
        let mut params = params(&name, validity)?;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }
}

fn params(name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Policy, Validity, subtree};
    use crate::config::Config;
    use domain::Document;
    use std::time::Duration;
    use time::OffsetDateTime;

    const DOCUMENT: &str = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n\
        [[network.planes]]\nname = \"nodes\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";

    fn policy(more: &str) -> Policy {
        let document = Document::parse(&format!("{DOCUMENT}{more}")).unwrap();
        Policy::new(&document, &Config::parse(&document).unwrap())
    }

    #[test]
    fn names_come_from_the_document() {
        let names =
            policy("[ca]\nhead_names = [\"head.example.org\", \"10.1.2.3\", \"localhost\"]\n").names();
        assert_eq!(
            names,
            "demo.openchami.cluster, demo-head, demo-head.openchami.cluster, localhost, head.example.org, \
             172.16.0.254, 127.0.0.1, ::1, 10.1.2.3"
        );
    }

    #[test]
    fn every_constraint_is_understood() {
        let policy = policy("[ca]\nhead_names = [\"fd00::1\"]\n");
        assert!(policy.constraints().contains(&"ip:172.16.0.0/24".to_owned()));
        assert!(policy.constraints().contains(&"ip:fd00::1/128".to_owned()));
        assert!(policy.constraints().iter().all(|it| subtree(it).is_some()));
    }

    #[test]
    fn no_certificate_outlives_its_issuer() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let root = Validity::root(now);
        let late = root.not_after - Duration::from_secs(3600);
        let intermediate = Validity::intermediate(late, root);
        let leaf = Validity::leaf(late, Duration::from_secs(86_400), intermediate);
        assert_eq!((intermediate.not_after, leaf.not_after), (root.not_after, root.not_after));
        assert!(
            root.is_fresh(now)
                && !root.is_fresh(late)
                && !root.is_fresh(root.not_before - Duration::from_secs(1))
        );
    }
}
