//! Answers to machines that have no address of their own here.

use std::net::Ipv4Addr;

use domain::Xname;

use super::grant::{Grant, as_boot_server, as_information, head_of, positive};
use super::leases::RESERVED_S;
use super::{Alarm, Arrival, Asked, Change, Decision, Lease, Stranger, Trace, World, client_of, negative};
use crate::wire::{Kind, Reply, Request};

pub(super) fn answer(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    asked: Asked,
    to: &mut Decision,
    trace: &mut Trace,
) {
    let planes = &world.config.planes;
    let place =
        |wanted: fn(&crate::config::Plane) -> bool| arrival.in_order().find(|it| wanted(&planes[*it]));
    to.place = arrival.in_order().next();
    if let Some(shared) = place(|it| it.shared) {
        to.place = Some(shared);
        return answer_beside(world, arrival, request, shared, to, trace);
    }
    // A machine on the wrong wire gets no second address: it would hide the mistake.
    if to.unknown == Some(Stranger::OtherPlane) {
        trace.say(|| "its address belongs elsewhere, is it on the wrong cable? no answer".to_owned());
        return;
    }
    let Some(place) = place(|it| it.pool.is_some()) else {
        trace.say(|| "there is no range for machines without an address of their own: no answer".to_owned());
        return;
    };
    to.place = Some(place);
    if !arrival.proxy {
        answer_from_pool(world, arrival, request, (place, asked), to, trace);
    }
}

/// Beside another server, which gives the address: a machine of the inventory gets its boot file.
fn answer_beside(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    place: usize,
    to: &mut Decision,
    trace: &mut Trace,
) {
    let boots = to.node.as_ref().is_some_and(Xname::is_node) && client_of(request) != "os";
    let kind = match request.kind {
        Kind::Discover if !arrival.proxy => Kind::Offer,
        Kind::Discover | Kind::Request | Kind::Inform if arrival.proxy => Kind::Ack,
        _ => return trace.say(|| "on a shared wire another server gives it its address".to_owned()),
    };
    if !boots {
        return trace
            .say(|| "on a shared wire only nodes of the inventory that boot are answered".to_owned());
    }
    let head = head_of(arrival, request, &world.config.planes[place]);
    let node = to.node.clone();
    let none = Ipv4Addr::UNSPECIFIED;
    let grant = Grant { place, address: none, node: node.as_ref(), name: None, boots, lease_s: 0 };
    let reply = positive(world, request, &grant, head, kind, trace);
    to.reply = Some(reply).filter(|it| it.file.is_some()).map(as_boot_server);
    trace.say(|| "on a shared wire it gets its boot file and no address (proxyDHCP)".to_owned());
}

fn answer_from_pool(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    (place, asked): (usize, Asked),
    to: &mut Decision,
    trace: &mut Trace,
) {
    let (mac, now) = (request.holder(), arrival.now);
    let head = head_of(arrival, request, &world.config.planes[place]);
    let free = |ip| world.leases.is_free_for(mac, ip, (place, world.config), world.inventory, now);
    let lease = world.leases.find(mac, place);
    let held = lease.map(|it| it.ip).filter(|it| free(*it));
    match request.kind {
        Kind::Discover => {
            let wanted = held.or_else(|| request.requested.filter(|it| free(*it)));
            match wanted.or_else(|| choose(world, arrival, request, place)) {
                Some(ip) => {
                    let chosen = if held == Some(ip) { "it holds" } else { "it is lent" };
                    trace.say(|| format!("{chosen} {ip} of the range"));
                    lend(world, arrival, request, (place, ip), to, trace);
                }
                None => {
                    trace.say(|| "the range is exhausted: no answer".to_owned());
                    to.exhausted = true;
                }
            }
        }
        Kind::Request => answer_request(world, arrival, request, (place, asked), held, to, trace),
        Kind::Decline => {
            let ip = request.requested;
            to.note = Some(format!("{mac} declined {ip:?}: another machine uses it"));
            if let Some(ip) = ip.filter(|it| lease.is_some_and(|lease| lease.ip == *it)) {
                let until = now + i64::from(world.config.table.declined_s);
                to.change = Some(Change::Refuse { mac, ip, place, until });
                to.alarm = Some(Alarm::Declined { mac: request.mac, ip });
            }
        }
        Kind::Release => to.change = lease.map(|_| Change::Release(mac, place)),
        Kind::Inform => {
            let ip = Some(request.ciaddr).filter(|it| !it.is_unspecified());
            if let Some(ip) = ip {
                let reply = reply(world, request, to.node.as_ref(), (place, ip), head, Kind::Ack, trace);
                to.reply = Some(as_information(reply));
            }
        }
        Kind::Offer | Kind::Ack | Kind::Nak | Kind::Other(_) => {}
    }
}

