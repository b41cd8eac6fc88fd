//! Many datagrams a system call: recvmmsg(2) and sendmmsg(2), each datagram with its interface and the head's
//! address (IP_PKTINFO, ip(7)).

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use super::Received;

/// So many at once.
pub(crate) const BATCH: usize = 64;
/// A DHCP message fits an Ethernet frame; what is longer is read cut off and then refused.
const PACKET_MAX: usize = 2048;
/// Room for one in_pktinfo with its header, as CMSG_SPACE has it.
const CONTROL: usize = mem::size_of::<libc::cmsghdr>() + 16;

/// Room for a datagram, and how it came.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    bytes: Box<[u8; PACKET_MAX]>,
    pub(crate) received: Received,
}

impl Slot {
    pub(crate) fn new() -> Self {
        let none = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let received = Received { length: 0, from: none, index: 0, local: Ipv4Addr::UNSPECIFIED };
        Self { bytes: Box::new([0; PACKET_MAX]), received }
    }

    /// The datagram.
    pub(crate) fn packet(&self) -> &[u8] {
        &self.bytes[..self.received.length]
    }
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) to: SocketAddrV4,
    /// The head's address and the interface it leaves by; unspecified and 0: the kernel's choice.
    pub(crate) source: Ipv4Addr,
    pub(crate) index: u32,
}

/// Room for a control message, aligned as its header wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Whether a call waits for a first datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    #[cfg(test)]
    No,
    /// As long as the socket's own limit.
    ForOne,
}

/// Takes what there is of a socket that has IP_PKTINFO on; says how many came.
pub(crate) fn receive_batch(socket: &impl AsRawFd, slots: &mut [Slot], wait: Wait) -> io::Result<usize> {
    let count = slots.len().min(BATCH);
    #[expect(unsafe_code, reason = "all of these are plain data of C, for which zero bytes are a value")]
    let (mut headers, mut names, mut parts): (
        [libc::mmsghdr; BATCH],
        [libc::sockaddr_in; BATCH],
        [libc::iovec; BATCH],
    ) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
    let mut controls = [Control([0; CONTROL]); BATCH];
    for (at, slot) in slots.iter_mut().take(count).enumerate() {
        parts[at] = libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: PACKET_MAX };
        let header = &mut headers[at].msg_hdr;
        header.msg_name = (&raw mut names[at]).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_iov = &raw mut parts[at];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut controls[at]).cast();
        header.msg_controllen = CONTROL as _;
    }
    #[expect(unsafe_code, reason = "every pointer leads to memory of this function or of the slots")]
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            if wait == Wait::ForOne { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT },
            std::ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (at, slot) in slots.iter_mut().take(received).enumerate() {
        let ip = Ipv4Addr::from_bits(u32::from_be(names[at].sin_addr.s_addr));
        let info = packet_info(&headers[at].msg_hdr);
        slot.received = Received {
            length: (headers[at].msg_len as usize).min(PACKET_MAX),
            from: SocketAddrV4::new(ip, u16::from_be(names[at].sin_port)),
            index: info.map_or(0, |it| u32::try_from(it.ipi_ifindex).unwrap_or(0)),
            local: info.map_or(Ipv4Addr::UNSPECIFIED, |it| {
                Ipv4Addr::from_bits(u32::from_be(it.ipi_spec_dst.s_addr))
            }),
        };
    }
    Ok(received)
}

/// The in_pktinfo of a received message.
fn packet_info(header: &libc::msghdr) -> Option<libc::in_pktinfo> {
    #[expect(unsafe_code, reason = "the kernel has just filled this header and what it points to")]
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header).as_ref()?;
        let wanted = control.cmsg_level == libc::IPPROTO_IP && control.cmsg_type == libc::IP_PKTINFO;
        wanted.then(|| libc::CMSG_DATA(control).cast::<libc::in_pktinfo>().read_unaligned())
    }
}

