//! The decisions: what a request is answered. Pure: the inventory, the planes, the leases and the time are
//! given.

mod boot;
mod leases;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;
mod unknown;

use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{DhcpOption, MessageType};
use domain::Xname;
use domain::inventory::{Interface, Inventory};

pub(crate) use self::boot::{LOADERS, autoexec, boot_file, is_loader};
pub(crate) use self::leases::{Change, Lease, Leases};
pub(crate) use self::transfer::{Session, Step, Window};
pub(crate) use self::unknown::Unknown;
use crate::config::{Config, Plane};
use crate::wire::{Reply, Request};

/// How a packet arrived.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    /// The planes it may belong to: those of its interface, or that of its relay. More than one if they share
    /// a NIC.
    pub(crate) planes: Vec<&'a Plane>,
    /// The head's address it was sent to, or that of the interface.
    pub(crate) local: Ipv4Addr,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// What is done about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The machine, if the inventory says which.
    pub(crate) node: Option<Xname>,
    /// Why the MAC counts as unknown, if it does.
    pub(crate) unknown: Option<Stranger>,
    /// The plane, if one fits.
    pub(crate) plane: Option<String>,
    /// What changes among the leases of unknown machines.
    pub(crate) change: Option<Change>,
    /// The answer; none: silence.
    pub(crate) reply: Option<Reply>,
    /// There was no address left to lend.
    pub(crate) exhausted: bool,
    /// A sentence for the journal about what is not ordinary.
    pub(crate) note: Option<String>,
}

/// Why a MAC has no address of its own here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stranger {
    /// The inventory does not have it.
    NotInInventory,
    /// The inventory has it without an address.
    NoAddress,
    /// Its addresses belong to other planes.
    OtherPlane,
}

/// Decides. `leases` are those of unknown machines.
pub(crate) fn decide(
    inventory: &Inventory,
    config: &Config,
    leases: &Leases,
    arrival: &Arrival<'_>,
    request: &Request,
) -> Decision {
    let mut decision = Decision::default();
    if arrival.planes.is_empty() {
        return decision;
    }
    let interface = inventory.interface_by_mac(request.mac);
    decision.node = interface.and_then(|it| it.component.clone());
    match find_address(interface, arrival) {
        Ok((plane, address)) => {
            decision.plane = Some(plane.name.clone());
            // Known now: what it held of the pool is free again.
            decision.change = leases.find(request.mac).map(|_| Change::Release(request.mac));
            let name = interface.and_then(|it| inventory.component(it.component.as_ref()?));
            let name = name.map(|it| inventory.name_of(it, &config.pattern));
            let grant = Grant { plane, address, name, lease_s: config.table.lease_s };
            answer(config, arrival, request, &grant, &mut decision);
        }
        Err(stranger) => {
            decision.unknown = Some(stranger);
            // A machine on the wrong wire gets no second address: it would hide the mistake.
            let pool = arrival.planes.iter().find(|it| it.pool.is_some() && !it.shared);
            decision.plane = pool.or(arrival.planes.first()).map(|it| it.name.clone());
            if let Some(plane) = pool.filter(|_| stranger != Stranger::OtherPlane) {
                answer_stranger(inventory, config, leases, (arrival, plane), request, &mut decision);
            }
        }
    }
    decision
}

/// The first address of the interface that is on one of the planes.
fn find_address<'a>(
    interface: Option<&Interface>,
    arrival: &Arrival<'a>,
) -> Result<(&'a Plane, Ipv4Addr), Stranger> {
    let interface = interface.ok_or(Stranger::NotInInventory)?;
    let mut addresses = interface.ips().filter_map(|it| match it {
        IpAddr::V4(it) => Some(it),
        IpAddr::V6(_) => None,
    });
    let plane_of = |ip: &Ipv4Addr| arrival.planes.iter().find(|it| it.net.contains(ip));
    let Some(first) = addresses.next() else { return Err(Stranger::NoAddress) };
    let found = std::iter::once(first).chain(addresses).find_map(|ip| Some((*plane_of(&ip)?, ip)));
    found.ok_or(Stranger::OtherPlane)
}

/// What a machine is to have.
struct Grant<'a> {
    plane: &'a Plane,
    address: Ipv4Addr,
    name: Option<String>,
    lease_s: u32,
}

/// Answers a machine whose address is certain (RFC 2131 section 4.3).
fn answer(config: &Config, arrival: &Arrival<'_>, request: &Request, grant: &Grant<'_>, to: &mut Decision) {
    let head = head_of(arrival, request, grant.plane);
    match request.kind {
        MessageType::Discover => to.reply = Some(positive(config, request, grant, head, MessageType::Offer)),
        MessageType::Request => match asked_for(request, arrival, head) {
            Asked::Another => {}
            Asked::Address(ip) if ip == grant.address => {
                to.reply = Some(positive(config, request, grant, head, MessageType::Ack));
            }
            Asked::Address(ip) => {
                to.note = Some(format!("{} asked for {ip} and has {}: refused", request.mac, grant.address));
                // On a shared wire it may be another server's (DESIGN: safe on shared wires).
                to.reply = (!grant.plane.shared).then(|| negative(head));
            }
            Asked::Nothing => to.note = Some(format!("{} asked for no address", request.mac)),
        },
        MessageType::Inform => {
            let mut reply = positive(config, request, grant, head, MessageType::Ack);
            reply.yiaddr = Ipv4Addr::UNSPECIFIED;
            // No lease in an answer to INFORM (RFC 2131 section 4.3.5).
            reply.options.retain(|it| {
                use DhcpOption::{AddressLeaseTime, Rebinding, Renewal};
                !matches!(it, AddressLeaseTime(_) | Renewal(_) | Rebinding(_))
            });
            to.reply = Some(reply);
        }
        MessageType::Decline => {
            to.note = Some(format!(
                "{} declined {}: another machine uses it; find that one with arping, the address stays",
                request.mac, grant.address
            ));
        }
        MessageType::Release => to.note = Some(format!("{} released {}", request.mac, grant.address)),
        _ => {}
    }
}

