//! Serial ports of the head, without a thread for each.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serialport::{SerialPort, TTYPort};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::port::Serial;

/// How long the line is held for a break: longer than a character at 300 bits a second.
const BREAK: Duration = Duration::from_millis(250);

/// An open port.
pub(super) struct OpenPort(AsyncFd<Tty>);

/// The port as the runtime's reactor knows it.
struct Tty(TTYPort);

/// A second handle, for breaks.
pub(super) struct Breaker(TTYPort);

impl AsRawFd for Tty {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Opens a port and sets it.
pub(super) fn open(serial: &Serial) -> io::Result<(OpenPort, Breaker)> {
    // No wait at all: the reactor says when there is something to do.
    let builder = serialport::new(&serial.device, serial.speed).timeout(Duration::ZERO);
    let builder = builder.data_bits(serial.data_bits).parity(serial.parity).stop_bits(serial.stop_bits);
    let port = TTYPort::open(&builder).map_err(io::Error::from)?;
    let breaker = Breaker(port.try_clone_native().map_err(io::Error::from)?);
    #[expect(
        unsafe_code,
        reason = "the port's descriptor stays open and the same for as long as the port lives"
    )]
    let registered = unsafe { AsyncFd::register(Tty(port)) };
    Ok((OpenPort(registered?), breaker))
}

impl Breaker {
    pub(super) async fn send(&self) -> io::Result<()> {
        self.0.set_break().map_err(io::Error::from)?;
        tokio::time::sleep(BREAK).await;
        self.0.clear_break().map_err(io::Error::from)
    }
}

/// With no time to wait, the port calls it late where others say that it would block.
fn would_block(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::TimedOut { io::ErrorKind::WouldBlock.into() } else { error }
}

impl AsyncRead for OpenPort {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut guard = ready!(this.0.poll_read_ready_mut(cx))?;
            let read =
                guard.try_io(|it| it.get_mut().0.read(buffer.initialize_unfilled()).map_err(would_block));
            if let Ok(read) = read {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for OpenPort {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // No more than a port's buffer takes at once: the descriptor itself would wait.
        let piece = bytes.get(..bytes.len().min(256)).unwrap_or_default();
        loop {
            let mut guard = ready!(this.0.poll_write_ready_mut(cx))?;
            if let Ok(written) = guard.try_io(|it| it.get_mut().0.write(piece).map_err(would_block)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
