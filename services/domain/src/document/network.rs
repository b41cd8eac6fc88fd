//! Planes, links and subnets.

use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// VLANs and bonds on the NICs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The networks the head serves or uses.
    #[serde(default)]
    pub planes: Vec<Plane>,
    /// Name servers that nodes and the head are given; empty: the head's address for nodes.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Time servers of the head; empty: its own clock serves the cluster.
    #[serde(default)]
    pub ntp: Vec<String>,
}

/// What a plane carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaneKind {
    /// Towards the site.
    Site,
    /// Booting nodes.
    Nodes,
    /// Management controllers.
    Bmc,
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// A VLAN (IEEE 802.1Q) on a parent.
    Vlan,
    /// Several NICs as one.
    Bond,
}

/// A network link that is made of NICs. A NIC is named by its name or its MAC address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The link's name, at most 15 characters.
    pub name: String,
    /// VLAN or bond.
    pub kind: LinkKind,
    /// vlan: the NIC or bond beneath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// vlan: 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// bond: the NICs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// bond: systemd.netdev(5), `Mode=`; `active-backup` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A network the head serves or uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plane {
    /// A word for logs and messages, unique.
    pub name: String,
    /// What it carries.
    pub kind: PlaneKind,
    /// The NIC, by name or MAC address, or a link; none for subnets that are only reached through a relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The head's addresses with their prefix, `172.16.0.254/24`; none (site alone): by DHCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Ipv4Net>,
    /// Whether another DHCP server may be on this wire; then nobody is refused and no unknown machine answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What is known of the networks on this wire beyond the head's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Subnet>,
}

/// A network on a plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Which, `172.16.0.0/24`.
    pub cidr: Ipv4Net,
    /// Addresses for machines that are in no inventory; none: they get no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Pool>,
    /// The router that machines (site: the head) use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
    /// Name servers that machines here are given; empty: those of the network, else the head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv4Addr>,
    /// Time servers that machines here are given; empty: the head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<Ipv4Addr>,
    /// The largest IP packet machines here send, in bytes; none: as their NICs have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// A run of addresses, `172.16.0.200-172.16.0.250`, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool {
    /// The first address.
    pub first: Ipv4Addr,
    /// The last address, not below the first.
    pub last: Ipv4Addr,
}

impl Network {
    /// The first plane of a kind that has a local address.
    #[must_use]
    pub fn first(&self, kind: PlaneKind) -> Option<(&Plane, Ipv4Net)> {
        self.planes.iter().filter(|it| it.kind == kind).find_map(|it| Some((it, it.address()?)))
    }

    /// The plane whose network holds this address.
    #[must_use]
    pub fn plane_of(&self, address: Ipv4Addr) -> Option<&Plane> {
        self.planes.iter().find(|it| it.networks().any(|net| net.contains(&address)))
    }

    /// The link of this name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|it| it.name == name)
    }
}

impl Plane {
    /// The head's first address on this plane.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Net> {
        self.addresses.first().copied()
    }

    /// The networks on this plane: those of the head's addresses, then those that are only named.
    pub fn networks(&self) -> impl Iterator<Item = Ipv4Net> {
        self.addresses.iter().map(Ipv4Net::trunc).chain(self.subnets.iter().map(|it| it.cidr.trunc()))
    }

    /// The router of the network of the head's first address.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.first_subnet()?.router
    }

    /// The addresses for unknown machines in the network of the head's first address.
    #[must_use]
    pub fn range(&self) -> Option<Pool> {
        self.first_subnet()?.range
    }

    fn first_subnet(&self) -> Option<&Subnet> {
        let net = self.address()?.trunc();
        self.subnets.iter().find(|it| it.cidr.trunc() == net)
    }
}

impl Pool {
    /// Whether the pool holds this address.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl FromStr for Pool {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("{text:?} is no run of addresses; write 172.16.0.200-172.16.0.250");
        let (first, last) = text.split_once('-').ok_or_else(fail)?;
        let first: Ipv4Addr = first.trim().parse().map_err(|_| fail())?;
        let last = last.trim().parse().map_err(|_| fail())?;
        if first > last { Err(fail()) } else { Ok(Self { first, last }) }
    }
}

impl TryFrom<String> for Pool {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        format!("{}-{}", pool.first, pool.last)
    }
}
