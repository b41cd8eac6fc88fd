//! The settings: `[dhcp]`, and what the document says of the planes dhcp answers on.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use domain::document::{self, PlaneKind, Pool};
use domain::{Document, Service};
use ipnet::Ipv4Net;
use serde::Deserialize;

/// A pool is searched address by address, so that it has a bound.
const POOL_MAX: u32 = 65_536;

/// `[dhcp]`. Every key may be left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Table {
    /// How long a known machine may use its address, in seconds.
    pub(crate) lease_s: u32,
    /// How long an unknown machine may, in seconds: short, so that it soon asks for its own once it is known.
    pub(crate) pool_lease_s: u32,
    /// What UEFI clients on x86-64 load, a file of `tftp_root`.
    pub(crate) efi: String,
    /// Where the boot loaders are.
    pub(crate) tftp_root: PathBuf,
    /// The port of the boot scripts on the head.
    pub(crate) script_port: u16,
    /// The port of the images on the head, where UEFI HTTP clients load iPXE.
    pub(crate) images_port: u16,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            lease_s: 86_400,
            pool_lease_s: 300,
            efi: "snponly.efi".to_owned(),
            tftp_root: "/usr/lib/ipxe".into(),
            script_port: 8081,
            images_port: 8080,
        }
    }
}

/// A network that dhcp answers on; a plane of the document may be several.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    /// The name of the document's plane.
    pub(crate) name: String,
    /// Which network.
    pub(crate) net: Ipv4Net,
    /// The head's address on this wire; none if machines are only reached through a relay.
    pub(crate) head: Option<Ipv4Addr>,
    /// The NIC by name or MAC, or a link's name; none as above.
    pub(crate) interface: Option<String>,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) pool: Option<Pool>,
    /// Another DHCP server may be there: nobody is refused, no unknown machine is answered.
    pub(crate) shared: bool,
}

impl Plane {
    /// The networks of one of the document's planes.
    fn of(plane: &document::Plane) -> Vec<Self> {
        let heads = plane.addresses.iter().map(|it| (it.trunc(), it.addr()));
        let first = plane.address().map(|it| it.addr());
        let mut planes: Vec<Self> = Vec::new();
        for net in plane.networks() {
            if planes.iter().any(|it| it.net == net) {
                continue;
            }
            let own = heads.clone().find(|it| it.0 == net).map(|it| it.1);
            let subnet = plane.subnets.iter().find(|it| it.cidr.trunc() == net);
            planes.push(Self {
                name: plane.name.clone(),
                net,
                head: own.or(first).filter(|_| plane.interface.is_some()),
                interface: plane.interface.clone(),
                router: subnet.and_then(|it| it.router),
                pool: subnet.and_then(|it| it.range),
                shared: plane.shared,
            });
        }
        planes
    }
}

/// Everything dhcp is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) table: Table,
    pub(crate) planes: Vec<Plane>,
    /// The DNS domain given to clients.
    pub(crate) domain: String,
    /// How a node without a name is called.
    pub(crate) pattern: String,
    /// Name servers; empty: the head.
    pub(crate) dns: Vec<Ipv4Addr>,
}

impl Config {
    /// Reads and checks the settings.
    pub(crate) fn of(document: &Document) -> anyhow::Result<Self> {
        let table: Table = document.table(Service::Dhcp).clone().try_into().context("read [dhcp]")?;
        ensure!(
            (600..=31_536_000).contains(&table.lease_s),
            "dhcp.lease_s: {} is out of range; write 600 (10 min) to 31536000 (a year), 86400 is usual",
            table.lease_s
        );
        ensure!(
            (60..=3600).contains(&table.pool_lease_s),
            "dhcp.pool_lease_s: {} is out of range; write 60 to 3600, 300 is usual",
            table.pool_lease_s
        );
        ensure!(
            crate::model::is_loader(&table.efi),
            "dhcp.efi: {:?} is no loader; there are {}",
            table.efi,
            crate::model::LOADERS.join(", ")
        );
        ensure!(table.tftp_root.is_absolute(), "dhcp.tftp_root: write a full path, /usr/lib/ipxe is usual");
        let served = document.network.planes.iter().filter(|it| it.kind != PlaneKind::Site);
        let planes: Vec<Plane> = served.flat_map(Plane::of).collect();
        for (plane, pool) in planes.iter().filter_map(|it| Some((it, it.pool?))) {
            ensure!(
                pool.last.to_bits() - pool.first.to_bits() < POOL_MAX,
                "network.planes: the range of {:?} is larger than {POOL_MAX} addresses; make it smaller",
                plane.name
            );
        }
        Ok(Self {
            table,
            planes,
            domain: document.cluster.domain.clone(),
            pattern: document.cluster.host_pattern.clone(),
            dns: document.network.dns.clone(),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Document;

    use super::Config;

    fn config(extra: &str) -> anyhow::Result<Config> {
        let range = if extra.contains("range") { "10.1.0.0-10.2.0.0" } else { "10.1.0.0-10.1.0.9" };
        let text = format!(
            r#"version = 1
            cluster = {{ name = "demo", domain = "openchami.cluster" }}
            {extra}
            [[network.planes]]
            name = "nodes"
            kind = "nodes"
            interface = "eth1"
            addresses = ["10.0.0.1/8"]
            [[network.planes.subnets]]
            cidr = "10.0.0.0/8"
            range = "{range}"
            [[network.planes.subnets]]
            cidr = "172.16.0.0/24"
            router = "172.16.0.1"
            [[network.planes]]
            name = "far"
            kind = "bmc"
            [[network.planes.subnets]]
            cidr = "192.168.7.0/24"
            [[network.planes]]
            name = "site"
            kind = "site"
            "#
        );
        Config::of(&Document::parse(&text).unwrap())
    }

    #[test]
    fn the_defaults_hold_and_the_site_is_not_served() {
        let config = config("").unwrap();
        assert_eq!(config.table.lease_s, 86_400);
        let planes = config.planes.iter().map(|it| (it.net.to_string(), it.head.map(|it| it.to_string())));
        let head = Some("10.0.0.1".to_owned());
        let expected = [
            ("10.0.0.0/8".to_owned(), head.clone()),
            ("172.16.0.0/24".to_owned(), head),
            ("192.168.7.0/24".to_owned(), None),
        ];
        assert_eq!(planes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_cannot_be_right_is_refused_by_name() {
        for (extra, place) in [
            ("dhcp = { lease_s = 5 }", "lease_s"),
            ("dhcp = { pool_lease_s = 86400 }", "pool_lease_s"),
            ("dhcp = { efi = \"../../etc/shadow\" }", "dhcp.efi"),
            ("dhcp = { tftp_root = \"tftp\" }", "tftp_root"),
            ("dhcp = { lease = 5 }", "lease"),
            ("#range", "range"),
        ] {
            let error = format!("{:#}", config(extra).unwrap_err());
            assert!(error.contains(place), "{extra}: {error}");
        }
    }
}
