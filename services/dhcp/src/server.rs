//! The DHCP socket: one loop that receives, has the model decide, and sends.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use domain::{BootStage, Service};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt, sockopt};
use prometheus_client::metrics::counter::Counter;
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::{self, Arrival, Change, Decision, Stranger};
use crate::net::{FrameSocket, Link, Links, Received, receive};
use crate::state::{Ack, State, now};
use crate::store::Durable;
use crate::wire::{self, Destination, Malformed, Reply, Request, frame};

/// A DHCP message fits an Ethernet frame; what is longer is read cut off and then refused.
const PACKET_MAX: usize = 2048;
/// So many packets are taken before the loop looks whether it shall stop.
const BATCH: usize = 64;
/// Interfaces are looked at again so often, and at once (but not more than once a second) for an unknown one.
const LINKS_EVERY: Duration = Duration::from_secs(60);
const LINKS_AGAIN: Duration = Duration::from_secs(1);
/// The journal hears of malformed packets so often.
const MALFORMED_EVERY: Duration = Duration::from_secs(60);

static REQUESTS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_requests", "DHCP requests that could be read"));
static REPLIES: LazyLock<Counter> = LazyLock::new(|| web::counter("dhcp_replies", "DHCP replies sent"));
static REFUSED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_malformed", "DHCP packets that could not be read"));
static DROPPED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_dropped", "DHCP replies dropped: a full queue or a socket's error"));

/// A packet on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    packet: Vec<u8>,
    destination: Destination,
    /// The head's address and interface it leaves by.
    head: Ipv4Addr,
    link: Link,
    /// Where it came from, if that was this machine: a relay or test on loopback is answered there.
    loopback: Option<SocketAddrV4>,
    summary: Summary,
}

/// What the journal is told once a packet has left.
#[derive(Debug)]
struct Summary {
    stage: Option<BootStage>,
    node: Option<domain::Xname>,
    mac: domain::MacAddr,
    ip: Ipv4Addr,
    detail: String,
}

/// The sending half; clones share the sockets.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Sockets>);

struct Sockets {
    udp: UdpSocket,
    frames: Option<FrameSocket>,
}

/// The DHCP server.
pub(crate) struct Server {
    socket: tokio::net::UdpSocket,
    sender: Sender,
    state: Arc<State>,
    writer: mpsc::Sender<Durable>,
    links: Links,
    links_found: Instant,
    malformed: (u64, Option<Instant>),
}

impl Server {
    /// Takes the socket.
    pub(crate) fn new(udp: UdpSocket, state: Arc<State>, writer: mpsc::Sender<Durable>) -> io::Result<Self> {
        udp.set_broadcast(true)?;
        setsockopt(&udp, sockopt::Ipv4PacketInfo, &true)?;
        let frames = match FrameSocket::open() {
            Ok(socket) => Some(socket),
            Err(error) => {
                let hint = "clients without an address are answered by broadcast";
                tracing::warn!(%error, "no raw socket (CAP_NET_RAW): {hint}");
                None
            }
        };
        let sender = Sender(Arc::new(Sockets { udp: udp.try_clone()?, frames }));
        let links = Links::find(&state.config.planes)?;
        let socket = tokio::net::UdpSocket::from_std(udp)?;
        Ok(Self { socket, sender, state, writer, links, links_found: Instant::now(), malformed: (0, None) })
    }

