//! What the journal and the timeline hear of a decision.

use domain::{BootStage, Xname};

use super::Server;
use crate::event::{Step, What};
use crate::model::{self, Alarm, Arrival, Decision, Stranger, Trace, World};
use crate::net::Received;
use crate::state::{State, now};
use crate::wire::{Kind, Request};

impl Server {
    /// The steps of a boot that a decision is.
    pub(super) fn steps_of(&mut self, request: &Request, decision: &Decision) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut tell = |stage, ip, what| {
            if self.allowance.take() {
                steps.push(Step { stage, node: decision.node.clone(), mac: request.mac, ip, what });
            }
        };
        match decision.alarm {
            Some(Alarm::Rival { server, .. }) => tell(BootStage::DhcpAck, None, What::Lost { server }),
            Some(Alarm::Declined { ip, .. }) => tell(BootStage::DhcpAck, Some(ip), What::Declined),
            Some(Alarm::Duplicate { .. }) | None => {}
        }
        let Some(reply) = &decision.reply else { return steps };
        let ip = Some(reply.yiaddr);
        match (request.kind, reply.kind) {
            (Kind::Discover, Kind::Offer) => {
                let client = model::client_of(request);
                let (architecture, secs) = (request.architecture, request.secs);
                tell(BootStage::DhcpDiscover, ip, What::Seen { client, architecture, secs });
                tell(BootStage::DhcpOffer, ip, What::Offered { file: reply.file.clone() });
                let boots = client == "firmware" && decision.node.as_ref().is_none_or(Xname::is_node);
                if let Some(architecture) = architecture.filter(|_| boots && reply.file.is_none()) {
                    tell(BootStage::TftpStart, ip, What::NoLoader { architecture });
                }
            }
            // Who renews does not boot.
            (Kind::Request, Kind::Ack) if request.ciaddr.is_unspecified() => {
                tell(BootStage::DhcpAck, ip, What::Given { file: reply.file.clone() });
            }
            _ => {}
        }
        steps
    }

    /// Whether a machine that asks is offered nothing. On a shared wire that is another server's business.
    pub(super) fn is_refused(&self, request: &Request, decision: &Decision) -> bool {
        let shared = decision.place.is_some_and(|it| self.state.config.planes[it].shared);
        request.kind == Kind::Discover && decision.reply.is_none() && !self.proxy && !shared
    }

    /// Why a machine is offered nothing, in the last words of `why`.
    pub(super) fn reason(&self, request: &Request, received: &Received) -> String {
        let (state, mut trace) = (&self.state, Trace::On(Vec::new()));
        let config = &state.config;
        let places = self.links.planes_of(received.index);
        let (places, selected) = model::find_places(config, places, request, &mut trace);
        let arrival = Arrival { places, selected, local: received.local, proxy: false, now: now() };
        let decision = {
            let (leases, acks) = (state.leases(), state.acks());
            state.inventory.read(|inventory| {
                let world = World { inventory, config, leases: &leases, acks: &acks };
                model::decide(world, &arrival, request, &mut trace)
            })
        };
        match trace {
            Trace::On(said) if decision.reply.is_none() => {
                let last = said.last().map(String::as_str).unwrap_or_default();
                // They end with what everybody knows by now.
                last.strip_suffix(" no answer").unwrap_or(last).trim_end_matches(':').to_owned()
            }
            _ => "PostgreSQL is away, so that no new lease can be kept".to_owned(),
        }
    }

    /// Tells of a machine that is offered nothing.
    pub(super) fn tell_refused(&mut self, request: &Request, decision: &Decision, reason: String) {
        let client = model::client_of(request);
        let why = match decision.unknown {
            Some(Stranger::NotInInventory) => "unknown-machine",
            Some(Stranger::NoAddress) => "no-address",
            Some(Stranger::OtherPlane) => "other-plane",
            Some(Stranger::Taken) => "address-taken",
            None => "no-network",
        };
        let (architecture, secs) = (request.architecture, request.secs);
        let seen = What::Seen { client, architecture, secs };
        let refused = What::Refused { client, why, reason };
        for (stage, what) in [(BootStage::DhcpDiscover, seen), (BootStage::DhcpOffer, refused)] {
            if self.allowance.take() {
                Step { stage, node: decision.node.clone(), mac: request.mac, ip: None, what }.send();
            }
        }
    }
}

/// Notes a machine that has no address of its own; gives the reason why it is offered nothing, if it is not and that is
/// news.
pub(super) fn note_stranger(
    state: &State,
    request: &Request,
    decision: &Decision,
    reason: impl FnOnce() -> Option<String>,
    now: i64,
) -> Option<String> {
    let Some(stranger) = decision.unknown else {
        if decision.place.is_some() {
            state.unknown().forget(request.mac);
        }
        return None;
    };
    let plane = decision.place.map_or("", |it| state.config.planes[it].name.as_str());
    let mac = request.mac;
    if let Some(place) = decision.place.filter(|_| decision.exhausted)
        && state.leases().note_exhausted(place, now)
    {
        tracing::warn!(
            "the range of the plane {plane:?} is exhausted: unknown machines get no answer; widen it"
        );
    }
    if !state.unknown().note(mac, plane, request.vendor_class(), stranger, now) {
        return None;
    }
    let why = match stranger {
        Stranger::NotInInventory => "is in no inventory; add it with pilotctl nodes import",
        Stranger::NoAddress => "has no address in the inventory; give it one",
        Stranger::OtherPlane => "has no address on this plane; is it on the wrong cable?",
        Stranger::Taken => "has the address of another machine in the inventory; give it its own",
    };
    let reason = reason();
    let lent = decision.reply.as_ref().map(|it| it.yiaddr).filter(|it| !it.is_unspecified());
    let given = match (lent, &reason) {
        (Some(ip), _) => format!("it is lent {ip}"),
        (None, Some(reason)) => format!("no answer: {reason}"),
        (None, None) => "no answer".to_owned(),
    };
    daemon::event!(domain::event::DHCP_UNKNOWN, mac = mac, "{mac} on the plane {plane:?} {why} ({given})");
    reason
}
