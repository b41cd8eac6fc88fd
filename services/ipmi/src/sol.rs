//! Serial over LAN (section 15): what the node writes as a stream of events, and bytes the other way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::commands::payload::{ALREADY_ACTIVE, ActivateSol, Activated, DeactivateSol, SolOwner};
use crate::session::Link;
use crate::wire::SolControl;
use crate::{Error, Repeat, Session};
use machine::Machine;
use pump::{Pump, Write};

mod machine;
mod pump;

/// Packets that wait for the pump, and events that wait for the reader: with 255 characters each at most,
/// 64 KiB. What does not fit is not acknowledged, so the BMC keeps it and sends it again.
const QUEUE_MAX: usize = 256;
/// Writes that wait for their turn.
const WRITES_MAX: usize = 16;
/// Characters in a packet: as many as its one-byte acknowledgement can count.
const CHARACTERS_MAX: u16 = 255;
/// A payload larger than this is a number with its bytes the wrong way round, which some BMCs send.
const PAYLOAD_BYTES_MAX: u16 = 1024;
/// What is assumed of a BMC that names no possible size.
const PAYLOAD_BYTES_DEFAULT: u16 = 64;
/// How often to try to take the line over; between deactivation and activation others may be quicker.
const TAKE_OVERS_MAX: u32 = 3;
const TAKE_OVER_WAIT: Duration = Duration::from_millis(100);

/// How to use the line.
#[derive(Clone, Debug)]
pub struct SolOptions {
    /// Whether to end another session's use of the line.
    pub take_over: bool,
    /// Which of the BMC's SOL instances; nearly all have only 1.
    pub instance: u8,
    /// The wait before a packet to the BMC is sent again; it grows to four times this.
    pub retry_wait: Duration,
    /// How long the BMC may take no character of a write, before the write fails.
    pub write_deadline: Duration,
}

impl Default for SolOptions {
    fn default() -> Self {
        Self {
            take_over: true,
            instance: 1,
            retry_wait: Duration::from_millis(500),
            write_deadline: Duration::from_secs(10),
        }
    }
}

/// What comes from the node, in the order in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SolEvent {
    /// Characters.
    Data(Vec<u8>),
    /// A serial break.
    Break,
    /// The BMC lost characters here.
    Overflow,
    /// The line is no longer ours; nothing comes after this.
    Deactivated(Deactivation),
}

/// Why a line is no longer ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deactivation {
    /// The BMC gave notice: another session took it, or the BMC is restarting.
    Notice,
    /// Another session has it, and the BMC gave no notice.
    TakenOver,
    /// Nobody has it, and the BMC gave no notice.
    Inactive,
}

/// The line, for reading; [`Self::writer`] gives any number of handles for writing. Dropped, it is given
/// back to the BMC.
#[derive(Debug)]
pub struct Sol {
    events: mpsc::Receiver<SolEvent>,
    writer: SolWriter,
    stop: oneshot::Sender<oneshot::Sender<Result<(), Error>>>,
    /// Kept so that the session lasts as long as its line.
    _session: Session,
}

impl Sol {
    /// Waits for what the node writes. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when the BMC is dead, [`Error::Closed`] when the session was closed, or after
    /// [`SolEvent::Deactivated`].
    pub async fn recv(&mut self) -> Result<SolEvent, Error> {
        match self.events.recv().await {
            Some(event) => Ok(event),
            None => Err(self.writer.end()),
        }
    }

    /// A handle for writing; it works for as long as this line lasts.
    pub fn writer(&self) -> SolWriter {
        self.writer.clone()
    }

    /// See [`SolWriter::send`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send(&self, data: &[u8]) -> Result<(), Error> {
        self.writer.send(data).await
    }

    /// See [`SolWriter::send_break`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send_break(&self) -> Result<(), Error> {
        self.writer.send_break().await
    }

    /// Gives the line back and waits until the BMC confirms it.
    ///
    /// # Errors
    ///
    /// The BMC did not confirm it; the line is closed on our side all the same.
    pub async fn deactivate(self) -> Result<(), Error> {
        let (done, confirmed) = oneshot::channel();
        if self.stop.send(done).is_err() {
            return Ok(()); // It has ended already.
        }
        confirmed.await.unwrap_or_else(|_| Err(self.writer.end()))
    }
}

/// Writes to the line.
#[derive(Clone, Debug)]
pub struct SolWriter {
    writes: mpsc::Sender<Write>,
    link: Arc<Link>,
}

