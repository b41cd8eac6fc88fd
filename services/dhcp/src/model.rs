//! The decisions: what a request is answered. Pure: the inventory, the settings, the leases and the time are
//! given. The same code answers clients and tells `pilotctl dhcp why` rule by rule.

mod boot;
#[cfg(test)]
mod cases;
mod grant;
mod leases;
mod place;
mod stranger;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;
mod unknown;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use domain::inventory::{Interface, Inventory};
use domain::{MacAddr, Xname};

pub(crate) use self::boot::{LOADERS, architecture_name, autoexec, boots_by_http, client_of, is_loader};
pub(crate) use self::leases::{Change, Lease, Leases};
pub(crate) use self::place::{Arrival, find_places};
pub(crate) use self::transfer::{Session, Step, Window};
pub(crate) use self::unknown::Unknown;
use crate::config::Config;
use crate::wire::{Kind, Reply, Request, code};

/// What is known when a request comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) config: &'a Config,
    pub(crate) leases: &'a Leases,
    /// What known machines were given.
    pub(crate) acks: &'a HashMap<Ipv4Addr, Ack>,
}

/// An ACK to a known machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) mac: MacAddr,
    /// The network's place in the configuration.
    pub(crate) place: usize,
    /// Seconds since 1970.
    pub(crate) expires: i64,
}

/// What is done about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The machine, if the inventory says which.
    pub(crate) node: Option<Xname>,
    /// Why the MAC counts as unknown, if it does.
    pub(crate) unknown: Option<Stranger>,
    /// The place of the network, if one fits.
    pub(crate) place: Option<usize>,
    /// What changes among the leases of unknown machines.
    pub(crate) change: Option<Change>,
    /// The answer; none: silence.
    pub(crate) reply: Option<Reply>,
    /// There was no address left to lend.
    pub(crate) exhausted: bool,
    /// A sentence for the journal about what is not ordinary.
    pub(crate) note: Option<String>,
    /// What somebody has to look at.
    pub(crate) alarm: Option<Alarm>,
}

/// What somebody has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Alarm {
    /// A client found another machine at its address.
    Declined { mac: MacAddr, ip: Ipv4Addr },
    /// Two machines are given one address, and the other one has it now.
    Duplicate { mac: MacAddr, other: MacAddr, ip: Ipv4Addr },
    /// A client took another server's offer.
    Rival { mac: MacAddr, server: Ipv4Addr },
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
    /// Another machine has its address.
    Taken,
}

/// What was thought, for whoever asks why.
#[derive(Debug)]
pub(crate) enum Trace {
    Off,
    On(Vec<String>),
}

impl Trace {
    /// Notes a sentence; it is only made if somebody reads it.
    pub(crate) fn say(&mut self, sentence: impl FnOnce() -> String) {
        if let Self::On(said) = self {
            said.push(sentence());
        }
    }
}

/// An address that belongs to a machine.
#[derive(Clone, Copy, Debug)]
struct Own {
    place: usize,
    ip: Ipv4Addr,
}

/// Has the request say who asks as the inventory or the settings write it: an InfiniBand port is known by its GUID,
/// whatever queue pair stands before it there.
pub(crate) fn identify(request: &mut Request, inventory: &Inventory, config: &Config) {
    let Some(guid) = request.guid else { return };
    if inventory.interface_by_mac(request.mac).is_none() {
        let listed = inventory.interface_by_guid(guid).map(|it| it.mac);
        request.mac = listed.or_else(|| config.by_guid.get(&guid).copied()).unwrap_or(request.mac);
    }
}

/// Decides.
pub(crate) fn decide(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    trace: &mut Trace,
) -> Decision {
    let mut decision = Decision::default();
    let interface = world.inventory.interface_by_mac(request.mac);
    decision.node = interface.and_then(|it| it.component.clone());
    trace.say(|| match (&decision.node, interface) {
        (Some(node), _) => format!("{} is an interface of {node} in the inventory", request.mac),
        (None, Some(_)) => format!("{} is in the inventory and belongs to no component", request.mac),
        (None, None) => format!("{} is not in the inventory", request.mac),
    });
    if arrival.places.is_empty() {
        trace.say(|| "it is on no network that dhcp serves: no answer".to_owned());
        return decision;
    }
    let asked = asked_for(request, arrival, world.config);
    if let Asked::Another(server) = asked {
        note_another(world, arrival, request, server, &mut decision);
    }
    match find_own(world, interface, arrival, request, &mut decision, trace) {
        Ok(own) => {
            decision.place = Some(own.place);
            // Known now: what it held of the pool is free again.
            let held = world.leases.find(request.holder(), own.place);
            decision.change = held.map(|_| Change::Release(request.holder(), own.place));
            grant::answer(world, arrival, request, own, asked, &mut decision, trace);
        }
        Err(stranger) => {
            decision.unknown = Some(stranger);
            stranger::answer(world, arrival, request, asked, &mut decision, trace);
        }
    }
    decision
}