/// Answers a machine that has no address of its own, from the plane's pool.
fn answer_stranger(
    inventory: &Inventory,
    config: &Config,
    leases: &Leases,
    (arrival, plane): (&Arrival<'_>, &Plane),
    request: &Request,
    to: &mut Decision,
) {
    let head = head_of(arrival, request, plane);
    let free = |ip| leases.is_free_for(request.mac, ip, plane, inventory, arrival.now);
    let held = leases.find(request.mac).map(|it| it.ip).filter(|it| free(*it));
    let mut give = |ip: Ipv4Addr, kind| {
        let lease_s = config.table.pool_lease_s;
        let bound = kind == MessageType::Ack;
        let expires = arrival.now + if bound { i64::from(lease_s) } else { leases::RESERVED_S };
        let lease = Lease { mac: request.mac, ip, plane: plane.name.clone(), expires, bound };
        to.change = Some(Change::Hold(lease));
        let grant = Grant { plane, address: ip, name: None, lease_s };
        to.reply = Some(positive(config, request, &grant, head, kind));
    };
    match request.kind {
        MessageType::Discover => {
            let wanted = held.or_else(|| request.requested.filter(|it| free(*it)));
            match wanted.or_else(|| leases.choose(request.mac, plane, inventory, arrival.now)) {
                Some(ip) => give(ip, MessageType::Offer),
                None => to.exhausted = true,
            }
        }
        MessageType::Request => match asked_for(request, arrival, head) {
            Asked::Address(ip) if held.unwrap_or(ip) == ip && free(ip) => give(ip, MessageType::Ack),
            Asked::Address(ip) => {
                to.note = Some(format!("{} asked for {ip}, which is not its own: refused", request.mac));
                to.change = Some(Change::Release(request.mac));
                to.reply = Some(negative(head));
            }
            Asked::Another => to.change = held.map(|_| Change::Release(request.mac)),
            Asked::Nothing => {}
        },
        MessageType::Decline => {
            to.note =
                Some(format!("{} declined {:?}: another machine uses it", request.mac, request.requested));
            to.change = request.requested.filter(|it| Some(*it) == held).map(|ip| Change::Refuse {
                mac: request.mac,
                ip,
                until: arrival.now + leases::REFUSED_S,
            });
        }
        MessageType::Release => to.change = Some(Change::Release(request.mac)),
        _ => {}
    }
}

enum Asked {
    /// It took another server's offer.
    Another,
    /// This address, by option 50 (selecting, init-reboot) or ciaddr (renewing, rebinding).
    Address(Ipv4Addr),
    Nothing,
}

fn asked_for(request: &Request, arrival: &Arrival<'_>, head: Ipv4Addr) -> Asked {
    let ours = |it: Ipv4Addr| it == head || arrival.planes.iter().any(|plane| plane.head == Some(it));
    if request.server.is_some_and(|it| !ours(it)) {
        return Asked::Another;
    }
    let renewed = Some(request.ciaddr).filter(|it| !it.is_unspecified());
    request.requested.or(renewed).map_or(Asked::Nothing, Asked::Address)
}

/// The head as this client reaches it: its address on the plane; through a relay, the one the relay sends to.
fn head_of(arrival: &Arrival<'_>, request: &Request, plane: &Plane) -> Ipv4Addr {
    let here = plane.head.filter(|_| !request.is_relayed());
    here.unwrap_or(arrival.local)
}

fn positive(
    config: &Config,
    request: &Request,
    grant: &Grant<'_>,
    head: Ipv4Addr,
    kind: MessageType,
) -> Reply {
    let net = grant.plane.net;
    let dns = if config.dns.is_empty() { vec![head] } else { config.dns.clone() };
    let mut options = vec![
        DhcpOption::AddressLeaseTime(grant.lease_s),
        DhcpOption::Renewal(grant.lease_s / 2),
        DhcpOption::Rebinding(grant.lease_s / 8 * 7),
        DhcpOption::SubnetMask(net.netmask()),
        DhcpOption::BroadcastAddr(net.broadcast()),
    ];
    options.extend(grant.plane.router.map(|it| DhcpOption::Router(vec![it])));
    options.push(DhcpOption::DomainNameServer(dns));
    options.extend(grant.name.clone().map(DhcpOption::Hostname));
    options.push(DhcpOption::DomainName(config.domain.clone()));
    options.push(DhcpOption::NtpServers(vec![head]));
    // No root path (17), though coresmd sends the server's bare address there: iPXE takes 17 for a SAN
    // device.
    let boot = boot_file(&config.table, request, head);
    options.extend(boot.iter().flat_map(|it| it.options.clone()));
    let booting = boot.is_some();
    Reply {
        kind,
        yiaddr: grant.address,
        siaddr: if booting { head } else { Ipv4Addr::UNSPECIFIED },
        server: head,
        file: boot.map(|it| it.file),
        options,
    }
}

fn negative(head: Ipv4Addr) -> Reply {
    let none = Ipv4Addr::UNSPECIFIED;
    let options = vec![DhcpOption::Message("this address is not yours on this network".to_owned())];
    Reply { kind: MessageType::Nak, yiaddr: none, siaddr: none, server: head, file: None, options }
}
