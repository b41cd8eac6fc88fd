//! An open line, whatever it goes through.

use futures_util::FutureExt;
use ipmi::{Deactivation, Session, Sol, SolEvent, SolWriter};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use super::Loss;
use super::stream::{Stream, Typed};
use crate::keeper::Slot;

/// How long a BMC may take to confirm the end.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);

/// What comes from a line.
pub(super) enum Event {
    Data(Vec<u8>),
    /// A serial break.
    Break,
    /// Characters were lost on the other side.
    Overflow,
    /// The last one.
    Lost(Loss),
}

/// Writes to a line; it works for as long as the line lasts.
#[derive(Clone, Debug)]
pub(crate) enum Writer {
    Sol(SolWriter),
    Stream(mpsc::Sender<Typed>),
}

impl Writer {
    /// Types; done when the other end has taken all of it.
    ///
    /// # Errors
    ///
    /// Why it was not typed, or not all of it.
    pub(crate) async fn send(&self, data: &[u8]) -> Result<(), String> {
        match self {
            Self::Sol(writer) => writer.send(data).await.map_err(|it| it.to_string()),
            Self::Stream(sender) => type_in(sender, Some(data.to_vec())).await,
        }
    }

    /// Sends a serial break.
    ///
    /// # Errors
    ///
    /// Why it was not sent.
    pub(crate) async fn send_break(&self) -> Result<(), String> {
        match self {
            Self::Sol(writer) => writer.send_break().await.map_err(|it| it.to_string()),
            Self::Stream(sender) => type_in(sender, None).await,
        }
    }
}

async fn type_in(sender: &mpsc::Sender<Typed>, data: Option<Vec<u8>>) -> Result<(), String> {
    if data.as_ref().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let gone = || "the console is lost; it is being opened again".to_owned();
    let (done, taken) = oneshot::channel();
    sender.send(Typed { data, done }).await.map_err(|_| gone())?;
    taken.await.unwrap_or_else(|_| Err(gone()))
}

/// An open line.
pub(super) enum Connection {
    Sol(Box<SolLine>),
    Stream(Box<Stream>),
}

/// A line over IPMI, its session, and where the session's record is kept.
pub(crate) struct SolLine {
    pub(crate) session: Session,
    pub(crate) sol: Sol,
    pub(crate) slot: Option<Slot>,
    /// What the BMC is called in messages.
    pub(crate) bmc: String,
}

impl Connection {
    /// Waits for what comes. Nothing is lost if the wait is given up.
    pub(super) async fn recv(&mut self) -> Event {
        match self {
            Self::Sol(line) => {
                let event = line.sol.recv().await;
                line.translate(event)
            }
            Self::Stream(stream) => stream.recv().await,
        }
    }

    /// What has come already.
    pub(super) fn recv_now(&mut self) -> Option<Event> {
        tokio::task::unconstrained(self.recv()).now_or_never()
    }

    pub(super) fn writer(&self) -> Writer {
        match self {
            Self::Sol(line) => Writer::Sol(line.sol.writer()),
            Self::Stream(stream) => Writer::Stream(stream.sender()),
        }
    }

    /// Gives the line back, so that the next to ask has it at once: we ourselves, most likely.
    pub(super) async fn close(self) {
        let Self::Sol(line) = self else { return };
        let SolLine { session, sol, slot, bmc } = *line;
        match tokio::time::timeout(GIVE_BACK_MAX, sol.deactivate()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "BMC {bmc} did not take its line back"),
            Err(_) => tracing::debug!("BMC {bmc} did not take its line back in time"),
        }
        close(&session).await;
        drop(slot);
    }

    /// Lets go of the line so that the next process can go on with it, if that is possible; gives what had
    /// come and was not taken yet.
    ///
    /// # Errors
    ///
    /// The line itself, if it cannot be kept.
    pub(super) fn suspend(self) -> Result<Vec<SolEvent>, Self> {
        let line = match self {
            Self::Sol(line) if !line.session.is_closed() => line,
            other => return Err(other),
        };
        match *line {
            SolLine { sol, slot: Some(slot), .. } => {
                let (record, rest) = sol.suspend();
                slot.keep(&record);
                Ok(rest)
            }
            line => Err(Self::Sol(Box::new(line))),
        }
    }
}

impl SolLine {
    pub(super) fn translate(&self, event: Result<SolEvent, ipmi::Error>) -> Event {
        let reason = match event {
            Ok(SolEvent::Data(data)) => return Event::Data(data),
            Ok(SolEvent::Break) => return Event::Break,
            Ok(SolEvent::Overflow) => return Event::Overflow,
            Ok(SolEvent::Deactivated(Deactivation::Notice)) => {
                "it ended the line: another took it, or it restarts".to_owned()
            }
            Ok(SolEvent::Deactivated(Deactivation::TakenOver)) => "another session took the line".to_owned(),
            Ok(SolEvent::Deactivated(Deactivation::Inactive)) => {
                "it ended the line without notice".to_owned()
            }
            Err(error) => Loss::of(error).reason,
        };
        Event::Lost(Loss::new(format!("BMC {}: {reason}", self.bmc)))
    }
}

pub(super) async fn close(session: &Session) {
    if let Err(error) = session.close().await {
        tracing::debug!(%error, "{} did not confirm the end of the session", session.address());
    }
}
