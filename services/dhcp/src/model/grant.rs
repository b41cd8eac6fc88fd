//! Answers to machines whose address is certain (RFC 2131 section 4.3).

use std::net::Ipv4Addr;

use domain::Xname;

use super::boot::{as_proxy, boot_file};
use super::{Alarm, Arrival, Asked, Decision, Own, Trace, World, negative};
use crate::config::{Plane, has_default_route};
use crate::wire::{Kind, Options, Reply, Request, code};

/// What a machine is to have.
pub(super) struct Grant<'a> {
    pub(super) place: usize,
    pub(super) address: Ipv4Addr,
    pub(super) node: Option<&'a Xname>,
    pub(super) name: Option<String>,
    /// Whether it may boot: BMCs, switches and PDUs have addresses alone.
    pub(super) boots: bool,
    pub(super) lease_s: u32,
}

pub(super) fn answer(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    own: Own,
    asked: Asked,
    to: &mut Decision,
    trace: &mut Trace,
) {
    let plane = &world.config.planes[own.place];
    let head = head_of(arrival, request, plane);
    let node = to.node.clone();
    let component = node.as_ref().and_then(|it| world.inventory.component(it));
    let listed = component.map(|it| world.inventory.name_of(it, &world.config.pattern));
    let reserved = || world.config.reservations_of(request.mac).find(|it| it.ip == own.ip)?.name.clone();
    let in_inventory = || world.inventory.interface_by_mac(request.mac).is_some();
    let grant = Grant {
        place: own.place,
        address: own.ip,
        node: node.as_ref(),
        name: listed.or_else(reserved),
        boots: node.as_ref().map_or_else(in_inventory, Xname::is_node),
        lease_s: world.config.table.lease_s,
    };
    let give = |kind, trace: &mut Trace| Some(positive(world, request, &grant, head, kind, trace));
    let mac = request.mac;
    match (request.kind, asked) {
        _ if arrival.proxy => {
            to.reply = give(Kind::Ack, trace).filter(|it| it.file.is_some()).map(as_boot_server)
        }
        (Kind::Discover, _) => to.reply = give(Kind::Offer, trace),
        (Kind::Request, Asked::Another(server)) => {
            trace.say(|| format!("it took the offer of another server, {server}: no answer"));
        }
        (Kind::Request, Asked::Nothing) => to.note = Some(format!("{mac} asked for no address")),
        (Kind::Request, _) if asked.ip() == Some(own.ip) => to.reply = give(Kind::Ack, trace),
        (Kind::Request, _) => {
            let ip = asked.ip().unwrap_or(Ipv4Addr::UNSPECIFIED);
            to.note = Some(format!("{mac} asked for {ip} and has {}: refused", own.ip));
            trace.say(|| format!("it asked for {ip}, which is not its own: refused"));
            // On a shared wire it may be another server's (DESIGN: safe on shared wires).
            to.reply = (!plane.shared).then(|| negative(head));
        }
        (Kind::Inform, _) => to.reply = give(Kind::Ack, trace).map(as_information),
        (Kind::Decline, _) => {
            let ip = request.requested.unwrap_or(own.ip);
            to.alarm = Some(Alarm::Declined { mac, ip });
            to.note = Some(format!(
                "{mac} declined {ip}: another machine uses it; find that one with arping, the address stays"
            ));
        }
        (Kind::Release, _) => to.note = Some(format!("{mac} released {}", own.ip)),
        (Kind::Offer | Kind::Ack | Kind::Nak | Kind::Other(_), _) => {}
    }
}

/// No lease in an answer to INFORM (RFC 2131 section 4.3.5).
pub(super) fn as_information(mut reply: Reply) -> Reply {
    reply.yiaddr = Ipv4Addr::UNSPECIFIED;
    for code in [code::LEASE_TIME, code::RENEWAL, code::REBINDING] {
        reply.options.remove(code);
    }
    reply
}

/// The answer of a server that gives boot files alone: no address, and the client's own word for such servers.
pub(super) fn as_boot_server(reply: Reply) -> Reply {
    let mut options = Options::default();
    let kept = [code::CLASS, code::MACHINE, code::BOOT_FILE, code::TFTP_SERVER, code::IPXE];
    for (code, value) in reply.options.iter().filter(|it| kept.contains(&it.0)) {
        options.set(code, value);
    }
    as_proxy(&mut options);
    Reply { yiaddr: Ipv4Addr::UNSPECIFIED, options, ..reply }
}

