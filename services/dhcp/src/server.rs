//! The DHCP socket: one thread that receives, has the model decide, and sends, many packets at a time.

mod send;
mod tell;

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::socket::{setsockopt, sockopt};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use self::send::{Outgoing, Sender};
use self::tell::note_stranger;
use crate::alarm::Alarms;
use crate::event::{Allowance, Step};
use crate::model::{self, Ack, Alarm, Arrival, Change, Decision, Lease, Trace, World};
use crate::net::{BATCH, Links, Received, Slot, Wait, receive_batch};
use crate::state::{State, note_ack, now};
use crate::store::{Entry, Write};
use crate::wire::{self, Kind, Malformed, Request};

/// Interfaces are looked at again so often, and at once (but not more than once a second) for an unknown one.
const LINKS_EVERY: Duration = Duration::from_secs(60);
const LINKS_AGAIN: Duration = Duration::from_secs(1);
/// The journal hears of malformed packets so often.
const MALFORMED_EVERY: Duration = Duration::from_secs(60);
/// The thread looks so often whether it shall stop.
const STOP_EVERY: Duration = Duration::from_millis(500);
/// A socket that only has errors is given up.
const ERRORS_MAX: u32 = 1000;

static REQUESTS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_requests", "DHCP requests that could be read"));
static MALFORMED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_malformed", "DHCP packets that could not be read"));
static UNSERVED: LazyLock<Counter> = LazyLock::new(|| {
    web::counter("dhcp_unserved", "Requests of new machines while their leases cannot be kept")
});
pub(crate) static DROPPED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_dropped", "DHCP replies dropped: a full queue or a socket's error"));

/// The DHCP server on one socket.
pub(crate) struct Server {
    socket: UdpSocket,
    /// It is the port of boot servers beside another DHCP server (4011).
    proxy: bool,
    sender: Sender,
    state: Arc<State>,
    alarms: Arc<Alarms>,
    keeper: mpsc::Sender<Entry>,
    links: Links,
    links_found: Instant,
    malformed: (u64, Option<Instant>),
    allowance: Allowance,
}

/// What is left to do once a batch is decided and no lock is held.
#[derive(Default)]
struct Work {
    out: Vec<Outgoing>,
    keep: Vec<Entry>,
    strangers: Vec<(Request, Received, Decision)>,
    /// Known machines that are offered nothing.
    refused: Vec<(Request, Received, Decision)>,
    notes: Vec<(domain::MacAddr, String)>,
    alarms: Vec<(Alarm, Option<usize>)>,
    steps: Vec<Step>,
}

impl Server {
    /// Takes the socket.
    pub(crate) fn new(
        udp: UdpSocket,
        proxy: bool,
        state: Arc<State>,
        alarms: Arc<Alarms>,
        keeper: mpsc::Sender<Entry>,
    ) -> io::Result<Self> {
        udp.set_broadcast(true)?;
        setsockopt(&udp, sockopt::Ipv4PacketInfo, &true)?;
        let sender = Sender::new(udp.try_clone()?, !proxy);
        let links = Links::find(&state.config.planes)?;
        // A thread that sleeps in the call is woken once for each batch; a runtime's tasks cost several switches.
        udp.set_nonblocking(false)?;
        udp.set_read_timeout(Some(STOP_EVERY))?;
        let now = Instant::now();
        let allowance = Allowance::new(now);
        Ok(Self {
            socket: udp,
            proxy,
            sender,
            state,
            alarms,
            keeper,
            links,
            links_found: now,
            malformed: (0, None),
            allowance,
        })
    }

