//! The settings: `[dhcp]`, and what the document says of the planes dhcp answers on.

mod loaders;
mod options;
mod plane;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use domain::document::PlaneKind;
use domain::{Document, MacAddr, Service, Xname};
use ipnet::Ipv4Net;
use serde::Deserialize;

pub(crate) use self::loaders::{Loader, Loaders};
pub(crate) use self::options::has_default_route;
pub(crate) use self::plane::Plane;
use crate::wire::Options;

/// `[dhcp]`. Every key may be left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Table {
    /// How long a known machine may use its address, in seconds.
    pub(crate) lease_s: u32,
    /// How long an unknown machine may, in seconds: short, so that it soon asks for its own once it is known.
    pub(crate) pool_lease_s: u32,
    /// How long an address that a client found in use is not lent to anybody, in seconds.
    pub(crate) declined_s: u32,
    /// What UEFI clients on x86-64 load, a file of `tftp_root`.
    pub(crate) efi: String,
    /// Where the boot loaders are.
    pub(crate) tftp_root: PathBuf,
    /// What machines load by their architecture (option 93), instead of what is usual or where there is nothing.
    pub(crate) loaders: Loaders,
    /// Further files that TFTP serves, by the last part of their paths: what a loader loads next.
    pub(crate) files: Vec<PathBuf>,
    /// The port of the boot scripts on the head.
    pub(crate) script_port: u16,
    /// The port of the images on the head, where UEFI HTTP clients load iPXE.
    pub(crate) images_port: u16,
    /// NICs of node and BMC planes that run slower are a health issue, in Mbit/s.
    pub(crate) link_mbps: u32,
    /// The relays that are answered, addresses or networks of them; empty: whichever stands in a network that
    /// dhcp knows.
    pub(crate) relays: Vec<Relay>,
    /// Machines that are in no inventory and yet have an address of their own.
    pub(crate) reservations: Vec<Reservation>,
    /// Options for all.
    pub(crate) options: options::Table,
    /// Options of a network, by `172.16.0.0/24`.
    pub(crate) subnets: BTreeMap<Ipv4Net, Scope>,
    /// Options of a group's members, by its label.
    pub(crate) groups: BTreeMap<String, Scope>,
    /// Options of a node, by its xname.
    pub(crate) nodes: BTreeMap<String, Scope>,
}

/// Options of some machines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    pub(crate) options: options::Table,
}

/// A relay's address, or the network it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Relay(pub(crate) Ipv4Net);

impl TryFrom<String> for Relay {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let one = text.parse::<Ipv4Addr>().ok().and_then(|it| Ipv4Net::new(it, 32).ok());
        let net = one.or_else(|| text.parse().ok());
        net.map(Self).ok_or_else(|| format!("{text:?} is no relay; write 10.9.0.1 or 10.9.0.0/24"))
    }
}

/// An address for a machine that is in no inventory: a switch, a PDU, a console server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reservation {
    pub(crate) mac: MacAddr,
    pub(crate) ip: Ipv4Addr,
    /// What it is called.
    #[serde(default)]
    pub(crate) name: Option<String>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            lease_s: 86_400,
            pool_lease_s: 300,
            declined_s: 3600,
            efi: "snponly.efi".to_owned(),
            tftp_root: "/usr/lib/ipxe".into(),
            loaders: Loaders::default(),
            files: Vec::new(),
            script_port: 8081,
            images_port: 8080,
            link_mbps: 1000,
            relays: Vec::new(),
            reservations: Vec::new(),
            options: BTreeMap::new(),
            subnets: BTreeMap::new(),
            groups: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }
}

/// Everything dhcp is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) table: Table,
    pub(crate) planes: Vec<Plane>,
    /// The places in `planes` of each wire.
    pub(crate) wires: Vec<Vec<usize>>,
    /// The DNS domain given to clients.
    pub(crate) domain: String,
    /// How a node without a name is called.
    pub(crate) pattern: String,
    /// Options of groups in order of label, each over those before it.
    pub(crate) groups: BTreeMap<String, Options>,
    /// Options of nodes, over all others.
    pub(crate) nodes: HashMap<Xname, Options>,
    /// Places in `table.reservations`.
    pub(crate) by_mac: HashMap<MacAddr, Vec<usize>>,
    /// Whose address it is.
    pub(crate) by_ip: HashMap<Ipv4Addr, MacAddr>,
    /// InfiniBand ports among the reservations.
    pub(crate) by_guid: HashMap<[u8; 8], MacAddr>,
    /// The site's own files that TFTP serves, by name.
    pub(crate) files: HashMap<String, PathBuf>,
}