/// The head as this client reaches it: its address on the plane; through a relay, the one the relay sends to.
pub(super) fn head_of(arrival: &Arrival<'_>, request: &Request, plane: &Plane) -> Ipv4Addr {
    let here = plane.head.filter(|_| !request.is_relayed());
    here.unwrap_or(arrival.local)
}

/// OFFER or ACK. Options: what dhcp knows, the site's for all and for the network, the groups', the node's;
/// what comes later counts.
pub(super) fn positive(
    world: World<'_>,
    request: &Request,
    grant: &Grant<'_>,
    head: Ipv4Addr,
    kind: Kind,
    trace: &mut Trace,
) -> Reply {
    let config = world.config;
    let plane = &config.planes[grant.place];
    let mut options = Options::with_room();
    set_lease(&mut options, grant.lease_s);
    options.set(code::MASK, &plane.net.netmask().octets());
    let router = plane.router.filter(|it| *it != grant.address);
    if let Some(router) = router {
        options.set(code::ROUTER, &router.octets());
    }
    let file = if grant.boots { boot_file(&config.table, request, head, &mut options, trace) } else { None };
    if !grant.boots {
        trace.say(|| "it is no node of the inventory: it has an address and no boot file".to_owned());
    }
    let or_head = |list: &[Ipv4Addr]| if list.is_empty() { vec![head] } else { list.to_vec() };
    options.set_ips(code::DNS, &or_head(&plane.dns));
    if let Some(name) = &grant.name {
        options.set(code::HOST_NAME, name.as_bytes());
    }
    options.set(code::DOMAIN, config.domain.as_bytes());
    options.set(code::BROADCAST, &plane.net.broadcast().octets());
    options.set_ips(code::NTP, &or_head(&plane.ntp));
    if let Some(mtu) = plane.mtu {
        options.set(code::MTU, &mtu.to_be_bytes());
    }
    overlay_scopes(world, grant, plane, &mut options, trace);
    set_default_route(&mut options);
    trace.say(|| format!("it is given {} for {} s, with the head as {head}", grant.address, grant.lease_s));
    Reply {
        kind,
        yiaddr: grant.address,
        siaddr: if file.is_some() { head } else { Ipv4Addr::UNSPECIFIED },
        server: head,
        // No root path (17), though coresmd sends the server's bare address there: iPXE takes 17 for a SAN
        // device.
        file,
        options,
    }
}

fn set_lease(options: &mut Options, lease_s: u32) {
    options.set(code::LEASE_TIME, &lease_s.to_be_bytes());
    options.set(code::RENEWAL, &(lease_s / 2).to_be_bytes());
    options.set(code::REBINDING, &(lease_s / 8 * 7).to_be_bytes());
}

fn overlay_scopes(
    world: World<'_>,
    grant: &Grant<'_>,
    plane: &Plane,
    options: &mut Options,
    trace: &mut Trace,
) {
    options.overlay(&plane.options);
    let Some(node) = grant.node else { return };
    if !world.config.groups.is_empty() {
        for label in world.inventory.groups_of(node) {
            if let Some(own) = world.config.groups.get(label) {
                trace.say(|| format!("the options of its group {label} are added (dhcp.groups.{label})"));
                options.overlay(own);
            }
        }
    }
    if let Some(own) = world.config.nodes.get(node) {
        trace.say(|| format!("its own options are added (dhcp.nodes.{node})"));
        options.overlay(own);
    }
}

/// A client that takes option 121 looks at no other router (RFC 3442): the default route goes in there too.
fn set_default_route(options: &mut Options) {
    let Some(routes) = options.get(code::ROUTES) else { return };
    let router = options.get(code::ROUTER).and_then(|it| <[u8; 4]>::try_from(it.get(..4)?).ok());
    if let Some(router) = router.filter(|_| !has_default_route(routes)) {
        // No destination bits at all, then the router.
        let all = [routes, &[0], &router].concat();
        options.set(code::ROUTES, &all);
    }
}
