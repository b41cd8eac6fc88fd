//! Spanning tree, heard: configuration messages of the bridges on the head's wires (IEEE 802.1D-2004, clause 9).

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use domain::MacAddr;
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::Bridge;

/// The bridges' own group address; no bridge passes it on, so that who is heard is the one at the other end.
const GROUP: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0];
const ETH_P_802_2: u16 = 0x0004;
const FRAME_MAX: usize = 512;
/// Ethernet with a length, and LLC.
const BPDU: usize = 17;

/// A bridge's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) mac: MacAddr,
    /// `stp`, `rstp` or `mstp`.
    pub(super) protocol: &'static str,
    /// A port that is no edge port passes frames after twice so long.
    pub(super) forward_delay_s: u16,
}

/// Listens.
#[derive(Debug)]
pub(super) struct Bridges(Socket);

impl Bridges {
    pub(super) fn open() -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(ETH_P_802_2.to_be()));
        Ok(Self(Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(protocol))?))
    }

    /// Has the NIC take frames to the group.
    pub(super) fn join(&self, index: u32) -> io::Result<()> {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&GROUP);
        let request = libc::packet_mreq {
            mr_ifindex: i32::try_from(index).map_err(io::Error::other)?,
            mr_type: libc::PACKET_MR_MULTICAST as u16,
            mr_alen: 6,
            mr_address: address,
        };
        #[expect(unsafe_code, reason = "no library sets this option; the kernel reads a value of this size")]
        let set = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The next message that waits, with the interface it came by; none: nothing waits, or it was none of theirs.
    pub(super) fn next(&self) -> io::Result<(u32, Option<Bridge>)> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); FRAME_MAX];
        let (length, address) = self.0.recv_from(&mut buffer)?;
        let mut bytes = Vec::with_capacity(length);
        #[expect(unsafe_code, reason = "the kernel has written so many bytes, and an address of this family")]
        let index = unsafe {
            bytes.extend(buffer[..length].iter().map(|it| it.assume_init()));
            (*address.as_ptr().cast::<libc::sockaddr_ll>()).sll_ifindex
        };
        Ok((u32::try_from(index).unwrap_or(0), read(&bytes).map(Into::into)))
    }
}

impl AsRawFd for Bridges {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A frame with a configuration message.
fn read(frame: &[u8]) -> Option<Heard> {
    let mac: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let is_theirs = frame.starts_with(&GROUP) && frame.get(14..BPDU)? == [0x42, 0x42, 0x03];
    let message = frame.get(BPDU..).filter(|it| is_theirs && it.starts_with(&[0, 0]))?;
    let protocol = match message.get(2..4)? {
        [0, 0] => "stp",
        [2, 2] => "rstp",
        [3..=255, 2] => "mstp",
        _ => return None,
    };
    // In 256ths of a second.
    let delay = u16::from_be_bytes(message.get(33..35)?.try_into().ok()?);
    Some(Heard { mac: MacAddr::new(mac), protocol, forward_delay_s: delay.div_ceil(256) })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::read;

    #[test]
    fn a_bridges_message_is_read_and_whatever_else_is_not() {
        let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 38, 0x42, 0x42, 3];
        frame.extend([0; 33]);
        frame.extend([15, 0]);
        let heard = read(&frame).unwrap();
        assert_eq!((heard.protocol, heard.forward_delay_s), ("stp", 15));
        assert_eq!(heard.mac.to_string(), "02:00:00:00:00:09");
        for length in 0..frame.len() {
            assert_eq!(read(&frame[..length]), None);
        }
        frame[19] = 2;
        frame[20] = 2;
        assert_eq!(read(&frame).unwrap().protocol, "rstp");
        frame[20] = 0x80;
        assert_eq!(read(&frame), None, "a change of topology says nothing of times");
        frame[5] = 1;
        assert_eq!(read(&frame), None);
    }
}
