//! Bodies on their way through: never copied, never gathered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use crate::stream::Turn;
use crate::upstream::Lease;

/// A request's body on its way to a service: bounded in length, and in how long it stands still.
#[derive(Debug)]
pub(crate) enum Upload {
    /// None, as most requests.
    Empty,
    /// Some.
    Stream(Box<Stream>),
}

#[derive(Debug)]
pub(crate) struct Stream {
    /// None when it is given away.
    incoming: Option<Incoming>,
    /// Whether the client waits for a word before it sends.
    asks_first: bool,
    left: u64,
    idle_max: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Progress,
}

/// How far a request's body has come; shared with who waits for the answer.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<AtomicU8>);

/// How a request's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// It has not.
    Open,
    /// Well.
    Complete,
    /// It is longer than allowed.
    TooLong,
    /// It stood still.
    Stalled,
    /// The client went away.
    Broken,
}

impl Progress {
    pub(crate) fn end(&self) -> End {
        let value = self.0.load(Ordering::Acquire);
        let ends = [End::Complete, End::TooLong, End::Stalled, End::Broken];
        ends.into_iter().find(|it| *it as u8 == value).unwrap_or(End::Open)
    }

    fn set(&self, end: End) {
        self.0.store(end as u8, Ordering::Release);
    }
}

impl Upload {
    /// The body, and its progress if there is one.
    pub(crate) fn new(
        incoming: Incoming,
        (limit, idle_max): (u64, Duration),
        asks_first: bool,
    ) -> (Self, Option<Progress>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let progress = Progress(Arc::new(AtomicU8::new(End::Open as u8)));
        let (incoming, timer) = (Some(incoming), None);
        let stream =
            Stream { incoming, asks_first, left: limit, idle_max, timer, progress: progress.clone() };
        (Self::Stream(Box::new(stream)), Some(progress))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let unread = self.incoming.take().filter(|it| !it.is_end_stream() && !self.asks_first);
        if let Some(incoming) = unread
            && self.progress.end() == End::TooLong
        {
            tokio::spawn(web::discard(incoming));
        }
    }
}

impl Stream {
    fn fail(&self, end: End, text: &'static str) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.progress.set(end);
        Poll::Ready(Some(Err(io::Error::other(text))))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                let length = frame.data_ref().map_or(0, |it| it.len() as u64);
                match self.left.checked_sub(length) {
                    Some(left) => self.left = left,
                    None => return self.fail(End::TooLong, "the request's body is too long"),
                }
                if self.incoming.as_ref().is_none_or(hyper::body::Body::is_end_stream) {
                    self.progress.set(End::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => self.fail(End::Broken, "the request's body broke off"),
            Poll::Ready(None) => {
                self.progress.set(End::Complete);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let limit = self.idle_max;
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => self.fail(End::Stalled, "the request's body stands still"),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(stream) => stream.incoming.as_ref().is_none_or(hyper::body::Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(stream) => {
                stream.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), hyper::body::Body::size_hint)
            }
        }
    }
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub(crate) struct Download {
    source: Source,
    /// Goes back to the pool at the body's end.
    lease: Option<Lease>,
    access: Option<Box<Access>>,
    _turn: Option<Turn>,
}

#[derive(Debug)]
enum Source {
    Service(Incoming),
    Own(axum::body::Body),
}

impl Download {
    /// A service's answer.
    pub(crate) fn service(incoming: Incoming, lease: Lease, turn: Turn, access: Option<Box<Access>>) -> Self {
        let mut body =
            Self { source: Source::Service(incoming), lease: Some(lease), access, _turn: Some(turn) };
        body.end_if_over();
        body
    }

    /// The gateway's own answer.
    pub(crate) fn own(body: axum::body::Body, turn: Option<Turn>, access: Option<Box<Access>>) -> Self {
        Self { source: Source::Own(body), lease: None, access, _turn: turn }
    }

    /// The connection is free for the next request as soon as nothing of this answer is to come.
    fn end_if_over(&mut self) {
        if self.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Service(incoming) => Pin::new(incoming).poll_frame(cx).map_err(io::Error::other),
            Source::Own(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(access), Some(data)) = (&mut this.access, frame.data_ref()) {
                    access.bytes += data.len() as u64;
                }
                this.end_if_over();
            }
            Poll::Ready(None) => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back();
                }
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Service(incoming) => incoming.is_end_stream(),
            Source::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Service(incoming) => incoming.size_hint(),
            Source::Own(body) => body.size_hint(),
        }
    }
}

/// What the log says of a request; written when its answer's body is gone, sent or not.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) method: Method,
    /// Without the query, which may hold what nobody should read.
    pub(crate) path: String,
    pub(crate) status: StatusCode,
    pub(crate) bytes: u64,
    pub(crate) began: Instant,
    pub(crate) source: std::net::IpAddr,
    pub(crate) id: HeaderValue,
}

impl Drop for Access {
    fn drop(&mut self) {
        let Self { method, path, status, bytes, began, source, id } = self;
        let (status, millis) = (status.as_u16(), began.elapsed().as_millis());
        let id = id.to_str().unwrap_or_default();
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            tracing::debug!(
                "{method} {path}: {status}, {bytes} bytes, {millis} ms, from {source}, request {id}"
            );
        } else {
            tracing::info!(
                pilothouse_address = %source,
                pilothouse_request = id,
                "{method} {path}: {status}, {bytes} bytes, {millis} ms, from {source}, request {id}"
            );
        }
    }
}
