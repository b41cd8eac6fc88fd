//! A look at the head's wires on demand, before nodes boot (`pilotctl check`): which other DHCP servers offer an address
//! to a DISCOVER, and which bridges speak spanning tree (IEEE 802.1D).
//!
//! The head asks only when somebody asks it to, since an offer keeps an address of the other server from others for a
//! while. Nothing is ever requested.

mod bridge;

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use domain::{Document, MacAddr};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::bridge::Bridges;
use crate::client::{Bridge, Nic, Server};
use crate::net::{FrameSocket, Sniffer};
use crate::nics;
use crate::state::State;
use crate::wire::frame::frame;

/// So much of each may be heard on one NIC.
const HEARD_MAX: usize = 32;
/// Some servers and relays take no shorter packet (RFC 1542 section 2.1).
const PACKET_MIN: usize = 300;

/// Listens for so long. It blocks.
///
/// # Errors
///
/// If there is no packet socket, for want of CAP_NET_RAW.
pub(crate) fn run(state: &State, document: &Document, time: Duration, number: u32) -> io::Result<Vec<Nic>> {
    let mut nics = nics::find(document, Path::new("/sys/class/net"));
    let sniffer = Sniffer::open()?;
    let bridges = Bridges::open()?;
    let sender = FrameSocket::open()?;
    let links: Vec<Option<(u32, MacAddr)>> = nics.iter().map(|it| link_of(&it.interface)).collect();
    for (nic, link) in nics.iter().zip(&links) {
        let Some((index, mac)) = *link else { continue };
        bridges.join(index)?;
        // Towards the site another server is meant to be.
        if !nic.site
            && nic.carrier
            && let Some(frame) = discover(mac, number)
            && let Err(error) = sender.send(&frame, index)
        {
            tracing::warn!(%error, "cannot ask for other DHCP servers on {}", nic.interface);
        }
    }
    let own: Vec<MacAddr> = links.iter().flatten().map(|it| it.1).collect();
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|it| !it.is_zero()) {
        wait(&sniffer, &bridges, left)?;
        while let Some((index, heard)) = none_waits(sniffer.next())? {
            let Some(heard) = heard.filter(|it| !own.contains(&it.mac) && !state.config.is_head(it.server))
            else {
                continue;
            };
            let server = Server { server: heard.server, mac: heard.mac };
            of_index(&mut nics, &links, index, |it| note(&mut it.servers, server));
        }
        while let Some((index, heard)) = none_waits(bridges.next())? {
            let Some(bridge) = heard.filter(|it| !own.contains(&it.mac)) else { continue };
            of_index(&mut nics, &links, index, |it| note(&mut it.bridges, bridge.clone()));
        }
    }
    Ok(nics)
}

/// Waits for a frame or the end of the time.
fn wait(sniffer: &Sniffer, bridges: &Bridges, left: Duration) -> io::Result<()> {
    use std::os::fd::{AsRawFd as _, BorrowedFd};
    #[expect(unsafe_code, reason = "both sockets live longer than this call")]
    let fds = unsafe { [sniffer.as_raw_fd(), bridges.as_raw_fd()].map(|it| BorrowedFd::borrow_raw(it)) };
    let mut fds = fds.map(|it| PollFd::new(it, PollFlags::POLLIN));
    // A millisecond more than nothing, so that the last one does not spin.
    let limit = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, limit) {
        Err(nix::errno::Errno::EINTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A frame that was heard, or none: nothing waits, or an interface went down.
fn none_waits<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(heard) => Ok(Some(heard)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(None),
        Err(error) => Err(error),
    }
}

fn of_index(
    nics: &mut [Nic],
    links: &[Option<(u32, MacAddr)>],
    index: u32,
    mut change: impl FnMut(&mut Nic),
) {
    let here = nics.iter_mut().zip(links).filter(|it| it.1.is_some_and(|it| it.0 == index));
    here.for_each(|it| change(it.0));
}

fn note<T: PartialEq>(list: &mut Vec<T>, new: T) {
    if list.len() < HEARD_MAX && !list.contains(&new) {
        list.push(new);
    }
}

fn link_of(name: &str) -> Option<(u32, MacAddr)> {
    let text = std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("address")).ok()?;
    Some((if_nametoindex(name).ok()?, text.trim().parse().ok()?))
}

/// A DISCOVER as a frame to all, answered to all (RFC 2131 section 4.1).
fn discover(mac: MacAddr, number: u32) -> Option<Vec<u8>> {
    let mut packet = vec![0; 236];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[4..8].copy_from_slice(&number.to_be_bytes());
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(mac.octets());
    // The magic cookie; a DISCOVER that asks for mask, router and name servers.
    packet.extend([99, 130, 83, 99, 53, 1, 1, 55, 3, 1, 3, 6, 255]);
    packet.resize(PACKET_MIN, 0);
    let everybody = (MacAddr::new([0xff; 6]), Ipv4Addr::BROADCAST);
    let mut frame = frame((mac, Ipv4Addr::UNSPECIFIED), everybody, &packet)?;
    // A reply's ports the other way around; their sum is the same.
    let ports = 14 + 20;
    frame[ports..ports + 4].rotate_left(2);
    Some(frame)
}

impl From<bridge::Heard> for Bridge {
    fn from(heard: bridge::Heard) -> Self {
        Self { mac: heard.mac, protocol: heard.protocol.to_owned(), forward_delay_s: heard.forward_delay_s }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::MacAddr;

    use super::discover;
    use crate::wire::{Kind, Request};

    #[test]
    fn what_the_head_asks_is_a_discover_to_all() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let frame = discover(mac, 7).unwrap();
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[34..38], [0, 68, 0, 67]);
        let request = Request::read(&frame[42..]).unwrap();
        assert_eq!((request.kind, request.mac), (Kind::Discover, mac));
    }
}
