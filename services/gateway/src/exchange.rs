//! One request to a service and its answer: both ways at once, in one task, from buffer to buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::talk::HEAD_BYTES_MAX;
use crate::upstream::{Failure, SILENCE_MAX};
use crate::watch::Watch;
use crate::wire::{Answer, Body, Client, Framing, read_answer};

/// How often an exchange that takes its time is looked at: whether something moves, whether the client is there.
const LOOK: Duration = Duration::from_secs(1);
/// Read at once.
const READ_BYTES: usize = 16 << 10;
/// Buffers that have grown beyond this are not kept.
const SPARE_BYTES_MAX: usize = 128 << 10;
/// Buffers kept for each thread: as many as it has requests at once, most of the time.
const SPARE_MAX: usize = 64;

/// What goes to the service, what goes to the client, and what came of the service.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) ask: Vec<u8>,
    pub(crate) tell: Vec<u8>,
    outbox: BytesMut,
}

thread_local! {
    /// Connections without a request need no buffers, so they share these.
    static SPARE: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

impl Buffers {
    pub(crate) fn take() -> Self {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// What the service sent after its answer.
    pub(crate) fn rest(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    pub(crate) fn give_back(mut self) {
        self.ask.clear();
        self.tell.clear();
        self.outbox.clear();
        let all = self.ask.capacity() + self.tell.capacity() + self.outbox.capacity();
        if all <= SPARE_BYTES_MAX {
            SPARE.with_borrow_mut(|it| {
                if it.len() < SPARE_MAX {
                    it.push(self);
                }
            });
        }
    }
}

/// Why an exchange did not end well.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The service's doing.
    Service(Failure),
    /// The request's body is longer than allowed.
    TooLong,
    /// The client sends no more of it.
    Stalled,
    /// It is not what its framing says.
    Malformed,
    /// The client went away.
    Gone,
}

/// What is allowed to a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) body: u64,
    pub(crate) idle: Duration,
}

/// One request to a service and its answer.
pub(crate) struct Exchange<'t, S> {
    pub(crate) client: &'t mut S,
    pub(crate) inbox: &'t mut BytesMut,
    pub(crate) watch: &'t mut Watch,
    pub(crate) service: &'t mut UnixStream,
    pub(crate) buffers: &'t mut Buffers,
    pub(crate) client_is: Client<'t>,
    pub(crate) bounds: Bounds,
    pub(crate) course: &'t mut Course,
}

/// How far it has come.
pub(crate) struct Course {
    upload: Body,
    upload_bytes: u64,
    /// How much of `ask` is written.
    asked: usize,
    /// Why no more can be written.
    cut: Option<io::Error>,
    answer: Option<Answer>,
    download: Body,
    /// Bytes of the answer's body that have moved.
    pub(crate) download_bytes: u64,
    /// How much of `tell` is written.
    told: usize,
    unflushed: bool,
    moved: bool,
    still_since: Instant,
    /// Whether it is looked for the client leaving: once an answer takes its time.
    attentive: bool,
}

impl Course {
    /// At the beginning: the request's head is in `ask`.
    pub(crate) fn new(framing: Framing, now: Instant) -> Self {
        Self {
            upload: Body::new(framing, framing == Framing::Chunked),
            upload_bytes: 0,
            asked: 0,
            cut: None,
            answer: None,
            download: Body::new(Framing::None, false),
            download_bytes: 0,
            told: 0,
            unflushed: false,
            moved: false,
            still_since: now,
            attentive: false,
        }
    }

    /// Whether nothing has left for the service.
    pub(crate) fn is_unsent(&self) -> bool {
        self.asked == 0 && self.upload_bytes == 0
    }