impl SolWriter {
    /// Writes to the node; done when the BMC has taken all of it. Writes of several tasks do not mix.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when the BMC took nothing for [`SolOptions::write_deadline`]: a part may have been
    /// written. Otherwise as for [`Sol::recv`].
    pub async fn send(&self, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        self.write(data.to_vec(), 0).await
    }

    /// Sends the node a serial break.
    ///
    /// # Errors
    ///
    /// As for [`Self::send`].
    pub async fn send_break(&self) -> Result<(), Error> {
        self.write(Vec::new(), SolControl::BREAK).await
    }

    async fn write(&self, data: Vec<u8>, control: u8) -> Result<(), Error> {
        let (done, taken) = oneshot::channel();
        self.writes.send(Write { data, control, done }).await.map_err(|_| self.end())?;
        taken.await.unwrap_or_else(|_| Err(self.end()))
    }

    fn end(&self) -> Error {
        self.link.ended().unwrap_or(Error::Closed)
    }
}

pub(crate) async fn activate(session: &Session, options: SolOptions) -> Result<Sol, Error> {
    let link = Arc::clone(session.link());
    // Attached first: the node's first characters may come before the answer.
    let (packets, incoming) = mpsc::channel(QUEUE_MAX);
    link.attach(packets)?;
    let granted = ask_for_line(session, &options).await?;
    if granted.port != 0 && granted.port != link.address().port() {
        // Behind a translated port this is right, and BMCs that mean it are not known.
        tracing::debug!(address = %link.address(), port = granted.port, "the BMC names another port for SOL");
    }
    // Whether a BMC tells the owner right can be seen now, when it must be us.
    let owner_known = owner(session, &options).await.is_ok_and(|id| id == link.bmc_id());
    let (events, received) = mpsc::channel(QUEUE_MAX);
    let (writes, outgoing) = mpsc::channel(WRITES_MAX);
    let (stop, stopped) = oneshot::channel();
    let machine = Machine::new(characters_max(granted.inbound_bytes), options.retry_wait);
    let pump = Pump { link: Arc::clone(&link), options, machine, incoming, events, outgoing, owner_known };
    session.spawn(pump.run(stopped));
    let writer = SolWriter { writes, link };
    Ok(Sol { events: received, writer, stop, _session: session.clone() })
}

/// Activates the payload, if need be after ending another session's use of it.
async fn ask_for_line(session: &Session, options: &SolOptions) -> Result<Activated, Error> {
    let instance = options.instance;
    let mut round = 0;
    loop {
        let answer = session.ask("activate SOL", ActivateSol { instance }, Repeat::WhenSilent).await;
        let taken = answer.as_ref().is_err_and(|error| error.completion() == Some(ALREADY_ACTIVE));
        round += 1;
        if !taken || round > TAKE_OVERS_MAX {
            return answer;
        }
        // It may also be ours, when the answer to our first request was lost.
        let ours = owner(session, options).await.is_ok_and(|id| id == session.link().bmc_id());
        if !options.take_over && !ours {
            return answer;
        }
        deactivate(session.link(), instance).await?;
        sleep(TAKE_OVER_WAIT * (round - 1)).await;
    }
}

async fn owner(session: &Session, options: &SolOptions) -> Result<u32, Error> {
    let instance = options.instance;
    session.ask("get SOL owner", SolOwner { instance }, Repeat::WhenSilent).await
}

/// Deactivates the payload; a BMC that says it is not active is as good.
async fn deactivate(link: &Link, instance: u8) -> Result<(), Error> {
    let message = DeactivateSol { instance }.into();
    match link.ask("deactivate SOL", message, Repeat::WhenSilent).await {
        Ok(_) => Ok(()),
        Err(error) if error.completion() == Some(0x80) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How many characters go into a packet, from the payload size that the BMC named.
fn characters_max(inbound_bytes: u16) -> usize {
    let header = u16::try_from(crate::wire::SOL_HEADER_BYTES).unwrap_or(0);
    let possible = |bytes: &u16| (header + 1..=PAYLOAD_BYTES_MAX).contains(bytes);
    let bytes = [inbound_bytes, inbound_bytes.swap_bytes()]
        .into_iter()
        .find(possible)
        .unwrap_or(PAYLOAD_BYTES_DEFAULT);
    usize::from((bytes - header).min(CHARACTERS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_payload_size_is_made_possible() {
        assert_eq!(characters_max(64), 60);
        assert_eq!(characters_max(256), 252);
        assert_eq!(characters_max(1000), 255, "more than an acknowledgement can count");
        assert_eq!(characters_max(0x2800), 0x28 - 4, "the wrong way round");
        assert_eq!(characters_max(0), 60, "none at all");
        assert_eq!(characters_max(u16::MAX), 60);
    }
}
