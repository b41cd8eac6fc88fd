//! One client's connection: its requests one after the other.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use daemon::BootEvent;
use domain::{Service, StageResult};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::WaitForCancellationFutureOwned;
use web::Unread;

use crate::api::{self, Plan};
use crate::error::Error;
use crate::exchange::{Bounds, Buffers, Course, Exchange, Trouble};
use crate::front::{Front, Link};
use crate::upstream::Failure;
use crate::watch::Watch;
use crate::wire::{Client, Framing};

/// A request's head is at most this long; also what is read ahead of a body.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
/// What a connection that waits for its next request has room for.
const INBOX_BYTES: usize = 4 << 10;
/// How much of a body that nobody wants is read, and for how long, so that its sender gets to read the answer.
const UNWANTED_MAX: usize = 128 << 20;
const UNWANTED_TIME: Duration = Duration::from_secs(10);

/// One client's connection.
struct Talk<S> {
    front: Arc<Front>,
    link: Link,
    client: Unread<S>,
    /// What came of the client and was not looked at.
    inbox: BytesMut,
    watch: Watch,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// How the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// With the next request.
    Next,
    /// With its end.
    Close,
    /// With its end, when the client has sent what it is sending.
    Linger,
}

/// Answers a connection's requests until it ends.
pub(crate) async fn converse(
    front: Arc<Front>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    link: Link,
) {
    let idle = front.config.idle_timeout.0;
    let mut talk = Talk {
        link,
        client: Unread::new(stream, idle),
        inbox: BytesMut::new(),
        watch: Watch::new(Instant::now() + idle),
        stopped: Box::pin(front.stop.clone().cancelled_owned()),
        front,
    };
    let lingers = loop {
        let Some(mut buffers) = talk.first_bytes().await else { break false };
        let then = match talk.next_request(&mut buffers).await {
            None => Then::Close,
            Some(Ok(plan)) => talk.serve(plan, &mut buffers).await,
            Some(Err(error)) => talk.refuse(error, &Plan::unreadable(&talk.link), &mut buffers).await,
        };
        buffers.give_back();
        match then {
            Then::Next => {}
            Then::Close => break false,
            Then::Linger => break true,
        }
    };
    if let Err(error) = talk.close(lingers).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Talk<S> {
    /// Waits for a request to begin; none if none does.
    async fn first_bytes(&mut self) -> Option<Buffers> {
        if self.inbox.is_empty() {
            if self.inbox.capacity() > 4 * INBOX_BYTES {
                self.inbox = BytesMut::new();
            }
            self.watch.set(Instant::now() + self.front.config.idle_timeout.0);
            if !self.fill(true).await {
                return None;
            }
        }
        Some(Buffers::take())
    }

    /// Reads more; whether there is more.
    async fn fill(&mut self, idle: bool) -> bool {
        let Self { client, inbox, watch, stopped, .. } = self;
        inbox.reserve(INBOX_BYTES);
        poll_fn(|cx| {
            if let Poll::Ready(read) = poll_read_buf(Pin::new(&mut *client), cx, inbox) {
                return Poll::Ready(matches!(read, Ok(1..)));
            }
            let over = (idle && stopped.as_mut().poll(cx).is_ready()) || watch.poll(cx).is_ready();
            if over { Poll::Ready(false) } else { Poll::Pending }
        })
        .await
    }

    /// The request that has begun; its head is in `ask` as the service gets it. None if it does not come in time.
    async fn next_request(&mut self, buffers: &mut Buffers) -> Option<Result<Plan, Error>> {
        let begun = Instant::now();
        let mut seen = 0;
        loop {
            // What has no line's end in it completes no head.
            if self.inbox[seen..].contains(&b'\n') {
                match api::plan(&self.front, &self.link, &self.inbox, &mut buffers.ask, begun) {
                    Ok(Some(plan)) if plan.head_bytes <= HEAD_BYTES_MAX => {
                        self.inbox.advance(plan.head_bytes);
                        return Some(Ok(plan));
                    }
                    Ok(Some(_)) => return Some(Err(Error::LongHead)),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
            if self.inbox.len() > HEAD_BYTES_MAX {
                return Some(Err(Error::LongHead));
            }
            seen = self.inbox.len();
            self.watch.set(begun + self.front.config.header_timeout.0);
            if !self.fill(false).await {
                return None;
            }
        }
    }

    /// Has a request answered by its service.
    async fn serve(&mut self, mut plan: Plan, buffers: &mut Buffers) -> Then {
        let service = match &plan.way {
            Ok(service) => *service,
            Err(_) => {
                let error = std::mem::replace(&mut plan.way, Ok(Service::Gateway)).err();
                let error = error.unwrap_or(Error::LongHead);
                self.note_refusal(&plan, &error);
                return self.refuse(error, &plan, buffers).await;
            }
        };
        let front = Arc::clone(&self.front);
        let upstream = front.upstream(service);
        let asked = async {
            let _permit = upstream.permit().await.map_err(Trouble::Service)?;
            // Whether a kept connection may be tried.
            let mut kept = true;
            loop {
                let idle = if kept { upstream.take_idle(plan.begun) } else { None };
                let reused = idle.is_some();
                let mut stream = match idle {
                    Some(stream) => stream,
                    None => upstream.connect().await.map_err(Trouble::Service)?,
                };
                let mut course = Course::new(plan.framing, plan.begun);
                match self.exchange(&mut stream, &mut plan, &mut course, buffers).await {
                    Ok(answer) => {
                        if answer.status == 101 {
                            return Ok(self.tunnel(stream, &plan, buffers).await);
                        }
                        if answer.service_keeps && course.is_sent() {
                            upstream.keep(stream, plan.begun);
                        }
                        return Ok(match (course.is_sent(), answer.keeps) {
                            (true, true) => Then::Next,
                            (true, false) => Then::Close,
                            (false, _) => Then::Linger,
                        });
                    }
                    // A kept connection that was closed meanwhile is not the client's fault: what was not sent is
                    // sent on another, and what only reads once more on a new one.
                    Err(Trouble::Service(Failure::Broken(_)))
                        if reused && course.is_unanswered() && (course.is_unsent() || plan.is_repeatable) =>
                    {
                        kept = course.is_unsent();
                    }
                    Err(trouble) if course.is_unanswered() => return Err(trouble),
                    Err(_) => return Ok(Then::Close),
                }
            }
        };
        let trouble = match asked.await {
            Ok(then) => return then,
            Err(trouble) => trouble,
        };
        let error = match trouble {
            Trouble::Gone => return Then::Close,
            Trouble::TooLong => Error::TooLong(front.config.body_limit),
            Trouble::Stalled => Error::Stalled,
            Trouble::Malformed => Error::Malformed("the request's body has chunks that cannot be read"),
            Trouble::Service(source) => {
                self.note(&plan, service, &source);
                Error::Service { service, source }
            }
        };
        self.refuse(error, &plan, buffers).await
    }

    /// Tells the timeline that a booting node asked for what is nowhere: the URL of its data is wrong.
    fn note_refusal(&self, plan: &Plan, error: &Error) {
        let why = match error {
            Error::NoRoute { .. } => "http-404",
            Error::PathOverHttp { .. } => "http-403",
            _ => return,
        };
        let Some((stage, file)) = plan.stage else { return };
        let event = BootEvent::new(Service::Gateway, stage, format!("{file} is refused: {error}"));
        let event = event.ip(self.link.hop.address).result(StageResult::Failed);
        event.fact("why", why).fact("file", file).send();
    }

    /// Tells the timeline that a booting node was not answered.
    fn note(&self, plan: &Plan, service: Service, failure: &Failure) {
        let Some((stage, file)) = plan.stage else { return };
        let why = if matches!(failure, Failure::Broken(_)) { "http-502" } else { "http-503" };
        let detail = format!("{file}: the service {service} does not answer: {failure}");
        let event = BootEvent::new(Service::Gateway, stage, detail).ip(self.link.hop.address);
        event.result(StageResult::Failed).fact("why", why).fact("file", file).send();
    }

    async fn exchange(
        &mut self,
        service: &mut UnixStream,
        plan: &mut Plan,
        course: &mut Course,
        buffers: &mut Buffers,
    ) -> Result<crate::wire::Answer, Trouble> {
        if std::mem::take(&mut plan.asks_first) {
            let word = self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            word.map_err(|_| Trouble::Gone)?;
            self.client.flush().await.map_err(|_| Trouble::Gone)?;
        }
        let config = &self.front.config;
        let mut exchange = Exchange {
            client: &mut self.client,
            inbox: &mut self.inbox,
            watch: &mut self.watch,
            service,
            buffers,
            client_is: Client {
                head_only: plan.head_only,
                is_old: plan.is_old,
                keeps: plan.keeps,
                id: plan.id.as_str(),
            },
            bounds: Bounds { body: config.body_limit.0, idle: config.idle_timeout.0 },
            course,
        };
        exchange.begin();
        let answered = poll_fn(|cx| exchange.poll(cx)).await;
        if let (Some(access), Ok(answer)) = (&mut plan.access, &answered) {
            (access.status, access.bytes) = (answer.status, course.download_bytes);
        }
        answered
    }

    /// Carries bytes both ways until one side ends, or the gateway does. Holds the connection's places meanwhile.
    async fn tunnel(&mut self, mut service: UnixStream, plan: &Plan, buffers: &mut Buffers) -> Then {
        if !plan.websocket {
            return Then::Close;
        }
        let (client, inbox) = (&mut self.client, &mut self.inbox);
        let carried = async {
            service.write_all_buf(inbox).await?;
            client.write_all_buf(buffers.rest()).await?;
            client.flush().await?;
            tokio::io::copy_bidirectional(client, &mut service).await?;
            io::Result::Ok(())
        };
        tokio::select! {
            () = self.front.stop.cancelled() => {}
            ended = carried => if let Err(error) = ended {
                tracing::debug!(%error, "a WebSocket ended badly");
            }
        }
        Then::Close
    }

    /// Answers for the service.
    async fn refuse(&mut self, error: Error, plan: &Plan, buffers: &mut Buffers) -> Then {
        // Who asks first sends nothing before a word of ours, and who may send more than we read has to stop.
        let keeps = plan.keeps && plan.framing == Framing::None && !error.ends_connection();
        let told = api::write_refusal(error, plan, keeps, &mut buffers.tell).await;
        if let Err(error) = told {
            tracing::debug!(%error, "an answer cannot be made");
            return Then::Close;
        }
        let written = async {
            self.client.write_all(&buffers.tell).await?;
            self.client.flush().await
        };
        match written.await {
            Ok(()) if keeps => Then::Next,
            Ok(()) if plan.asks_first => Then::Close,
            Ok(()) => Then::Linger,
            Err(_) => Then::Close,
        }
    }

    /// Ends the connection, with what TLS has for that.
    async fn close(&mut self, lingers: bool) -> io::Result<()> {
        self.client.shutdown().await?;
        if !lingers {
            return Ok(());
        }
        let unwanted = async {
            let mut left = UNWANTED_MAX;
            while left > 0 {
                self.inbox.clear();
                self.inbox.reserve(HEAD_BYTES_MAX);
                match self.client.read_buf(&mut self.inbox).await? {
                    0 => return Ok(()),
                    read => left = left.saturating_sub(read),
                }
            }
            Ok(())
        };
        timeout(UNWANTED_TIME, unwanted).await.unwrap_or(Ok(()))
    }
}
