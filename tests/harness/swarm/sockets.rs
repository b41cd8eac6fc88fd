//! Where BMCs listen: one socket for all of their addresses, or a socket each.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use serde::Serialize;

use super::bmc::Packet;

/// Room for what thousands of consoles acknowledge at once.
const BUFFER_BYTES: usize = 16 << 20;
/// Longer than any packet of IPMI.
const DATAGRAM_MAX: usize = 2048;
/// Packets that are read in a row, before others have their turn.
const ROW_MAX: usize = 512;
/// Addresses of a block of 256 that are used: the first 250, from `.1` on.
const BLOCK: u32 = 250;
/// Sockets that become readable at once; the others follow.
const EVENTS_MAX: usize = 256;
/// The event of who wakes the thread.
const WAKE: u64 = u64::MAX;

/// Where BMCs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Place {
    /// Each at a free port of 127.0.0.1.
    Ports,
    /// Each at an address of its own, from this one on, 250 of every 256; all of them must be local here, as the
    /// addresses of 127.0.0.0/8 are. The port is taken on all addresses of this network namespace, on loopback alone if
    /// that is where they are.
    Addresses {
        /// The first one; its last byte is 1.
        base: Ipv4Addr,
        /// The port of all of them.
        port: u16,
    },
}

impl Place {
    /// 127.1.0.1 and on, port 623.
    pub const LOOPBACK: Self = Self::Addresses { base: Ipv4Addr::new(127, 1, 0, 1), port: 623 };

    /// Address of BMC `number`, counted from 1; none if they are at ports.
    #[must_use]
    pub fn address(self, number: u32) -> Option<SocketAddrV4> {
        let Self::Addresses { base, port } = self else { return None };
        let offset = (number - 1) / BLOCK * 256 + (number - 1) % BLOCK;
        Some(SocketAddrV4::new(Ipv4Addr::from(u32::from(base) + offset), port))
    }
}

/// The sockets of a swarm.
pub(super) struct Sockets {
    all: Vec<UdpSocket>,
    /// The first address, if one socket serves all.
    base: Option<u32>,
    epoll: Epoll,
    buffer: Vec<u8>,
    control: Vec<u8>,
}

/// What there is to do.
pub(super) struct Ready {
    /// Sockets to be read.
    pub(super) sockets: Vec<usize>,
    /// Somebody wants attention.
    pub(super) woken: bool,
}

impl Sockets {
    /// Opens the sockets; gives the address of each BMC as well.
    pub(super) fn open(
        place: Place,
        count: u32,
        waker: &EventFd,
    ) -> anyhow::Result<(Self, Vec<SocketAddrV4>)> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("make an epoll instance")?;
        epoll.add(waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let (all, base, addresses) = match place {
            Place::Ports => {
                let all =
                    (0..count).map(|_| bind(Ipv4Addr::LOCALHOST, 0)).collect::<anyhow::Result<Vec<_>>>()?;
                let addresses = all.iter().map(local).collect::<anyhow::Result<_>>()?;
                (all, None, addresses)
            }
            Place::Addresses { base, port } => {
                ensure!(
                    base.octets()[3] == 1,
                    "the first address of a swarm ends in .1, as 127.1.0.1; {base} does not"
                );
                let addresses: Vec<_> = (1..=count).filter_map(|it| place.address(it)).collect();
                (vec![open_all(base, port)?], Some(u32::from(base)), addresses)
            }
        };
        for (index, socket) in all.iter().enumerate() {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        let (buffer, control) = (vec![0; DATAGRAM_MAX], nix::cmsg_space!(libc::in_pktinfo));
        Ok((Self { all, base, epoll, buffer, control }, addresses))
    }

    /// Waits until there is something to do, or the time is over.
    pub(super) fn wait(&self, limit: Option<Duration>) -> anyhow::Result<Ready> {
        let timeout = match limit {
            // Rounded up, so that the time has come when it is over.
            Some(limit) => {
                EpollTimeout::try_from(limit + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX)
            }
            None => EpollTimeout::NONE,
        };
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            count => count.context("wait for packets")?,
        };
        let marks = events.iter().take(count).map(EpollEvent::data);
        let woken = marks.clone().any(|it| it == WAKE);
        Ok(Ready { sockets: marks.filter(|it| *it != WAKE).map(|it| it as usize).collect(), woken })
    }

