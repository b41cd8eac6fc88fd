//! Many packets by one system call, to and from many clients.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddrV4;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, sendmsg};

use super::{Transfer, Transfers};
use crate::wire::tftp::data_head;

/// Packets by one call.
const BATCH: usize = 64;
/// What clients send is short: acknowledgements, errors.
const PACKET_MAX: usize = 256;
/// The kernel cuts up at most so many bytes at once: an IP packet's length, with room for its heads.
const WHOLE_MAX: usize = 65_000;

/// What came.
pub(super) struct Incoming {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<u8>,
    found: Vec<(SocketAddrV4, usize)>,
}

impl Default for Incoming {
    fn default() -> Self {
        let headers = MultiHeaders::preallocate(BATCH, None);
        Self { headers, buffers: vec![0; BATCH * PACKET_MAX], found: Vec::with_capacity(BATCH) }
    }
}

impl Incoming {
    /// Waits for packets, for as long as the socket's own limit, and takes all that are there.
    pub(super) fn receive(&mut self, socket: RawFd) -> io::Result<()> {
        self.found.clear();
        let mut slices: Vec<_> =
            self.buffers.chunks_exact_mut(PACKET_MAX).map(|it| [IoSliceMut::new(it)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket, &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                for (at, message) in messages.enumerate() {
                    // Without an address it is nobody's; the place in the buffer counts all the same.
                    let from = message
                        .address
                        .map_or(SocketAddrV4::new(0.into(), 0), |it| SocketAddrV4::new(it.ip(), it.port()));
                    debug_assert_eq!(at, self.found.len());
                    self.found.push((from, message.bytes));
                }
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What came last, by sender.
    pub(super) fn packets(&self) -> impl Iterator<Item = (SocketAddrV4, &[u8])> {
        let found = self.found.iter().zip(self.buffers.chunks_exact(PACKET_MAX));
        found.map(|((from, length), buffer)| (*from, &buffer[..(*length).min(PACKET_MAX)]))
    }
}

/// What goes out.
pub(super) struct Outgoing {
    headers: MultiHeaders<SockaddrIn>,
    heads: [[u8; 4]; BATCH],
    whole: Vec<u8>,
    /// Single blocks that wait to be sent together.
    singles: Vec<(SocketAddrV4, u64)>,
}

impl Default for Outgoing {
    fn default() -> Self {
        let headers = MultiHeaders::preallocate(BATCH, None);
        Self { headers, heads: [[0; 4]; BATCH], whole: Vec::new(), singles: Vec::new() }
    }
}

impl Outgoing {
    /// Sends these blocks. What cannot be sent counts as lost: it is sent again when it is missed.
    pub(super) fn send(
        &mut self,
        socket: RawFd,
        transfers: &mut Transfers,
        steps: &[(SocketAddrV4, RangeInclusive<u64>)],
    ) {
        self.singles.clear();
        for (address, blocks) in steps {
            let Some(transfer) = transfers.get_mut(address) else { continue };
            if blocks.start() < blocks.end() && transfer.whole {
                if self.send_whole(socket, transfer, blocks.clone()).is_ok() {
                    continue;
                }
                // The way there cannot do it, or not with blocks of this size.
                transfer.whole = false;
            }
            self.singles.extend(blocks.clone().map(|it| (*address, it)));
        }
        let singles = std::mem::take(&mut self.singles);
        for some in singles.chunks(BATCH) {
            if let Err(error) = self.send_singles(socket, transfers, some) {
                tracing::debug!(%error, "TFTP blocks cannot be sent");
            }
        }
        self.singles = singles;
    }

    /// A window as one buffer.
    fn send_whole(
        &mut self,
        socket: RawFd,
        transfer: &Transfer,
        blocks: RangeInclusive<u64>,
    ) -> nix::Result<()> {
        let segment = 4 + transfer.block;
        let each = (WHOLE_MAX / segment).clamp(1, BATCH) as u64;
        let size = u16::try_from(segment).map_err(|_| Errno::EINVAL)?;
        let address = SockaddrIn::from(transfer.client.address);
        let mut first = *blocks.start();
        while first <= *blocks.end() {
            let last = (first + each - 1).min(*blocks.end());
            self.whole.clear();
            for block in first..=last {
                self.whole.extend_from_slice(&data_head(block));
                self.whole.extend_from_slice(transfer.content(block));
            }
            let cut = [ControlMessage::UdpGsoSegments(&size)];
            let cut = if first == last { &cut[..0] } else { &cut[..] };
            match sendmsg(socket, &[IoSlice::new(&self.whole)], cut, MsgFlags::empty(), Some(&address)) {
                Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
            first = last + 1;
        }
        Ok(())
    }

    fn send_singles(
        &mut self,
        socket: RawFd,
        transfers: &Transfers,
        singles: &[(SocketAddrV4, u64)],
    ) -> nix::Result<()> {
        for (head, (_, block)) in self.heads.iter_mut().zip(singles) {
            *head = data_head(*block);
        }
        let (mut slices, mut addresses) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        for ((address, block), head) in singles.iter().zip(&self.heads) {
            let content = transfers.get(address).map(|it| it.content(*block)).unwrap_or_default();
            slices.push([IoSlice::new(head), IoSlice::new(content)]);
            addresses.push(Some(SockaddrIn::from(*address)));
        }
        let mut from = 0;
        while from < slices.len() {
            let none: [ControlMessage<'_>; 0] = [];
            let (slices, addresses) = (&slices[from..], &addresses[from..]);
            let sent = sendmmsg(socket, &mut self.headers, slices, addresses, none, MsgFlags::empty());
            match sent.map(Iterator::count) {
                // The one that cannot be sent keeps no other back.
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => from += 1,
                Ok(count) => from += count,
            }
        }
        Ok(())
    }
}
