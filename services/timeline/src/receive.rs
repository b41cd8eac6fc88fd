//! The socket that the services tell of boots on: datagrams with the sender's credentials, kept by the kernel.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::LazyLock;

use anyhow::Context as _;
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt,
};
use prometheus_client::metrics::counter::Counter;
use time::OffsetDateTime;
use tokio::io::Interest;
use tokio::net::UnixDatagram as Socket;

use crate::Timeline;
use crate::wire::{self, DATAGRAM_MAX};

/// Datagrams that are read before others have a turn.
const TURN: usize = 256;

static EVENTS: LazyLock<Counter> = LazyLock::new(|| web::counter("boot_events", "Steps of boots received"));
static REFUSED: LazyLock<Counter> = LazyLock::new(|| {
    web::counter("boot_events_refused", "Datagrams that no service may send, or that make no sense")
});

impl Timeline {
    /// Takes what the services tell until the context's stop.
    pub(crate) async fn receive(&self, socket: UnixDatagram) -> anyhow::Result<()> {
        // Before a message with credentials comes: the kernel notes them when it is sent.
        setsockopt(&socket, sockopt::PassCred, &true).context("ask for the senders' credentials")?;
        let socket = Socket::from_std(socket).context("read the socket of the events")?;
        loop {
            tokio::select! {
                () = self.context.stop.cancelled() => return Ok(()),
                ready = socket.readable() => ready.context("wait for an event")?,
            }
            self.take_turn(&socket);
            tokio::task::yield_now().await;
        }
    }

    fn take_turn(&self, socket: &Socket) {
        let mut datagram = [0; DATAGRAM_MAX + 1];
        for _ in 0..TURN {
            match socket.try_io(Interest::READABLE, || receive(socket, &mut datagram)) {
                Ok((length, uid)) => self.take_datagram(&datagram[..length], uid),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return tracing::warn!(%error, "a boot event cannot be received"),
            }
        }
    }

    fn take_datagram(&self, datagram: &[u8], uid: Option<u32>) {
        let now = OffsetDateTime::now_utc();
        match wire::read(datagram, uid.unwrap_or(u32::MAX), now) {
            Ok(event) => {
                EVENTS.inc();
                self.take(event, now);
            }
            Err(error) => {
                REFUSED.inc();
                tracing::debug!("a datagram is dropped: {error}");
            }
        }
    }
}

/// A datagram and who sent it.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut control = cmsg_space!(UnixCredentials);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let message =
        recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let uid = message.cmsgs()?.find_map(|it| match it {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.uid()),
        _ => None,
    });
    Ok((message.bytes, uid))
}