impl Config {
    /// Reads and checks the settings.
    pub(crate) fn of(document: &Document) -> anyhow::Result<Self> {
        let table: Table = document.table(Service::Dhcp).clone().try_into().context("read [dhcp]")?;
        check_table(&table)?;
        let files = loaders::served(&table.loaders, &table.files)?;
        let served = document.network.planes.iter().filter(|it| it.kind != PlaneKind::Site);
        let dns = &document.network.dns;
        let planes = served.enumerate().flat_map(|(wire, it)| Plane::of(it, wire, dns)).collect();
        let mut config = Self {
            table,
            planes,
            wires: Vec::new(),
            domain: document.cluster.domain.clone(),
            pattern: document.cluster.host_pattern.clone(),
            groups: BTreeMap::new(),
            nodes: HashMap::new(),
            by_mac: HashMap::new(),
            by_ip: HashMap::new(),
            by_guid: HashMap::new(),
            files,
        };
        plane::check(document, &config.planes)?;
        config.set_wires();
        config.read_scopes()?;
        config.read_reservations()?;
        Ok(config)
    }

    /// The places of networks by wire.
    pub(crate) fn set_wires(&mut self) {
        let count = self.planes.iter().map(|it| it.wire + 1).max().unwrap_or(0);
        self.wires = vec![Vec::new(); count];
        for (place, plane) in self.planes.iter().enumerate() {
            self.wires[plane.wire].push(place);
        }
    }

    fn read_scopes(&mut self) -> anyhow::Result<()> {
        let all = options::read("dhcp.options", &self.table.options)?;
        for plane in &mut self.planes {
            plane.options = all.clone();
        }
        for (net, scope) in &self.table.subnets {
            let place = format!("dhcp.subnets.{net}");
            let options = options::read(&place, &scope.options)?;
            let mut known = false;
            for plane in self.planes.iter_mut().filter(|it| it.net == net.trunc()) {
                plane.options.overlay(&options);
                known = true;
            }
            ensure!(known, "{place}: no plane of network.planes has this network; is it mistyped?");
        }
        for (label, scope) in &self.table.groups {
            let options = options::read(&format!("dhcp.groups.{label}"), &scope.options)?;
            self.groups.insert(label.to_lowercase(), options);
        }
        for (node, scope) in &self.table.nodes {
            let place = format!("dhcp.nodes.{node}");
            let xname: Xname = node.parse().with_context(|| place.clone())?;
            self.nodes.insert(xname, options::read(&place, &scope.options)?);
        }
        Ok(())
    }

    fn read_reservations(&mut self) -> anyhow::Result<()> {
        for (place, it) in self.table.reservations.iter().enumerate() {
            let at = |place: usize| format!("dhcp.reservations[{place}]");
            let plane = self.planes.iter().find(|plane| plane.net.contains(&it.ip));
            let Some(plane) = plane else {
                anyhow::bail!("{}: {} is in no network of network.planes", at(place), it.ip);
            };
            ensure!(
                plane.head != Some(it.ip) && plane.router != Some(it.ip),
                "{}: {} is the head's or the router's own address on {}",
                at(place),
                it.ip,
                plane.label()
            );
            let others = || self.table.reservations[..place].iter().enumerate();
            if let Some((other, _)) = others().find(|other| other.1.ip == it.ip) {
                anyhow::bail!("{} and {} give {} to two machines", at(other), at(place), it.ip);
            }
            // One MAC may have an address on each of several networks.
            let double = |other: &Reservation| other.mac == it.mac && plane.net.contains(&other.ip);
            if let Some((other, _)) = others().find(|other| double(other.1)) {
                anyhow::bail!("{} and {} are both for {} on {}", at(other), at(place), it.mac, plane.label());
            }
            if let Some(name) = it.name.as_ref().filter(|it| !it.split('.').all(domain::document::is_label)) {
                anyhow::bail!("{}: {name:?} is no host name", at(place));
            }
            self.by_mac.entry(it.mac).or_default().push(place);
            self.by_ip.insert(it.ip, it.mac);
            self.by_guid.extend(it.mac.guid().map(|guid| (guid, it.mac)));
        }
        Ok(())
    }

    /// The network of an address.
    pub(crate) fn place_of(&self, ip: Ipv4Addr) -> Option<usize> {
        self.planes.iter().position(|it| it.net.contains(&ip))
    }

