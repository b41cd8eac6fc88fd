//! The networks that dhcp answers on.

use std::net::Ipv4Addr;

use anyhow::ensure;
use domain::document::{self, Pool};
use ipnet::Ipv4Net;

use crate::wire::Options;

/// A pool has a bound, for its memory.
const POOL_MAX: u32 = 262_144;

/// A network that dhcp answers on; a plane of the document may be several on one wire.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    /// The name of the document's plane.
    pub(crate) name: String,
    /// Which wire: networks of one plane of the document share theirs.
    pub(crate) wire: usize,
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
    /// Name servers; empty: the head.
    pub(crate) dns: Vec<Ipv4Addr>,
    /// Time servers; empty: the head.
    pub(crate) ntp: Vec<Ipv4Addr>,
    pub(crate) mtu: Option<u16>,
    /// The site's options for all and for this network.
    pub(crate) options: Options,
}

impl Plane {
    /// The networks of one of the document's planes.
    pub(super) fn of(plane: &document::Plane, wire: usize, dns: &[Ipv4Addr]) -> Vec<Self> {
        let heads = plane.addresses.iter().map(|it| (it.trunc(), it.addr()));
        let first = plane.address().map(|it| it.addr());
        let mut planes: Vec<Self> = Vec::new();
        for net in plane.networks() {
            if planes.iter().any(|it| it.net == net) {
                continue;
            }
            let own = heads.clone().find(|it| it.0 == net).map(|it| it.1);
            let subnet = plane.subnets.iter().find(|it| it.cidr.trunc() == net);
            let own_dns = subnet.map(|it| it.dns.as_slice()).filter(|it| !it.is_empty());
            planes.push(Self {
                name: plane.name.clone(),
                wire,
                net,
                head: own.or(first).filter(|_| plane.interface.is_some()),
                interface: plane.interface.clone(),
                router: subnet.and_then(|it| it.router),
                pool: subnet.and_then(|it| it.range),
                shared: plane.shared,
                dns: own_dns.unwrap_or(dns).to_vec(),
                ntp: subnet.map(|it| it.ntp.clone()).unwrap_or_default(),
                mtu: subnet.and_then(|it| it.mtu),
                options: Options::default(),
            });
        }
        planes
    }

    /// How messages call it.
    pub(crate) fn label(&self) -> String {
        format!("{} of the plane {:?}", self.net, self.name)
    }
}

/// Refuses what cannot be right of several networks; both places are named.
pub(super) fn check(document: &document::Document, planes: &[Plane]) -> anyhow::Result<()> {
    for (place, plane) in planes.iter().enumerate() {
        for other in &planes[..place] {
            let meet = plane.net.contains(&other.net.network()) || other.net.contains(&plane.net.network());
            // Nodes and BMCs may share a network and the head's address on it.
            let alike = plane.net == other.net && plane.head == other.head;
            ensure!(
                !meet || alike,
                "network.planes: the networks {} and {} overlap; a client belongs to one",
                other.label(),
                plane.label()
            );
            let pools = plane.pool.zip(other.pool);
            ensure!(
                !pools.is_some_and(|(one, two)| one.first <= two.last && two.first <= one.last),
                "network.planes: the ranges of {} and {} overlap; an address belongs to one",
                other.label(),
                plane.label()
            );
        }
        let Some(pool) = plane.pool else { continue };
        ensure!(
            pool.last.to_bits() - pool.first.to_bits() < POOL_MAX,
            "network.planes: the range of {} is larger than {POOL_MAX} addresses; make it smaller",
            plane.label()
        );
        for other in planes {
            let head = other.head.filter(|it| pool.contains(*it));
            ensure!(
                head.is_none(),
                "network.planes: the range {} of {} holds the head's own address {} on {}",
                String::from(pool),
                plane.label(),
                head.unwrap_or(Ipv4Addr::UNSPECIFIED),
                other.label()
            );
        }
    }
    let heads = document.network.planes.iter().flat_map(|it| it.addresses.iter().map(move |net| (it, net)));
    for (owner, net) in heads {
        let holder = planes.iter().find(|it| it.pool.is_some_and(|pool| pool.contains(net.addr())));
        if let Some(holder) = holder {
            let (range, name) = (holder.label(), &owner.name);
            anyhow::bail!(
                "network.planes: the range of {range} holds the head's own address {} on {name:?}",
                net.addr()
            );
        }
    }
    check_subnets(document)
}

/// A subnet that is named twice on one plane, with two ranges, say.
fn check_subnets(document: &document::Document) -> anyhow::Result<()> {
    let mut seen: Vec<(Ipv4Net, &str)> = Vec::new();
    for plane in &document.network.planes {
        for subnet in &plane.subnets {
            let net = subnet.cidr.trunc();
            let before = seen.iter().find(|it| it.0 == net && it.1 == plane.name);
            ensure!(
                before.is_none(),
                "network.planes: the plane {:?} has two subnets {net}; leave one",
                plane.name
            );
            seen.push((net, &plane.name));
        }
    }
    Ok(())
}
