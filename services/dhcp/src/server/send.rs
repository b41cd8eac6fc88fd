//! Packets on their way out.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::DROPPED;
use crate::net::{Datagram, FrameSocket, Link, send_batch};
use crate::wire::{Destination, frame};

/// So many buffers are kept for the next packets.
const SPARE_MAX: usize = 512;

static REPLIES: LazyLock<Counter> = LazyLock::new(|| web::counter("dhcp_replies", "DHCP replies sent"));

/// A packet on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) packet: Vec<u8>,
    pub(crate) destination: Destination,
    /// The head's address and interface it leaves by.
    pub(crate) head: Ipv4Addr,
    pub(crate) link: Link,
    /// Where the request came from, and whether the reply goes back there: to a relay or test on this machine,
    /// and to who asks a boot server at its own port.
    pub(crate) from: SocketAddrV4,
    pub(crate) back: bool,
}

/// The sending half; clones share the sockets.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Sockets>);

struct Sockets {
    udp: UdpSocket,
    frames: Option<FrameSocket>,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Sender {
    /// With `frames`, clients without an address are answered by frames of their own.
    pub(crate) fn new(udp: UdpSocket, frames: bool) -> Self {
        let frames = frames.then(FrameSocket::open).and_then(|opened| match opened {
            Ok(socket) => Some(socket),
            Err(error) => {
                let hint = "clients without an address are answered by broadcast";
                tracing::warn!(%error, "no raw socket (CAP_NET_RAW): {hint}");
                None
            }
        });
        Self(Arc::new(Sockets { udp, frames, spare: Mutex::default() }))
    }

    /// A buffer for a packet, perhaps a used one.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let mut spare = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_else(|| Vec::with_capacity(600))
    }

    /// Sends. What cannot be sent is counted; the client asks again.
    pub(crate) fn send(&self, packets: Vec<Outgoing>) {
        if packets.is_empty() {
            return;
        }
        let mut datagrams = Vec::with_capacity(packets.len());
        let (mut failed, mut reason) = (0, None);
        for packet in &packets {
            match self.send_frame(packet) {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    failed += 1;
                    reason = Some(error);
                }
                None => datagrams.push(datagram(packet)),
            }
        }
        let (lost, why) = send_batch(&self.0.udp, &datagrams);
        failed += lost;
        if let Some(error) = reason.or(why) {
            tracing::warn!(%error, "{failed} DHCP replies cannot be sent, as one to {:?}", packets[0].destination);
        }
        DROPPED.inc_by(failed as u64);
        REPLIES.inc_by((packets.len() - failed) as u64);
        let mut spare = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let room = SPARE_MAX.saturating_sub(spare.len());
        spare.extend(packets.into_iter().take(room).map(|it| it.packet));
    }

    /// Sends to a client that has no address yet; none if the packet is for nobody such, or frames cannot be
    /// had. A client that cannot take the broadcast either asks again.
    fn send_frame(&self, packet: &Outgoing) -> Option<io::Result<()>> {
        let Destination::Link(mac, ip) = packet.destination else { return None };
        if packet.back {
            return None;
        }
        let (socket, own) = (self.0.frames.as_ref()?, packet.link.mac?);
        let frame = frame::frame((own, packet.head), (mac, ip), &packet.packet)?;
        Some(socket.send(&frame, packet.link.index)).filter(Result::is_ok)
    }
}

fn datagram(packet: &Outgoing) -> Datagram<'_> {
    let (bytes, source) = (packet.packet.as_slice(), packet.head);
    if packet.back {
        return Datagram { bytes, to: packet.from, source: Ipv4Addr::UNSPECIFIED, index: 0 };
    }
    let (to, index) = match packet.destination {
        Destination::Relay(ip) => (SocketAddrV4::new(ip, 67), 0),
        Destination::Client(ip) => (SocketAddrV4::new(ip, 68), 0),
        Destination::Broadcast | Destination::Link(..) => {
            (SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), packet.link.index)
        }
    };
    Datagram { bytes, to, source, index }
}
