//! For which names and addresses certificates are made; all of it from the document.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::Document;
use ipnet::IpNet;

use crate::config::{Allowed, Config, HeadName};
use crate::model::Identifier;

/// For which names certificates are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(super) cluster: String,
    pub(super) head: String,
    pub(super) names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    constraints: Vec<String>,
    domains: Vec<String>,
    networks: Vec<IpNet>,
    crl_base: Option<String>,
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
        let crl_base = addresses.first().map(|it| {
            let host = if it.is_ipv6() { format!("[{it}]") } else { it.to_string() };
            format!("http://{host}:8081/crl")
        });
        addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
        let mut networks: Vec<IpNet> = planes().map(|it| IpNet::V4(it).trunc()).collect();
        let subnets = document.network.planes.iter().flat_map(|it| &it.subnets);
        networks.extend(subnets.map(|it| IpNet::V4(it.cidr).trunc()));
        let mut domains = vec![cluster.domain.clone()];
        for extra in &config.head_names {
            match extra {
                HeadName::Dns(name) => names.push(name.clone()),
                HeadName::Address(address) => addresses.push(*address),
            }
        }
        for allowed in &config.allowed_names {
            match allowed {
                Allowed::Domain(name) => domains.push(name.clone()),
                Allowed::Network(network) => networks.push(*network),
            }
        }
        let mut seen = std::collections::HashSet::new();
        names.retain(|it| seen.insert(it.clone()));
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|it| seen.insert(*it));
        let constraints = constraints(&names, &addresses, &domains, &networks);
        let cluster = cluster.name.clone();
        Self { cluster, head, names, addresses, constraints, domains, networks, crl_base }
    }

    /// What an intermediate is bound to: the cluster's domain, the head's names, the planes' networks, and what else
    /// is allowed.
    pub(crate) fn constraints(&self) -> &[String] {
        &self.constraints
    }

    /// The head's names, for a log.
    pub(crate) fn names(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.names.iter().cloned().chain(addresses).collect::<Vec<_>>().join(", ")
    }

    /// Where the revocation list of an issuer is found, by those who look for one.
    pub(crate) fn crl_url(&self, issuer: &str) -> Option<String> {
        self.crl_base.as_ref().map(|it| format!("{it}/{}.crl", crl_name(issuer)))
    }

    /// Whether it is a name or address of the head itself.
    pub(crate) fn is_head(&self, identifier: &Identifier) -> bool {
        match identifier {
            Identifier::Dns(name) => self.names.contains(name),
            Identifier::Ip(address) => self.addresses.contains(address),
        }
    }

    /// Whether a certificate may be made for it.
    pub(crate) fn allows(&self, identifier: &Identifier) -> bool {
        self.is_head(identifier)
            || match identifier {
                Identifier::Dns(name) => self.domains.iter().any(|it| is_under(name, it)),
                Identifier::Ip(address) => self.networks.iter().any(|it| is_host(it, *address)),
            }
    }
}

/// The file name of an issuer's revocation list: enough of its fingerprint.
pub(crate) fn crl_name(issuer: &str) -> &str {
    issuer.get(..32).unwrap_or(issuer)
}

fn is_under(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|it| it.is_empty() || it.ends_with('.'))
}

/// A machine's address in a network, not the network's own nor all machines'.
fn is_host(network: &IpNet, address: IpAddr) -> bool {
    let alone = network.prefix_len() == network.max_prefix_len();
    let is_end = address == network.network() || (address.is_ipv4() && address == network.broadcast());
    network.contains(&address) && (alone || !is_end)
}

fn constraints(
    names: &[String],
    addresses: &[IpAddr],
    domains: &[String],
    networks: &[IpNet],
) -> Vec<String> {
    let outside = names.iter().filter(|name| !domains.iter().any(|it| is_under(name, it)));
    let mut all: Vec<String> = domains.iter().chain(outside).map(|it| format!("dns:{it}")).collect();
    all.extend(networks.iter().map(|it| format!("ip:{it}")));
    let alone = addresses.iter().filter(|address| !networks.iter().any(|it| it.contains(*address)));
    all.extend(alone.map(|it| format!("ip:{}", IpNet::from(*it))));
    all.sort();
    all.dedup();
    all
}