    /// Reads what has come to a socket: the BMC's index, the sender, the packet.
    pub(super) fn receive(&mut self, socket: usize, mut take: impl FnMut(usize, SocketAddrV4, &[u8])) {
        for _ in 0..ROW_MAX {
            let Some((index, from, length)) = self.receive_one(socket) else { return };
            if let (Some(index), Some(from)) = (index, from) {
                take(index, from, &self.buffer[..length]);
            }
        }
    }

    fn receive_one(&mut self, at: usize) -> Option<(Option<usize>, Option<SocketAddrV4>, usize)> {
        let socket = &self.all[at];
        let Some(base) = self.base else {
            let (length, from) = socket.recv_from(&mut self.buffer).ok()?;
            let SocketAddr::V4(from) = from else { return Some((None, None, 0)) };
            return Some((Some(at), Some(from), length));
        };
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let control = Some(&mut self.control[..]);
        let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, control, flags).ok()?;
        let to = message.cmsgs().ok()?.find_map(|it| match it {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(u32::from_be(info.ipi_addr.s_addr)),
            _ => None,
        });
        let offset = to.and_then(|it| it.checked_sub(base)).filter(|it| it % 256 < BLOCK);
        let index = offset.map(|it| (it / 256 * BLOCK + it % 256) as usize);
        Some((index, message.address.map(SocketAddrV4::from), message.bytes))
    }

    /// Sends a packet from its BMC's address. What cannot be sent is lost, as on a wire.
    pub(super) fn send(&self, packet: &Packet, address: SocketAddrV4) {
        let sent = if self.base.is_none() {
            self.all[packet.from].send_to(&packet.bytes, packet.to).map(drop)
        } else {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let (parts, to) = ([IoSlice::new(&packet.bytes)], SockaddrIn::from(packet.to));
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let (socket, flags) = (self.all[0].as_raw_fd(), MsgFlags::MSG_DONTWAIT);
            sendmsg(socket, &parts, &control, flags, Some(&to)).map(drop).map_err(Into::into)
        };
        if let Err(error) = sent {
            // The console may be gone; who waits for this packet asks again.
            drop(error);
        }
    }
}

fn local(socket: &UdpSocket) -> anyhow::Result<SocketAddrV4> {
    match socket.local_addr()? {
        SocketAddr::V4(it) => Ok(it),
        SocketAddr::V6(it) => bail!("{it} is no IPv4 address"),
    }
}

fn bind(address: Ipv4Addr, port: u16) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, port)).with_context(|| {
        format!(
            "listen on {address}, UDP port {port}; another simulator may have it, --port takes another one"
        )
    })?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One socket for all addresses of this namespace; on loopback alone if the first one is of it.
fn open_all(base: Ipv4Addr, port: u16) -> anyhow::Result<UdpSocket> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind as bind_to, socket};

    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None).context("open a socket")?;
    if base.is_loopback() {
        setsockopt(&fd, sockopt::BindToDevice, &"lo".into()).context("bind to loopback")?;
    }
    setsockopt(&fd, sockopt::Ipv4PacketInfo, &true).context("ask for the packets' addresses")?;
    setsockopt(&fd, sockopt::RcvBufForce, &BUFFER_BYTES)
        .or_else(|_| setsockopt(&fd, sockopt::RcvBuf, &BUFFER_BYTES))
        .context("enlarge the receive buffer")?;
    bind_to(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))).with_context(
        || format!("listen on UDP port {port}; another simulator may have it, --port takes another one"),
    )?;
    Ok(fd.into())
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn addresses_leave_out_what_may_be_a_broadcast() {
        let address = |it| Place::LOOPBACK.address(it).map(|it| it.to_string());
        assert_eq!(address(1).as_deref(), Some("127.1.0.1:623"));
        assert_eq!(address(250).as_deref(), Some("127.1.0.250:623"));
        assert_eq!(address(251).as_deref(), Some("127.1.1.1:623"));
        assert_eq!(address(5000).as_deref(), Some("127.1.19.250:623"));
    }
}