/// RFC 2131 section 4.3.2, for who has a lease or none.
fn answer_request(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    (place, asked): (usize, Asked),
    held: Option<Ipv4Addr>,
    to: &mut Decision,
    trace: &mut Trace,
) {
    let plane = &world.config.planes[place];
    let mac = request.holder();
    let lease = world.leases.find(mac, place);
    let free = |ip| world.leases.is_free_for(mac, ip, (place, world.config), world.inventory, arrival.now);
    let ip = match asked {
        // What was offered is free for somebody else.
        Asked::Another(_) => {
            return to.change = lease.filter(|it| !it.bound).map(|_| Change::Release(mac, place));
        }
        Asked::Nothing => return,
        // Nobody remembers that it had this address, and nobody else has it: it comes back with a DISCOVER.
        Asked::Rebooting(ip) if lease.is_none() && free(ip) => {
            return trace.say(|| format!("nothing is known of its former address {ip}: no answer"));
        }
        Asked::Selecting(ip) | Asked::Rebooting(ip) | Asked::Renewing(ip) => ip,
    };
    if held.unwrap_or(ip) == ip && free(ip) {
        trace.say(|| format!("it is lent {ip} of the range"));
        return lend(world, arrival, request, (place, ip), to, trace);
    }
    trace.say(|| format!("it asked for {ip}, which is not its own: refused"));
    to.note = Some(format!("{mac} asked for {ip}, which is not its own: refused"));
    to.change = lease.map(|_| Change::Release(mac, place));
    to.reply = Some(negative(head_of(arrival, request, plane)));
}

fn choose(world: World<'_>, arrival: &Arrival<'_>, request: &Request, place: usize) -> Option<Ipv4Addr> {
    let full = world.leases.is_exhausted(place, arrival.now);
    if full { None } else { world.leases.choose(request.holder(), (place, world.config), world.inventory) }
}

fn lend(
    world: World<'_>,
    arrival: &Arrival<'_>,
    request: &Request,
    (place, ip): (usize, Ipv4Addr),
    to: &mut Decision,
    trace: &mut Trace,
) {
    let head = head_of(arrival, request, &world.config.planes[place]);
    let bound = request.kind == Kind::Request;
    let lease_s = i64::from(world.config.table.pool_lease_s);
    let expires = arrival.now + if bound { lease_s } else { RESERVED_S };
    to.change = Some(Change::Hold(Lease { mac: request.holder(), ip, place, expires, bound }));
    let kind = if bound { Kind::Ack } else { Kind::Offer };
    to.reply = Some(reply(world, request, to.node.as_ref(), (place, ip), head, kind, trace));
}

fn reply(
    world: World<'_>,
    request: &Request,
    node: Option<&Xname>,
    (place, address): (usize, Ipv4Addr),
    head: Ipv4Addr,
    kind: Kind,
    trace: &mut Trace,
) -> Reply {
    // A second NIC of a node boots as that node does; a stranger boots so that it can be found out about.
    let boots = node.is_none_or(Xname::is_node);
    let lease_s = world.config.table.pool_lease_s;
    let grant = Grant { place, address, node, name: None, boots, lease_s };
    positive(world, request, &grant, head, kind, trace)
}
