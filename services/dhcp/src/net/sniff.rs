//! Other DHCP servers, heard on the head's own wires: a packet socket that the kernel gives replies alone.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};

use domain::MacAddr;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// A reply is at most this long; what is longer is cut off.
const FRAME_MAX: usize = 2048;
const ETHERNET: usize = 14;

/// What another machine answered a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Who sent the frame: the server, or a relay between.
    pub(crate) mac: MacAddr,
    pub(crate) from: Ipv4Addr,
    /// Option 54.
    pub(crate) server: Ipv4Addr,
}

/// Listens.
#[derive(Debug)]
pub(crate) struct Sniffer(Socket);

impl Sniffer {
    /// Opens it.
    pub(crate) fn open() -> io::Result<Self> {
        // In network byte order: ETH_P_IP, of which our own frames are no part, unlike ETH_P_ALL.
        let protocol = Protocol::from(i32::from((libc::ETH_P_IP as u16).to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        socket.attach_filter(&filter())?;
        Ok(Self(socket))
    }

    /// The next reply that waits, with the interface it came by; none: nothing waits, or it was no reply.
    pub(crate) fn next(&self) -> io::Result<(u32, Option<Heard>)> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); FRAME_MAX];
        let (length, address) = self.0.recv_from(&mut buffer)?;
        let mut bytes = Vec::with_capacity(length);
        #[expect(unsafe_code, reason = "the kernel has written so many bytes, and an address of this family")]
        let index = unsafe {
            bytes.extend(buffer[..length].iter().map(|it| it.assume_init()));
            (*address.as_ptr().cast::<libc::sockaddr_ll>()).sll_ifindex
        };
        Ok((u32::try_from(index).unwrap_or(0), read(&bytes)))
    }
}

impl AsRawFd for Sniffer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Ethernet, IPv4, UDP, not a later fragment, from port 67 to port 68 (in the code of bpf(4)).
fn filter() -> [SockFilter; 11] {
    let load = |size: u32, at: u32| SockFilter::new((0x20 | size) as u16, 0, 0, at);
    let (half, byte) = (0x08, 0x10);
    let equal = |value: u32, no: u8| SockFilter::new(0x15, 0, no, value);
    [
        load(half, 12),
        equal(0x0800, 8),
        load(byte, 23),
        equal(17, 6),
        load(half, 20),
        SockFilter::new(0x45, 4, 0, 0x1fff),
        // x = 4 * (the header's length in words)
        SockFilter::new(0xb1, 0, 0, 14),
        // both ports at once
        SockFilter::new(0x40, 0, 0, 14),
        equal(67 << 16 | 68, 1),
        SockFilter::new(0x06, 0, 0, FRAME_MAX as u32),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}

/// A frame with a server's OFFER or ACK.
fn read(frame: &[u8]) -> Option<Heard> {
    let mac: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let packet = frame.get(ETHERNET..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let server = crate::wire::read_server(packet.get(header + 8..)?)?;
    Some(Heard { mac: MacAddr::new(mac), from: from.into(), server })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use domain::MacAddr;

    use super::read;
    use crate::wire::frame::frame;
    use crate::wire::{Kind, Options, Reply, Request, tests::packet, write};

    #[test]
    fn a_servers_reply_is_read_and_whatever_else_is_not() {
        let request = Request::read(&packet(&[(53, &[1])])).unwrap();
        let server = Ipv4Addr::new(10, 0, 0, 66);
        let none = Ipv4Addr::UNSPECIFIED;
        let mut reply = Reply {
            kind: Kind::Offer,
            yiaddr: server,
            siaddr: none,
            server,
            file: None,
            options: Options::default(),
        };
        let (rogue, client) = (MacAddr::new([2, 0, 0, 0, 0, 66]), MacAddr::new([2, 0, 0, 0, 0, 1]));
        let mut bytes = Vec::new();
        write(&request, &reply, &mut bytes);
        let whole = frame((rogue, server), (client, server), &bytes).unwrap();
        let heard = read(&whole).unwrap();
        assert_eq!((heard.mac, heard.from, heard.server), (rogue, server, server));
        for length in 0..whole.len() {
            // Cut off anywhere it may only be read or not.
            if let Some(heard) = read(&whole[..length]) {
                assert_eq!(heard.server, server);
            }
        }
        reply.kind = Kind::Nak;
        write(&request, &reply, &mut bytes);
        assert_eq!(read(&frame((rogue, server), (client, server), &bytes).unwrap()), None);
    }
}
