//! The settings: `[dhcp]`, and what the document says of the planes dhcp answers on.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use domain::document::{PlaneKind, Pool};
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

/// A plane dhcp answers on.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    pub(crate) name: String,
    /// The head's address with its prefix.
    pub(crate) net: Ipv4Net,
    /// The NIC by name or MAC; none if machines are only reached through a relay.
    pub(crate) interface: Option<String>,
    pub(crate) vlan: Option<u16>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) pool: Option<Pool>,
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
        let planes =
            document.network.planes.iter().filter(|it| it.kind != PlaneKind::Site).filter_map(|it| {
                let (name, interface) = (it.name.clone(), it.interface.clone());
                Some(Plane {
                    name,
                    net: it.address?,
                    interface,
                    vlan: it.vlan,
                    gateway: it.gateway,
                    pool: it.pool,
                })
            });
        let planes: Vec<Plane> = planes.collect();
        for (plane, pool) in planes.iter().filter_map(|it| Some((it, it.pool?))) {
            ensure!(
                pool.last.to_bits() - pool.first.to_bits() < POOL_MAX,
                "network.planes: the pool of {:?} is larger than {POOL_MAX} addresses; make it smaller",
                plane.name
            );
        }
        Ok(Self {
            table,
            planes,
            domain: document.cluster.domain.clone(),
            pattern: document.cluster.node_name.clone(),
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
        let text = format!(
            "version = 1\ncluster = {{ name = \"demo\", domain = \"openchami.cluster\" }}\n{extra}\n
             [[network.planes]]\nname = \"nodes\"\nkind = \"nodes\"\naddress = \"10.0.0.1/8\"\n
             pool = \"10.1.0.0-10.2.0.0\"\n[[network.planes]]\nname = \"site\"\nkind = \"site\"\n"
        );
        let text = if extra.contains("pool =") { text } else { text.replace("10.2.0.0", "10.1.0.9") };
        Config::of(&Document::parse(&text).unwrap())
    }

    #[test]
    fn the_defaults_hold_and_the_site_is_not_served() {
        let config = config("").unwrap();
        assert_eq!(config.table.lease_s, 86_400);
        assert_eq!(config.planes.len(), 1);
    }

    #[test]
    fn what_cannot_be_right_is_refused_by_name() {
        for (extra, place) in [
            ("dhcp = { lease_s = 5 }", "lease_s"),
            ("dhcp = { pool_lease_s = 86400 }", "pool_lease_s"),
            ("dhcp = { efi = \"../../etc/shadow\" }", "dhcp.efi"),
            ("dhcp = { tftp_root = \"tftp\" }", "tftp_root"),
            ("dhcp = { lease = 5 }", "lease"),
            ("#pool = large", "pool"),
        ] {
            let error = format!("{:#}", config(extra).unwrap_err());
            assert!(error.contains(place), "{extra}: {error}");
        }
    }
}