    /// What sends packets that had to wait.
    pub(crate) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Answers until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut buffer = [0; PACKET_MAX];
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ready = self.socket.readable() => ready?,
            }
            for _ in 0..BATCH {
                match self.socket.try_io(Interest::READABLE, || receive(&self.socket, &mut buffer)) {
                    Ok(incoming) => self.handle(&buffer[..incoming.length], &incoming),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier reply comes back here; the socket stays good.
                    Err(error) => tracing::debug!(%error, "a DHCP packet cannot be received"),
                }
            }
        }
    }

    fn handle(&mut self, packet: &[u8], incoming: &Received) {
        let request = match Request::read(packet) {
            Ok(request) => request,
            Err(Malformed::Reply) => return, // Another server's, broadcast to all.
            Err(reason) => return self.note_malformed(reason, incoming),
        };
        REQUESTS.inc();
        self.refresh_links(incoming.index);
        let state = Arc::clone(&self.state);
        let places = self.links.planes_of(incoming.index);
        let planes = &state.config.planes;
        let arrival = Arrival {
            planes: if request.is_relayed() {
                planes.iter().filter(|it| it.net.contains(&request.giaddr)).collect()
            } else {
                // A remote client renews at the head directly, through its router.
                let renewed =
                    |it: &&crate::config::Plane| it.interface.is_none() && it.net.contains(&request.ciaddr);
                places.iter().map(|it| &planes[*it]).chain(planes.iter().filter(renewed)).collect()
            },
            local: incoming.local,
            now: now(),
        };
        let decision = {
            let leases = state.leases();
            state.inventory.read(|it| model::decide(it, &state.config, &leases, &arrival, &request))
        };
        self.carry_out(&request, incoming, arrival.now, decision);
    }

    fn carry_out(&self, request: &Request, incoming: &Received, now: i64, decision: Decision) {
        note_stranger(&self.state, request, &decision, now);
        if let Some(note) = decision.note.as_ref().filter(|_| self.state.unknown().may_log(now)) {
            tracing::info!(pilothouse_mac = %request.mac, "{note}");
        }
        // A lease has to be on disk before its ACK leaves; what frees an address keeps nobody waiting.
        let waits = matches!(decision.change, Some(Change::Hold(_)));
        let durable = decision.change.is_some_and(|it| self.state.leases().apply(it));
        let outgoing = decision.reply.and_then(|reply| {
            let head = reply.server;
            let loopback = Some(incoming.from).filter(|it| it.ip().is_loopback());
            if request.kind == MessageType::Discover && decision.unknown.is_none() {
                boot_event(BootStage::DhcpDiscover, &decision.node, request.mac, "seen")
                    .ip(reply.yiaddr)
                    .send();
            }
            if reply.kind == MessageType::Ack && decision.unknown.is_none() && !reply.yiaddr.is_unspecified()
            {
                let plane = decision.plane.clone().unwrap_or_default();
                let expires = now + i64::from(self.state.config.table.lease_s);
                self.state.note_ack(request.mac, Ack { ip: reply.yiaddr, plane, expires });
            }
            Some(Outgoing {
                packet: wire::write(request, &reply)?,
                destination: wire::destination(request, &reply),
                head,
                link: self.links.link(incoming.index),
                loopback,
                summary: summary(decision.node.clone(), request, &reply),
            })
        });
        let (now_out, after) = if durable && waits { (None, outgoing) } else { (outgoing, None) };
        if let Some(outgoing) = now_out {
            self.sender.send(&outgoing);
        }
        if durable {
            let leases = self.state.leases().bound(now);
            if self.writer.try_send(Durable { leases, outgoing: after }).is_err() {
                DROPPED.inc();
            }
        }
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
        REFUSED.inc();
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

fn note_stranger(state: &State, request: &Request, decision: &Decision, now: i64) {
    let Some(reason) = decision.unknown else {
        if decision.plane.is_some() {
            state.unknown().forget(request.mac);
        }
        return;
    };
    let plane = decision.plane.as_deref().unwrap_or_default();
    let mac = request.mac;
    if decision.exhausted && state.leases().note_exhausted(plane, now) {
        tracing::warn!(
            "the range of the plane {plane:?} is exhausted: unknown machines get no answer; widen it"
        );
    }
    if !state.unknown().note(mac, plane, request.vendor_class.as_deref(), reason, now) {
        return;
    }
    let why = match reason {
        Stranger::NotInInventory => "is in no inventory; add it with pilotctl nodes import",
        Stranger::NoAddress => "has no address in the inventory; give it one",
        Stranger::OtherPlane => "has no address on this plane; is it on the wrong cable?",
    };
    let given = decision.reply.as_ref().map(|it| it.yiaddr).filter(|it| !it.is_unspecified());
    let given = given.map_or("no answer".to_owned(), |it| format!("it is lent {it}"));
    daemon::event!(domain::event::DHCP_UNKNOWN, mac = mac, "{mac} on the plane {plane:?} {why} ({given})");
}

fn boot_event(
    stage: BootStage,
    node: &Option<domain::Xname>,
    mac: domain::MacAddr,
    detail: &str,
) -> daemon::BootEvent {
    daemon::BootEvent::new(Service::Dhcp, stage, format!("{mac} {detail}")).node(node.as_ref()).mac(Some(mac))
}

fn summary(node: Option<domain::Xname>, request: &Request, reply: &Reply) -> Summary {
    let stage = match reply.kind {
        MessageType::Offer => Some(BootStage::DhcpOffer),
        MessageType::Ack if request.kind == MessageType::Request => Some(BootStage::DhcpAck),
        _ => None,
    };
    let boot = reply.file.as_ref().map(|it| format!(", boots {it}")).unwrap_or_default();
    let verb = if stage == Some(BootStage::DhcpOffer) { "is offered" } else { "has" };
    let detail = format!("{verb} {}{boot}", reply.yiaddr);
    Summary { stage, node, mac: request.mac, ip: reply.yiaddr, detail }
}

impl Sender {
    /// Sends, and tells the journal. What cannot be sent is counted; the client asks again.
    pub(crate) fn send(&self, outgoing: &Outgoing) {
        if let Err(error) = self.try_send(outgoing) {
            DROPPED.inc();
            tracing::warn!(%error, destination = ?outgoing.destination, "a DHCP reply cannot be sent");
            return;
        }
        REPLIES.inc();
        let Summary { stage, node, mac, ip, detail } = &outgoing.summary;
        if let Some(stage) = stage {
            boot_event(*stage, node, *mac, detail).ip(*ip).send();
        }
    }

    fn try_send(&self, outgoing: &Outgoing) -> io::Result<()> {
        let Outgoing { packet, destination, head, link, loopback, .. } = outgoing;
        if let Some(from) = loopback {
            return self.send_udp(packet, *from, Ipv4Addr::UNSPECIFIED, 0);
        }
        let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        match *destination {
            Destination::Relay(ip) => self.send_udp(packet, SocketAddrV4::new(ip, 67), *head, 0),
            Destination::Client(ip) => self.send_udp(packet, SocketAddrV4::new(ip, 68), *head, 0),
            Destination::Broadcast => self.send_udp(packet, broadcast, *head, link.index),
            Destination::Link(mac, ip) => {
                let frame = link.mac.and_then(|it| frame::frame((it, *head), (mac, ip), packet));
                let by_frame = match (&self.0.frames, frame) {
                    (Some(socket), Some(frame)) => socket.send(&frame, link.index),
                    _ => Err(io::ErrorKind::Unsupported.into()),
                };
                // A client that cannot take a broadcast either asks again.
                by_frame.or_else(|_| self.send_udp(packet, broadcast, *head, link.index))
            }
        }
    }

    fn send_udp(&self, packet: &[u8], to: SocketAddrV4, source: Ipv4Addr, index: u32) -> io::Result<()> {
        let info = libc::in_pktinfo {
            ipi_ifindex: i32::try_from(index).map_err(io::Error::other)?,
            ipi_spec_dst: libc::in_addr { s_addr: source.to_bits().to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let (fd, data) = (self.0.udp.as_raw_fd(), [IoSlice::new(packet)]);
        sendmsg(fd, &data, &control, MsgFlags::MSG_DONTWAIT, Some(&SockaddrIn::from(to)))?;
        Ok(())
    }
}
