//! A request's body: bounded in length and time, and read to its end though nobody wants it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::BODY_MAX;
use crate::Problem;

/// How much of a body that nobody wants is read, and for how long, so that its sender gets to read the answer: one
/// that is still sending when the connection ends may see it end before it sees why.
const UNWANTED_MAX: usize = 128 << 20;
const UNWANTED_TIME: Duration = Duration::from_secs(10);

/// What became of a body.
#[derive(Debug, Default)]
pub(super) struct Fault(AtomicU8);

const TOO_LONG: u8 = 1;
const STALLED: u8 = 2;

impl Fault {
    /// What to answer, if something is wrong with it.
    pub(super) fn problem(&self) -> Option<Problem> {
        match self.0.load(Ordering::Relaxed) {
            TOO_LONG => {
                let detail = format!("the body is longer than the {} MiB that are taken", BODY_MAX >> 20);
                Some(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
            }
            STALLED => {
                let detail = "the body did not arrive in time; send the request again";
                Some(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
            }
            _ => None,
        }
    }
}

/// A body on its way to a handler.
pub(super) struct Taken {
    /// None when it has ended.
    body: Option<Incoming>,
    left: usize,
    piece: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    fault: Arc<Fault>,
    /// Whether the client waits for a word before it sends.
    asks_first: bool,
}

impl Taken {
    /// A request without a body costs nothing.
    pub(super) fn bound(body: Incoming, headers: &HeaderMap, piece: Duration) -> (Body, Option<Arc<Fault>>) {
        if body.is_end_stream() {
            return (Body::empty(), None);
        }
        let fault = Arc::new(Fault::default());
        if body.size_hint().lower() > BODY_MAX as u64 {
            fault.0.store(TOO_LONG, Ordering::Relaxed);
        }
        let asks_first = headers.contains_key(header::EXPECT);
        let body = Some(body);
        let taken = Self { body, left: BODY_MAX, piece, timer: None, fault: Arc::clone(&fault), asks_first };
        (Body::new(taken), Some(fault))
    }

    fn fail(&self, fault: u8, text: &'static str) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.fault.0.store(fault, Ordering::Relaxed);
        Poll::Ready(Some(Err(axum::Error::new(text))))
    }
}

impl hyper::body::Body for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            let piece = this.piece;
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(piece)));
            ready!(timer.as_mut().poll(cx));
            this.body = None;
            return this.fail(STALLED, "the body stalled");
        };
        this.timer = None;
        match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match this.left.checked_sub(length) {
                    Some(left) => this.left = left,
                    None => return this.fail(TOO_LONG, "the body is too long"),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.body = None;
                Poll::Ready(Some(Err(axum::Error::new(error))))
            }
            None => {
                this.body = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), hyper::body::Body::size_hint)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|it| !it.is_end_stream() && !self.asks_first) {
            tokio::spawn(discard(body));
        }
    }
}

/// Reads what a client still sends of a body that nobody wants, within bounds, so that it gets to read the answer.
async fn discard(mut body: Incoming) {
    let discarded = async {
        let mut left = UNWANTED_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    if tokio::time::timeout(UNWANTED_TIME, discarded).await.is_err() {
        tracing::debug!("a body that nobody wants takes too long");
    }
}
