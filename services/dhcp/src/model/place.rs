//! Which networks a request may belong to.

use std::net::Ipv4Addr;

use super::Trace;
use crate::config::{Config, Plane};
use crate::wire::Request;

/// How a packet arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// The networks it may belong to, by place: those of its interface, or those of its relay's wire.
    pub(crate) places: &'a [usize],
    /// The one that its relay or itself names among them.
    pub(crate) selected: Option<usize>,
    /// The head's address it was sent to, or that of the interface.
    pub(crate) local: Ipv4Addr,
    /// It came to the port of servers that give boot files and no addresses.
    pub(crate) proxy: bool,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl<'a> Arrival<'a> {
    /// The network of an address, of those it may belong to.
    pub(super) fn place_of(&self, ip: Ipv4Addr, config: &Config) -> Option<usize> {
        let holds = |place: &usize| config.planes[*place].net.contains(&ip);
        self.selected.filter(holds).or_else(|| self.places.iter().copied().find(|it| holds(it)))
    }

    /// The networks, the selected one first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> + use<'a> {
        let (selected, places) = (self.selected, self.places);
        selected.into_iter().chain(places.iter().copied().filter(move |it| Some(*it) != selected))
    }
}

/// The networks of a request: by its relay's address and what that says (RFC 3527), else those of the
/// interface it came by (`local`), else, for who renews through a router, that of its address.
pub(crate) fn find_places<'a>(
    config: &'a Config,
    local: &'a [usize],
    request: &Request,
    trace: &mut Trace,
) -> (&'a [usize], Option<usize>) {
    let wire = |place: usize| config.wires[config.planes[place].wire].as_slice();
    let named = |place: usize| config.planes[place].label();
    if request.is_relayed() {
        let relay = request.giaddr;
        let allowed = &config.table.relays;
        if !allowed.is_empty() && !allowed.iter().any(|it| it.0.contains(&relay)) {
            trace.say(|| format!("its relay {relay} is not among dhcp.relays: no answer"));
            return (&[], None);
        }
        let link = request.selected_subnet().and_then(|it| config.place_of(it));
        let place = link.or_else(|| config.place_of(relay));
        trace.say(|| match (place, link) {
            (Some(place), Some(_)) => format!("its relay {relay} says that it is on {}", named(place)),
            (Some(place), None) => format!("its relay {relay} is on {}", named(place)),
            (None, _) => format!("its relay {relay} is in no network of network.planes"),
        });
        return place.map_or((&[], None), |it| (wire(it), Some(it)));
    }
    let remote = |plane: &Plane| plane.interface.is_none() && plane.net.contains(&request.ciaddr);
    if let Some(place) = config.planes.iter().position(remote) {
        trace.say(|| format!("it asks through its router, from {}", named(place)));
        return (wire(place), Some(place));
    }
    let selected = request
        .selected_subnet()
        .and_then(|ip| local.iter().copied().find(|it| config.planes[*it].net.network() == ip));
    trace.say(|| match local {
        [] => "it came by an interface that carries no network of network.planes".to_owned(),
        places => format!(
            "it is on the wire of {}",
            places.iter().map(|it| named(*it)).collect::<Vec<_>>().join(", ")
        ),
    });
    (local, selected)
}
