//! The NICs: which plane is behind which interface index, and frames for clients that have no address.

mod batch;
mod sniff;

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use domain::MacAddr;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg};
use socket2::{Domain, Socket, Type};

pub(crate) use self::batch::{BATCH, Datagram, Slot, Wait, receive_batch, send_batch};
pub(crate) use self::sniff::{Heard, Sniffer};
use crate::config::Plane;

/// An interface of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) mac: Option<MacAddr>,
}

/// Planes by interface index, as they were when last looked at.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Interface index → places in the configuration's list of planes.
    planes: HashMap<u32, Vec<usize>>,
    macs: HashMap<u32, MacAddr>,
}

/// One interface as the kernel lists it.
#[derive(Clone, Debug, Default)]
struct Found {
    name: String,
    index: u32,
    mac: Option<MacAddr>,
    addresses: Vec<Ipv4Addr>,
}

impl Links {
    /// Looks at the interfaces as they are now.
    pub(crate) fn find(planes: &[Plane]) -> io::Result<Self> {
        let found = list_interfaces()?;
        let mut links = Self::default();
        for it in &found {
            links.macs.extend(it.mac.map(|mac| (it.index, mac)));
        }
        for (place, plane) in planes.iter().enumerate() {
            if let Some(it) = find_interface(&found, plane) {
                links.planes.entry(it.index).or_default().push(place);
            }
        }
        Ok(links)
    }

    /// The planes behind an interface, as places in the configuration's list.
    pub(crate) fn planes_of(&self, index: u32) -> &[usize] {
        self.planes.get(&index).map_or(&[], Vec::as_slice)
    }

    /// An interface that carries planes or not.
    pub(crate) fn link(&self, index: u32) -> Link {
        Link { index, mac: self.macs.get(&index).copied() }
    }
}

/// The interface of a plane: the NIC or link that is named; for a NIC named by its MAC (which VLANs and
/// bridges on it share), the interface that has the head's address, else the NIC itself.
fn find_interface<'a>(found: &'a [Found], plane: &Plane) -> Option<&'a Found> {
    let interface = plane.interface.as_deref()?;
    let head = plane.head;
    let by_address = || found.iter().find(|it| head.is_some_and(|head| it.addresses.contains(&head)));
    let by_mac = || {
        let mac: MacAddr = interface.parse().ok()?;
        found.iter().filter(|it| it.mac == Some(mac)).min_by_key(|it| it.index)
    };
    let by_name = found.iter().find(|it| it.name == interface);
    by_name.or_else(by_address).or_else(by_mac)
}

fn list_interfaces() -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for entry in getifaddrs()? {
        let place = match found.iter().position(|it| it.name == entry.interface_name) {
            Some(place) => place,
            None => {
                let Ok(index) = if_nametoindex(entry.interface_name.as_str()) else { continue };
                found.push(Found { name: entry.interface_name.clone(), index, ..Found::default() });
                found.len() - 1
            }
        };
        let Some(address) = entry.address else { continue };
        if let Some(ip) = address.as_sockaddr_in() {
            found[place].addresses.push(ip.ip());
        } else if let Some(link) = address.as_link_addr().filter(|it| it.halen() == 6) {
            found[place].mac = link.addr().map(MacAddr::new);
        }
    }
    Ok(found)
}

/// A datagram that came, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) from: SocketAddrV4,
    /// The interface it arrived on.
    pub(crate) index: u32,
    /// The head's address it was sent to; of a broadcast, the interface's first.
    pub(crate) local: Ipv4Addr,
}

/// Takes one datagram of a socket that has IP_PKTINFO on, without waiting.
pub(crate) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = nix::cmsg_space!(libc::in_pktinfo);
    let mut data = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut data, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let from = message.address.map(|it| SocketAddrV4::new(it.ip(), it.port())).ok_or(Errno::EAFNOSUPPORT)?;
    let mut received = Received { length: message.bytes, from, index: 0, local: Ipv4Addr::UNSPECIFIED };
    for control in message.cmsgs()? {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
            received.index = u32::try_from(info.ipi_ifindex).unwrap_or(0);
            received.local = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr));
        }
    }
    Ok(received)
}

/// Sends whole frames. It receives nothing: its protocol is 0.
#[derive(Debug)]
pub(crate) struct FrameSocket(Socket);

impl FrameSocket {
    /// Opens it.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        Ok(Self(socket))
    }

    /// Sends a frame out of an interface.
    pub(crate) fn send(&self, frame: &[u8], index: u32) -> io::Result<()> {
        let index = i32::try_from(index).map_err(io::Error::other)?;
        #[expect(
            unsafe_code,
            reason = "no library builds a sockaddr_ll; the zeroed storage is larger than it"
        )]
        let ((), address) = unsafe {
            socket2::SockAddr::try_init(|storage, length| {
                let address = storage.cast::<libc::sockaddr_ll>();
                (*address).sll_family = libc::AF_PACKET as libc::sa_family_t;
                (*address).sll_ifindex = index;
                (*address).sll_halen = 6;
                *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                Ok(())
            })
        }?;
        self.0.send_to(frame, &address).map(drop)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Found, find_interface};
    use crate::config::Plane;

    fn plane(interface: Option<&str>) -> Plane {
        Plane {
            name: "nodes".into(),
            net: "172.16.0.0/24".parse().unwrap(),
            head: Some("172.16.0.254".parse().unwrap()),
            interface: interface.map(str::to_owned),
            router: None,
            pool: None,
            shared: false,
            wire: 0,
            dns: vec![],
            ntp: vec![],
            mtu: None,
            options: crate::wire::Options::default(),
        }
    }

    #[test]
    fn a_plane_is_found_by_name_by_address_and_by_mac() {
        let found = |name: &str, index, ip: Option<&str>| Found {
            name: name.into(),
            index,
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            addresses: ip.map(|it| it.parse().unwrap()).into_iter().collect(),
        };
        let nic = [found("eth1", 2, None), found("nodes", 5, Some("172.16.0.254"))];
        let index = |found: &[Found], name| find_interface(found, &plane(name)).map(|it| it.index);
        assert_eq!(index(&nic, Some("eth1")), Some(2));
        assert_eq!(index(&nic, Some("nodes")), Some(5));
        assert_eq!(index(&nic, Some("02:00:00:00:00:01")), Some(5), "the VLAN shares the MAC");
        assert_eq!(index(&nic[..1], Some("02:00:00:00:00:01")), Some(2));
        assert_eq!(index(&nic, None), None, "it is only reached through a relay");
    }
}