    /// What the settings reserve for a machine.
    pub(crate) fn reservations_of(&self, mac: MacAddr) -> impl Iterator<Item = &Reservation> {
        self.by_mac.get(&mac).into_iter().flatten().map(|it| &self.table.reservations[*it])
    }

    /// Whether `ip` is the head's on one of the planes.
    pub(crate) fn is_head(&self, ip: Ipv4Addr) -> bool {
        self.planes.iter().any(|it| it.head == Some(ip))
    }
}

fn check_table(table: &Table) -> anyhow::Result<()> {
    ensure!(
        (600..=31_536_000).contains(&table.lease_s),
        "dhcp.lease_s: {} is out of range; write 600 (10 min) to 31536000 (a year), 86400 is usual",
        table.lease_s
    );
    ensure!(
        (60..=86_400).contains(&table.pool_lease_s),
        "dhcp.pool_lease_s: {} is out of range; write 60 to 86400, 300 is usual",
        table.pool_lease_s
    );
    ensure!(
        (60..=604_800).contains(&table.declined_s),
        "dhcp.declined_s: {} is out of range; write 60 to 604800 (a week), 3600 is usual",
        table.declined_s
    );
    ensure!(
        crate::model::is_loader(&table.efi),
        "dhcp.efi: {:?} is no loader; there are {}",
        table.efi,
        crate::model::LOADERS.join(", ")
    );
    ensure!(table.tftp_root.is_absolute(), "dhcp.tftp_root: write a full path, /usr/lib/ipxe is usual");
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use domain::{Document, Service};

    use super::{Config, Table};

    /// `[dhcp]` of a document.
    pub(crate) fn table(text: &str) -> Result<Table, String> {
        let cluster = "cluster = { name = \"demo\", domain = \"openchami.cluster\" }";
        let document = Document::parse(&format!("version = 1\n{cluster}\n{text}")).unwrap();
        document.table(Service::Dhcp).clone().try_into().map_err(|it| format!("{it}"))
    }

    fn config(extra: &str) -> anyhow::Result<Config> {
        let range = if extra.contains("range") { "10.1.0.0-10.9.0.0" } else { "10.1.0.0-10.1.0.9" };
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
            ("dhcp = { pool_lease_s = 864000 }", "pool_lease_s"),
            ("dhcp = { efi = \"../../etc/shadow\" }", "dhcp.efi"),
            ("dhcp = { tftp_root = \"tftp\" }", "tftp_root"),
            ("dhcp = { lease = 5 }", "lease"),
            ("#range", "range"),
        ] {
            let error = format!("{:#}", config(extra).unwrap_err());
            assert!(error.contains(place), "{extra}: {error}");
        }
    }

    #[test]
    fn what_two_places_claim_is_refused_and_both_are_named() {
        let reserve = |mac: &str, ip: &str| {
            format!("[[dhcp.reservations]]\nmac = \"02:00:00:00:00:{mac}\"\nip = \"{ip}\"\n")
        };
        let plane = |cidr: &str| {
            format!(
                "[[network.planes]]\nname = \"other\"\nkind = \"bmc\"\nsubnets = [{{ cidr = \"{cidr}\" }}]\n"
            )
        };
        for (extra, words) in [
            (reserve("01", "10.0.0.5") + &reserve("02", "10.0.0.5"), ["reservations[0]", "reservations[1]"]),
            (reserve("01", "10.0.0.5") + &reserve("01", "10.0.0.6"), ["reservations[0]", "reservations[1]"]),
            (reserve("01", "10.0.0.1"), ["reservations[0]", "own address"]),
            (reserve("01", "192.0.2.1"), ["reservations[0]", "no network"]),
            (
                plane("10.7.0.0/16"),
                ["10.7.0.0/16 of the plane \"other\"", "10.0.0.0/8 of the plane \"nodes\""],
            ),
            ("[dhcp.subnets.\"10.3.0.0/24\"]\noptions = {}\n".to_owned(), ["10.3.0.0/24", "no plane"]),
            ("[dhcp.nodes.nid001]\noptions = {}\n".to_owned(), ["dhcp.nodes.nid001", "not an xname"]),
        ] {
            let error = format!("{:#}", config(&extra).unwrap_err());
            assert!(words.iter().all(|it| error.contains(it)), "{extra}: {error}");
        }
        assert!(config(&(reserve("01", "10.0.0.5") + &reserve("01", "172.16.0.5"))).is_ok());
    }
}
