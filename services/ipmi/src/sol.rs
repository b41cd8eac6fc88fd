//! Serial over LAN (section 15): what the node writes as a stream of events, and bytes the other way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::commands::payload::{ALREADY_ACTIVE, ActivateSol, Activated, DeactivateSol, SolOwner};
use crate::record::{LineRecord, SessionRecord};
use crate::session::Link;
use crate::wire::SolControl;
use crate::{Error, Repeat, Session, Workarounds};
pub(crate) use line::Line;
pub(crate) use machine::{Machine, Rules};
use pump::{Pump, Write};
pub use settings::{BitRate, SolSettings};

mod line;
mod machine;
mod pump;
mod settings;

/// Events that wait for the reader: with 255 characters each at most, 64 KiB. What does not fit is not
/// acknowledged, so the BMC keeps it and sends it again.
const QUEUE_MAX: usize = 256;
/// Writes that wait for their turn.
const WRITES_MAX: usize = 16;
/// Characters in a packet: as many as its one-byte acknowledgement can count.
const CHARACTERS_MAX: u8 = u8::MAX;
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
    /// The bit rate of the line while this session has it; by default it stays as the BMC is set up. Where
    /// the BMC refuses it, the line is not activated.
    pub bit_rate: Option<BitRate>,
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
            bit_rate: None,
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
    /// The BMC lost characters here: it said so, or gave up what there was no room for here.
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
pub struct Sol {
    events: mpsc::Receiver<SolEvent>,
    writer: SolWriter,
    stop: oneshot::Sender<oneshot::Sender<Result<(), Error>>>,
    line: Arc<Line>,
    /// Kept so that the session lasts as long as its line.
    session: Session,
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

    /// See [`SolWriter::hold`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn hold(&self, flags: SolControl) -> Result<(), Error> {
        self.writer.hold(flags).await
    }

    /// Lets go of the line and its session without telling the BMC, so that another process can go on with
    /// both: gives what it needs, and what the node wrote that was not [received](Self::recv) yet. Nothing is
    /// acknowledged any more, so what comes from now on the BMC sends again. A write under way ends with
    /// [`Error::Closed`].
    pub fn suspend(mut self) -> (SessionRecord, Vec<SolEvent>) {
        self.line.suspend(); // First, so that what was taken is acknowledged, and in the record.
        let record = self.session.suspend();
        let mut rest = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            rest.push(event);
        }
        (record, rest)
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
        self.write(data.to_vec(), 0, None).await
    }

    /// Sends the node a serial break.
    ///
    /// # Errors
    ///
    /// As for [`Self::send`].
    pub async fn send_break(&self) -> Result<(), Error> {
        self.write(Vec::new(), SolControl::BREAK, None).await
    }

    /// Holds the node's lines back from now on: any of [`SolControl::CTS_PAUSE`],
    /// [`SolControl::DCD_DSR_DROP`] and [`SolControl::RING`]; none releases them.
    ///
    /// # Errors
    ///
    /// As for [`Self::send`].
    pub async fn hold(&self, flags: SolControl) -> Result<(), Error> {
        let held = SolControl::CTS_PAUSE | SolControl::DCD_DSR_DROP | SolControl::RING;
        self.write(Vec::new(), 0, Some(flags.0 & held)).await
    }

    /// Has the BMC drop what it holds and has not passed on: [`SolControl::FLUSH_INBOUND`] what is for us,
    /// [`SolControl::FLUSH_OUTBOUND`] what is for the node.
    ///
    /// # Errors
    ///
    /// As for [`Self::send`].
    pub async fn flush(&self, flags: SolControl) -> Result<(), Error> {
        let flushed = SolControl::FLUSH_INBOUND | SolControl::FLUSH_OUTBOUND;
        self.write(Vec::new(), flags.0 & flushed, None).await
    }

    async fn write(&self, data: Vec<u8>, control: u8, hold: Option<u8>) -> Result<(), Error> {
        let (done, taken) = oneshot::channel();
        self.writes.send(Write { data, control, hold, done }).await.map_err(|_| self.end())?;
        taken.await.unwrap_or_else(|_| Err(self.end()))
    }

    fn end(&self) -> Error {
        self.link.ended().unwrap_or(Error::Closed)
    }
}

/// Names the session.
impl fmt::Debug for Sol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sol").field(&self.session).finish()
    }
}