    /// What sends packets that had to wait.
    pub(crate) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Answers until `stop`, on a thread of its own.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || self.answer(&stop)).await?
    }

    fn answer(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut slots = vec![Slot::new(); BATCH];
        let mut errors = 0;
        while !stop.is_cancelled() {
            match receive_batch(&self.socket, &mut slots, Wait::ForOne) {
                Ok(count) => {
                    errors = 0;
                    self.handle(&slots[..count]);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // An ICMP error of an earlier reply comes back here; the socket stays good.
                Err(error) => {
                    tracing::debug!(%error, "a DHCP packet cannot be received");
                    errors += 1;
                    ensure!(errors < ERRORS_MAX, "the DHCP socket only has errors, the last one: {error}");
                }
            }
        }
        Ok(())
    }

    fn handle(&mut self, slots: &[Slot]) {
        self.allowance.refill(Instant::now());
        let mut requests = Vec::with_capacity(slots.len());
        for slot in slots {
            match Request::read(slot.packet()) {
                Ok(request) => requests.push((request, slot.received)),
                Err(Malformed::Reply) => {} // Another server's, broadcast to all.
                Err(reason) => self.note_malformed(reason, &slot.received),
            }
        }
        REQUESTS.inc_by(requests.len() as u64);
        for (_, received) in &requests {
            self.refresh_links(received.index);
        }
        let mut work = Work::default();
        self.decide(requests, &mut work);
        self.carry_out(work);
    }

    /// Decides a batch from memory, under the locks; nothing here waits.
    fn decide(&mut self, requests: Vec<(Request, Received)>, work: &mut Work) {
        let (state, now) = (Arc::clone(&self.state), now());
        let (mut leases, mut acks) = (state.leases(), state.acks());
        state.inventory.read(|inventory| {
            for (mut request, received) in requests {
                model::identify(&mut request, inventory, &state.config);
                let places = self.links.planes_of(received.index);
                let (places, selected) = model::find_places(&state.config, places, &request, &mut Trace::Off);
                let arrival = Arrival { places, selected, local: received.local, proxy: self.proxy, now };
                let decide = |leases: &model::Leases| {
                    let world = World { inventory, config: &state.config, leases, acks: &acks };
                    model::decide(world, &arrival, &request, &mut Trace::Off)
                };
                let mut decision = decide(&leases);
                if decision.exhausted {
                    leases.sweep(decision.place, now, &state.config);
                    decision = decide(&leases);
                }
                let held = decision.place.and_then(|it| leases.find(request.holder(), it)).copied();
                if !state.is_durable() {
                    withhold(&mut decision, held, now);
                }
                let kept = decision.change.filter(|it| leases.apply(*it, &state.config));
                if let Some(reply) = decision.reply.as_ref().filter(|it| is_known_ack(&decision, it)) {
                    let expires = now + i64::from(state.config.table.lease_s);
                    let place = decision.place.unwrap_or_default();
                    note_ack(&mut acks, reply.yiaddr, Ack { mac: request.mac, place, expires }, now);
                }
                self.note(request, &received, decision, kept.map(|it| (it, held)), work);
            }
        });
    }

    /// Sorts what a decision leaves to do.
    fn note(
        &mut self,
        request: Request,
        received: &Received,
        mut decision: Decision,
        kept: Option<(Change, Option<Lease>)>,
        work: &mut Work,
    ) {
        work.alarms.extend(decision.alarm.map(|it| (it, decision.place)));
        work.notes.extend(decision.note.take().map(|it| (request.mac, it)));
        let mut steps = self.steps_of(&request, &decision);
        let outgoing = decision.reply.as_ref().map(|reply| {
            let mut packet = self.sender.buffer();
            wire::write(&request, reply, &mut packet);
            Outgoing {
                packet,
                destination: wire::destination(&request, reply),
                head: reply.server,
                link: self.links.link(received.index),
                from: received.from,
                back: self.proxy || received.from.ip().is_loopback(),
            }
        });
        match kept {
            // A lease has to be kept before its ACK leaves; what frees an address keeps nobody waiting.
            Some((Change::Hold(lease), held)) => {
                let renewed = held.is_some_and(|it| it.bound && it.ip == lease.ip);
                // It has its address when it is kept.
                let step = steps.pop();
                work.keep.push(Entry { write: Write::Put(lease), outgoing, renewed, step });
            }
            Some((change, held)) => {
                work.out.extend(outgoing);
                work.keep.extend(held.map(|it| Entry::drop(it, change)));
            }
            None => work.out.extend(outgoing),
        }
        work.steps.append(&mut steps);
        if decision.unknown.is_some() || self.state.unknown().is_known_stranger(request.mac) {
            work.strangers.push((request, *received, decision));
        } else if decision.node.is_some() && self.is_refused(&request, &decision) {
            work.refused.push((request, *received, decision));
        }
    }

    /// Sends, and tells whoever wants to know.
    fn carry_out(&mut self, work: Work) {
        let now = now();
        self.sender.send(work.out);
        for entry in work.keep {
            if self.keeper.try_send(entry).is_err() {
                DROPPED.inc();
            }
        }
        for (request, received, decision) in work.strangers {
            let refused = self.is_refused(&request, &decision);
            let reason = || refused.then(|| self.reason(&request, &received));
            // What is no news to the journal is none to the timeline.
            if let Some(reason) = note_stranger(&self.state, &request, &decision, reason, now) {
                self.tell_refused(&request, &decision, reason);
            }
        }
        for (request, received, decision) in work.refused {
            let reason = self.reason(&request, &received);
            self.tell_refused(&request, &decision, reason);
        }
        for (mac, note) in work.notes {
            if self.state.unknown().may_log(now) {
                tracing::info!(pilothouse_mac = %mac, "{note}");
            }
        }
        for (alarm, place) in work.alarms {
            let plane = place.map_or("", |it| self.state.config.planes[it].name.as_str());
            self.alarms.raise(alarm, plane, now);
        }
        work.steps.into_iter().for_each(Step::send);
    }

    fn refresh_links(&mut self, index: u32) {
        let age = self.links_found.elapsed();
        let unknown = self.links.planes_of(index).is_empty() && age >= LINKS_AGAIN;
        if unknown || age >= LINKS_EVERY {
            self.links_found = Instant::now();
            match Links::find(&self.state.config.planes) {
                Ok(links) => self.links = links,
                Err(error) => tracing::warn!(%error, "the interfaces cannot be listed"),
            }
        }
    }

    fn note_malformed(&mut self, reason: Malformed, incoming: &Received) {
        MALFORMED.inc();
        self.malformed.0 += 1;
        if self.malformed.1.is_none_or(|it| it.elapsed() >= MALFORMED_EVERY) {
            let count = std::mem::take(&mut self.malformed.0);
            self.malformed.1 = Some(Instant::now());
            let from = incoming.from;
            daemon::event!(
                domain::event::DHCP_MALFORMED,
                "a packet of {from} is no DHCP request: {reason} ({count} since the last such entry)"
            );
        }
    }
}

/// Without a store only what is a lease already is lent on.
fn withhold(decision: &mut Decision, held: Option<Lease>, now: i64) {
    let Some(Change::Hold(lease)) = decision.change else { return };
    if held.is_none_or(|it| !it.bound || it.ip != lease.ip || it.expires <= now) {
        UNSERVED.inc();
        decision.change = None;
        decision.reply = None;
    }
}

/// Whether a known machine has its address by this reply.
fn is_known_ack(decision: &Decision, reply: &wire::Reply) -> bool {
    reply.kind == Kind::Ack && decision.unknown.is_none() && !reply.yiaddr.is_unspecified()
}