/// Sends datagrams without waiting; says how many could not be sent, and why the first.
pub(crate) fn send_batch(socket: &impl AsRawFd, datagrams: &[Datagram<'_>]) -> (usize, Option<io::Error>) {
    let (mut failed, mut reason) = (0, None);
    for chunk in datagrams.chunks(BATCH) {
        let mut rest = chunk;
        while !rest.is_empty() {
            match send_some(socket, rest) {
                Ok(sent) => rest = &rest[sent.clamp(1, rest.len())..],
                // The error is the first one's; those behind it may do better.
                Err(error) => {
                    failed += 1;
                    reason = reason.or(Some(error));
                    rest = &rest[1..];
                }
            }
        }
    }
    (failed, reason)
}

fn send_some(socket: &impl AsRawFd, datagrams: &[Datagram<'_>]) -> io::Result<usize> {
    let count = datagrams.len().min(BATCH);
    #[expect(unsafe_code, reason = "all of these are plain data of C, for which zero bytes are a value")]
    let (mut headers, mut names, mut parts): (
        [libc::mmsghdr; BATCH],
        [libc::sockaddr_in; BATCH],
        [libc::iovec; BATCH],
    ) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
    let mut controls = [Control([0; CONTROL]); BATCH];
    for (at, it) in datagrams.iter().take(count).enumerate() {
        names[at].sin_family = libc::AF_INET as libc::sa_family_t;
        names[at].sin_port = it.to.port().to_be();
        names[at].sin_addr.s_addr = it.to.ip().to_bits().to_be();
        parts[at] = libc::iovec { iov_base: it.bytes.as_ptr().cast_mut().cast(), iov_len: it.bytes.len() };
        let header = &mut headers[at].msg_hdr;
        header.msg_name = (&raw mut names[at]).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_iov = &raw mut parts[at];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut controls[at]).cast();
        header.msg_controllen = CONTROL as _;
        write_info(header, it)?;
    }
    #[expect(unsafe_code, reason = "every pointer leads to memory of this function or of the datagrams")]
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn write_info(header: &libc::msghdr, datagram: &Datagram<'_>) -> io::Result<()> {
    let info = libc::in_pktinfo {
        ipi_ifindex: i32::try_from(datagram.index).map_err(io::Error::other)?,
        ipi_spec_dst: libc::in_addr { s_addr: datagram.source.to_bits().to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    #[expect(unsafe_code, reason = "CONTROL is room for exactly this one message, aligned")]
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        (*control).cmsg_level = libc::IPPROTO_IP;
        (*control).cmsg_type = libc::IP_PKTINFO;
        (*control).cmsg_len = libc::CMSG_LEN(mem::size_of::<libc::in_pktinfo>() as libc::c_uint) as _;
        libc::CMSG_DATA(control).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

    use nix::sys::socket::{setsockopt, sockopt};

    use super::{BATCH, CONTROL, Datagram, Slot, Wait, receive_batch, send_batch};

    #[test]
    fn what_is_sent_in_one_call_comes_in_one_with_its_origin() {
        #[expect(unsafe_code, reason = "the macro only counts")]
        let space = unsafe { libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) } as usize;
        assert_eq!(CONTROL, space);
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (one, two) = (socket(), socket());
        setsockopt(&two, sockopt::Ipv4PacketInfo, &true).unwrap();
        let SocketAddr::V4(to) = two.local_addr().unwrap() else { unreachable!() };
        let bytes: Vec<Vec<u8>> = (1..=100u8).map(|it| vec![it; it.into()]).collect();
        let source = Ipv4Addr::UNSPECIFIED;
        let datagrams: Vec<_> = bytes.iter().map(|it| Datagram { bytes: it, to, source, index: 0 }).collect();
        let (failed, reason) = send_batch(&one, &datagrams);
        assert_eq!((failed, reason.map(|it| it.to_string())), (0, None));
        let mut slots = vec![Slot::new(); BATCH];
        let mut got = Vec::new();
        while let Ok(count) = receive_batch(&two, &mut slots, Wait::No) {
            for slot in &slots[..count] {
                assert_eq!(SocketAddr::V4(slot.received.from), one.local_addr().unwrap());
                assert_eq!((slot.received.local, slot.received.index), (Ipv4Addr::LOCALHOST, 1));
                got.push(slot.packet().to_vec());
            }
        }
        assert_eq!(got, bytes);
    }

    #[test]
    fn what_cannot_be_sent_keeps_nothing_else_back() {
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (one, two) = (socket(), socket());
        let SocketAddr::V4(to) = two.local_addr().unwrap() else { unreachable!() };
        let nowhere = std::net::SocketAddrV4::new(Ipv4Addr::BROADCAST, 9);
        let datagram = |to| Datagram { bytes: b"x", to, source: Ipv4Addr::UNSPECIFIED, index: 0 };
        let (failed, reason) = send_batch(&one, &[datagram(to), datagram(nowhere), datagram(to)]);
        assert!(failed == 1 && reason.is_some());
        let mut slots = vec![Slot::new(); BATCH];
        assert_eq!(receive_batch(&two, &mut slots, Wait::ForOne).unwrap(), 2);
    }
}
