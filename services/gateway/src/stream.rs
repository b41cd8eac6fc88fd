//! A client's connection that does not wait for ever: for a head begun, or for a client that does not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a connection is doing.
#[derive(Debug, Default)]
pub(crate) struct Activity(AtomicU8);

/// Between requests.
const IDLE: u8 = 0;
/// A request's first byte is there, its head is not yet complete.
const HEAD: u8 = 1;
/// A request is being answered, or the connection is a tunnel by now.
const BUSY: u8 = 2;

impl Activity {
    /// A request is being answered until the turn is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Turn {
        self.0.store(BUSY, Ordering::Relaxed);
        Turn(Some(Arc::clone(self)))
    }
}

/// The time in which one request is answered.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<Activity>>);

impl Turn {
    /// The connection has become a tunnel, which may be silent for long.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(activity) = &self.0 {
            activity.0.store(IDLE, Ordering::Relaxed);
        }
    }
}

/// A stream with time limits. Timers are made when something is waited for, so that quick clients cost none.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    stream: S,
    activity: Arc<Activity>,
    /// How long a head may take from its first byte.
    head_max: Duration,
    /// How long a client may take no byte of its answer.
    write_max: Duration,
    head_began: Option<Instant>,
    head_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>, head_max: Duration, write_max: Duration) -> Self {
        Self { stream, activity, head_max, write_max, head_began: None, head_timer: None, write_timer: None }
    }

    /// A write that waits, or none any more.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let limit = self.write_max;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        match this.activity.0.load(Ordering::Relaxed) {
            IDLE if buf.filled().len() > before => {
                this.activity.0.store(HEAD, Ordering::Relaxed);
                this.head_began = Some(Instant::now());
                this.head_timer = None;
                read
            }
            HEAD if read.is_pending() => {
                let end = this.head_began.unwrap_or_else(Instant::now) + this.head_max;
                let timer = this.head_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head takes too long")))
            }
            _ => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch_write(cx, closed)
    }
}