    /// Whether the client has seen nothing of an answer.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.answer.is_none()
    }

    /// Whether the whole request has gone to the service.
    pub(crate) fn is_sent(&self) -> bool {
        self.upload.is_over() && self.cut.is_none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<'_, S> {
    /// Ready when the whole answer has gone to the client.
    ///
    /// # Errors
    ///
    /// Why it has not.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Trouble>> {
        loop {
            let moved = self.poll_ask(cx)? | self.poll_tell(cx)?;
            let course = &mut *self.course;
            if let Some(answer) = course.answer
                && course.download.is_over()
                && self.buffers.tell.is_empty()
                && !course.unflushed
            {
                return Poll::Ready(Ok(answer));
            }
            if moved {
                course.moved = true;
            } else {
                ready!(self.poll_watch(cx))?;
            }
        }
    }

    /// The request's way; whether something moved.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Result<bool, Trouble> {
        let (course, ask) = (&mut *self.course, &mut self.buffers.ask);
        if course.cut.is_some() {
            return Ok(false);
        }
        let mut moved = false;
        while course.asked < ask.len() {
            match Pin::new(&mut *self.service).poll_write(cx, &ask[course.asked..]) {
                Poll::Ready(Ok(written)) => {
                    course.asked += written;
                    moved = true;
                }
                // It may have answered without reading all of it, so that is looked at first.
                Poll::Ready(Err(error)) => {
                    course.cut = Some(error);
                    return Ok(true);
                }
                Poll::Pending => return Ok(moved),
            }
        }
        if course.upload.is_over() {
            let looks = course.attentive && self.inbox.len() < HEAD_BYTES_MAX;
            return Ok(moved | (looks && self.poll_client(cx)?));
        }
        ask.clear();
        course.asked = 0;
        let length = course.upload.carry(self.inbox, ask).map_err(|_| Trouble::Malformed)?;
        course.upload_bytes += length as u64;
        if course.upload_bytes > self.bounds.body {
            return Err(Trouble::TooLong);
        }
        Ok(moved | !ask.is_empty() || self.poll_client(cx)?)
    }

    /// Reads what the client sends.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Trouble> {
        self.inbox.reserve(READ_BYTES);
        match poll_read_buf(Pin::new(&mut *self.client), cx, self.inbox) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(1..)) => Ok(true),
            Poll::Ready(_) => Err(Trouble::Gone),
        }
    }

    /// The answer's way; whether something moved.
    fn poll_tell(&mut self, cx: &mut Context<'_>) -> Result<bool, Trouble> {
        let (course, Buffers { tell, outbox, .. }) = (&mut *self.course, &mut *self.buffers);
        let mut moved = false;
        while course.told < tell.len() {
            match Pin::new(&mut *self.client).poll_write(cx, &tell[course.told..]) {
                Poll::Ready(Ok(written @ 1..)) => course.told += written,
                Poll::Ready(_) => return Err(Trouble::Gone),
                Poll::Pending => return Ok(moved),
            }
            (moved, course.unflushed) = (true, true);
        }
        if course.unflushed {
            match Pin::new(&mut *self.client).poll_flush(cx) {
                Poll::Ready(Ok(())) => course.unflushed = false,
                Poll::Ready(Err(_)) => return Err(Trouble::Gone),
                Poll::Pending => return Ok(moved),
            }
        }
        tell.clear();
        course.told = 0;
        let unreadable = || Trouble::Service(Failure::Broken(io::ErrorKind::InvalidData.into()));
        if course.answer.is_none() && !outbox.is_empty() {
            match read_answer(outbox, self.client_is, tell).map_err(|_| unreadable())? {
                None if outbox.len() > HEAD_BYTES_MAX => return Err(unreadable()),
                None => {}
                Some(answer) => {
                    outbox.advance(answer.length);
                    // Of interim answers nothing is passed on; we have said 100 Continue ourselves.
                    if answer.status < 200 && answer.status != 101 {
                        return Ok(true);
                    }
                    course.download = Body::new(answer.framing, answer.chunked);
                    course.answer = Some(answer);
                }
            }
        }
        if course.answer.is_some() && !course.download.is_over() {
            course.download_bytes += course.download.carry(outbox, tell).map_err(|_| unreadable())? as u64;
        }
        if !tell.is_empty() {
            return Ok(true);
        }
        if course.answer.is_some() && course.download.is_over() {
            return Ok(moved);
        }
        Ok(moved | self.poll_service(cx)?)
    }

    /// Reads what the service sends.
    fn poll_service(&mut self, cx: &mut Context<'_>) -> Result<bool, Trouble> {
        let (course, outbox) = (&mut *self.course, &mut self.buffers.outbox);
        outbox.reserve(READ_BYTES);
        let error = match poll_read_buf(Pin::new(&mut *self.service), cx, outbox) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(1..)) => return Ok(true),
            Poll::Ready(Ok(_)) if course.answer.is_some() && course.download.close() => return Ok(true),
            Poll::Ready(Ok(_)) => io::ErrorKind::UnexpectedEof.into(),
            Poll::Ready(Err(error)) => error,
        };
        Err(Trouble::Service(Failure::Broken(course.cut.take().unwrap_or(error))))
    }

    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        ready!(self.watch.poll(cx));
        let (course, now) = (&mut *self.course, Instant::now());
        if std::mem::take(&mut course.moved) {
            course.still_since = now;
        }
        course.attentive = true;
        self.watch.set(now + LOOK.min(self.bounds.idle));
        let still = now.saturating_duration_since(course.still_since);
        let client_is_due = !course.upload.is_over() && course.asked == self.buffers.ask.len();
        Poll::Ready(if client_is_due && course.cut.is_none() && still >= self.bounds.idle {
            Err(Trouble::Stalled)
        } else if course.answer.is_none() && still >= SILENCE_MAX {
            Err(Trouble::Service(Failure::Silent))
        } else {
            Ok(())
        })
    }

    /// When the exchange is first looked at.
    pub(crate) fn begin(&mut self) {
        self.watch.set(self.course.still_since + LOOK.min(self.bounds.idle));
    }
}