pub(crate) async fn activate(session: &Session, options: SolOptions) -> Result<Sol, Error> {
    let link = session.link();
    if let Some(bit_rate) = options.bit_rate {
        session.set_sol_bit_rate(bit_rate).await?;
    }
    let mut record = LineRecord {
        instance: options.instance,
        port: link.address().port(),
        // Until the BMC has said otherwise.
        characters_max: characters_max(PAYLOAD_BYTES_DEFAULT),
        owner_known: false,
        number: 0,
        taken: (0, 0),
    };
    let begin = Begin::new(session, &options, record)?;
    let granted = ask_for_line(session, &options).await?;
    if granted.port != 0 && granted.port != link.address().port() {
        // Behind a translated port this is right, and BMCs that mean it are not known.
        tracing::debug!(address = %link.address(), port = granted.port, "the BMC names another port for SOL");
        record.port = granted.port;
    }
    if !link.workarounds().has(Workarounds::SOL_PAYLOAD_SIZE) {
        record.characters_max = characters_max(granted.inbound_bytes);
    }
    // Whether a BMC tells the owner right can be seen now, when it must be us.
    let asks = !link.workarounds().has(Workarounds::SOL_STATUS);
    record.owner_known = asks && owner(session, &options).await.is_ok_and(|id| id == link.bmc_id());
    begin.line.settle(record.characters_max, record.owner_known, record.port);
    link.note_line(Some(begin.line.record()));
    Ok(begin.run(session, &record))
}

/// Goes on with the line of the session's record.
pub(crate) fn resume(session: &Session, options: SolOptions) -> Result<Sol, Error> {
    let none = || Error::Invalid { reason: "the session's record has no line" };
    let record = session.link().record().line.ok_or_else(none)?;
    Ok(Begin::new(session, &options, record)?.run(session, &record))
}

/// A line that is attached to its session, so that nothing of what comes is lost, and has no task yet.
struct Begin {
    line: Arc<Line>,
    received: mpsc::Receiver<SolEvent>,
}

impl Begin {
    fn new(session: &Session, options: &SolOptions, record: LineRecord) -> Result<Self, Error> {
        let renumber = session.link().workarounds().has(Workarounds::SOL_PACKET_SEQ);
        let rules = Rules { characters_max: record.characters_max, retry_wait: options.retry_wait, renumber };
        let (events, received) = mpsc::channel(QUEUE_MAX);
        // What comes from now on comes after all that came.
        let (newest, _) = session.link().record().window.parts();
        let line = Arc::new(Line::new(rules, record, newest, events, options.write_deadline));
        session.link().attach(&line)?;
        Ok(Self { line, received })
    }

    fn run(self, session: &Session, record: &LineRecord) -> Sol {
        let (writes, outgoing) = mpsc::channel(WRITES_MAX);
        let (stop, stopped) = oneshot::channel();
        let (link, line) = (Arc::clone(session.link()), self.line);
        let (instance, owner_known) = (record.instance, record.owner_known);
        let pump = Pump { link: Arc::clone(&link), line: Arc::clone(&line), instance, outgoing, owner_known };
        session.spawn(pump.run(stopped));
        let writer = SolWriter { writes, link };
        Sol { events: self.received, writer, stop, line, session: session.clone() }
    }
}

/// Activates the payload, if need be after ending another session's use of it.
async fn ask_for_line(session: &Session, options: &SolOptions) -> Result<Activated, Error> {
    let instance = options.instance;
    let alerts_deferred = session.link().workarounds().has(Workarounds::SERIAL_ALERTS_DEFERRED);
    let mut round = 0;
    loop {
        let command = ActivateSol { instance, alerts_deferred };
        let answer = session.ask("activate SOL", command, Repeat::WhenSilent).await;
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
fn characters_max(inbound_bytes: u16) -> u8 {
    let header = u16::try_from(crate::wire::SOL_HEADER_BYTES).unwrap_or(0);
    let possible = |bytes: &u16| (header + 1..=PAYLOAD_BYTES_MAX).contains(bytes);
    let bytes = [inbound_bytes, inbound_bytes.swap_bytes()]
        .into_iter()
        .find(possible)
        .unwrap_or(PAYLOAD_BYTES_DEFAULT);
    u8::try_from(bytes - header).unwrap_or(CHARACTERS_MAX)
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