/// The address that is the machine's own on this wire: the one it asks for if that is its own, else the first
/// of the inventory's, then of the settings'.
fn find_own(
    world: World<'_>,
    interface: Option<&Interface>,
    arrival: &Arrival<'_>,
    request: &Request,
    decision: &mut Decision,
    trace: &mut Trace,
) -> Result<Own, Stranger> {
    let listed = interface.into_iter().flat_map(Interface::ips).filter_map(|it| match it {
        IpAddr::V4(it) => Some(it),
        IpAddr::V6(_) => None,
    });
    let reserved = world.config.reservations_of(request.mac).map(|it| it.ip);
    let wanted = request.requested.or(Some(request.ciaddr));
    let (mut any, mut found) = (false, None);
    for ip in listed.chain(reserved) {
        any = true;
        let Some(place) = arrival.place_of(ip, world.config) else {
            trace.say(|| format!("its address {ip} belongs to another network"));
            continue;
        };
        if wanted == Some(ip) {
            found = Some(Own { place, ip });
            break;
        }
        found = found.or(Some(Own { place, ip }));
    }
    let Some(own) = found else {
        return Err(match (any, interface) {
            (true, _) => Stranger::OtherPlane,
            (false, Some(_)) => Stranger::NoAddress,
            (false, None) => Stranger::NotInInventory,
        });
    };
    if let Some(other) = other_owner(world, own.ip, request.mac) {
        let active = world.acks.get(&own.ip).filter(|it| it.mac != request.mac && it.expires > arrival.now);
        if let Some(active) = active {
            trace.say(|| format!("its address {} is {}'s too, which has it now", own.ip, active.mac));
            decision.alarm = Some(Alarm::Duplicate { mac: request.mac, other: active.mac, ip: own.ip });
            return Err(Stranger::Taken);
        }
        trace.say(|| format!("its address {} is {other}'s too, which does not use it now", own.ip));
    }
    trace.say(|| format!("its own address here is {}", own.ip));
    Ok(own)
}

/// Another machine that the inventory or the settings give this address.
fn other_owner(world: World<'_>, ip: Ipv4Addr, mac: MacAddr) -> Option<MacAddr> {
    let listed = world.inventory.interface_by_ip(IpAddr::V4(ip)).map(|it| it.mac);
    let reserved = world.config.by_ip.get(&ip).copied();
    // The inventory's index names one of several; that one is asked after itself by the ACKs alone.
    let acked = world.acks.get(&ip).map(|it| it.mac);
    [listed, reserved, acked].into_iter().flatten().find(|it| *it != mac)
}

/// What a REQUEST wants (RFC 2131 section 4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It took another server's offer.
    Another(Ipv4Addr),
    /// What we offered it.
    Selecting(Ipv4Addr),
    /// What it had before it was started again.
    Rebooting(Ipv4Addr),
    /// To keep what it has.
    Renewing(Ipv4Addr),
    Nothing,
}

impl Asked {
    fn ip(self) -> Option<Ipv4Addr> {
        match self {
            Self::Selecting(ip) | Self::Rebooting(ip) | Self::Renewing(ip) => Some(ip),
            Self::Another(_) | Self::Nothing => None,
        }
    }
}

fn asked_for(request: &Request, arrival: &Arrival<'_>, config: &Config) -> Asked {
    if request.kind != Kind::Request {
        return Asked::Nothing;
    }
    let ours = |it: Ipv4Addr| it == arrival.local || config.is_head(it);
    if let Some(other) = request.server.filter(|it| !ours(*it)) {
        return Asked::Another(other);
    }
    let current = Some(request.ciaddr).filter(|it| !it.is_unspecified());
    match (request.server, request.requested, current) {
        (Some(_), Some(ip), _) => Asked::Selecting(ip),
        (Some(_), None, Some(ip)) | (None, _, Some(ip)) => Asked::Renewing(ip),
        (None, Some(ip), None) => Asked::Rebooting(ip),
        (_, None, None) => Asked::Nothing,
    }
}

/// Somebody else's offer was taken. On a shared wire, and of what is no address, that is nobody's business.
fn note_another(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    server: Ipv4Addr,
    decision: &mut Decision,
) {
    let shared = arrival.places.iter().any(|it| world.config.planes[*it].shared);
    if !shared && !server.is_unspecified() && !server.is_broadcast() {
        decision.alarm = Some(Alarm::Rival { mac: request.mac, server });
        decision.note = Some(format!("{} took the offer of another DHCP server, {server}", request.mac));
    }
}

/// The refusal of an address.
fn negative(head: Ipv4Addr) -> Reply {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut options = crate::wire::Options::default();
    options.set(code::MESSAGE, b"this address is not yours on this network");
    Reply { kind: Kind::Nak, yiaddr: none, siaddr: none, server: head, file: None, options }
}
