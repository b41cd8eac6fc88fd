//! A line as the receiving task and the writing task share it.
//!
//! What the BMC sends is dealt with where it arrives: characters go to the reader, the acknowledgement goes
//! out, and no other task is woken. Only writes and waits need the task of [`super::pump`].

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::machine::{Machine, Outcome, Rules};
use super::{Deactivation, SolEvent};
use crate::Error;
use crate::record::LineRecord;
use crate::session::{Link, is_ahead, lock};
use crate::wire::{PayloadType, SOL_HEADER_BYTES, SolPacket, SolView};

/// The most events that one packet can lead to: characters, break, overflow, end.
const EVENTS_OF_A_PACKET: usize = 4;

/// Who waits for a write.
pub(super) type Done = oneshot::Sender<Result<(), Error>>;

pub(crate) struct Line {
    state: Mutex<State>,
    /// Something happened that the writing task has to look at.
    pub(super) wake: Notify,
    write_deadline: Duration,
}

struct State {
    machine: Machine,
    /// What of the line's record does not change.
    record: LineRecord,
    /// None when the line is over.
    events: Option<mpsc::Sender<SolEvent>>,
    /// The write under way: who waits, and until when the BMC may take nothing of it.
    current: Option<(Done, Instant)>,
    /// When the last packet of the line came.
    heard: Instant,
    /// The session's number of the newest packet with characters.
    newest: u32,
    kept: bool,
}

/// What the writing task has to wait for.
pub(super) struct Status {
    pub(super) over: bool,
    /// It is over here and goes on elsewhere.
    pub(super) kept: bool,
    pub(super) due: Option<Instant>,
    pub(super) idle: bool,
}

impl Line {
    pub(super) fn new(
        rules: Rules,
        record: LineRecord,
        newest: u32,
        events: mpsc::Sender<SolEvent>,
        write_deadline: Duration,
    ) -> Self {
        let machine = Machine::new(rules, record.number, record.taken);
        let (events, heard) = (Some(events), Instant::now());
        let state = Mutex::new(State { machine, record, events, current: None, heard, newest, kept: false });
        Self { state, wake: Notify::new(), write_deadline }
    }

    /// Takes a packet from the BMC, the session's `number`.
    pub(crate) fn receive(&self, link: &Link, packet: SolView<'_>, number: u32) {
        let mut state = lock(&self.state);
        let packet = state.in_order(packet, number);
        let Some(events) = &state.events else { return };
        let (room, now) = (events.capacity() >= EVENTS_OF_A_PACKET, Instant::now());
        state.heard = now;
        let outcome = state.machine.receive(packet, room, now);
        state.tell(&outcome);
        if let Some((acknowledges, accepted)) = outcome.acknowledge {
            let flags = state.machine.held();
            state.send(link, &SolPacket { acknowledges, accepted, flags, ..SolPacket::default() });
        }
        if let Some(next) = &outcome.next {
            state.send(link, next);
        }
        if outcome.written
            && let Some((done, _)) = state.current.take()
        {
            drop(done.send(Ok(()))); // The writer may have stopped waiting.
        } else if outcome.progress
            && let Some((_, end)) = &mut state.current
        {
            *end = now + self.write_deadline;
        }
        if outcome.deactivated {
            state.events = None;
        }
        drop(state);
        if outcome.written || outcome.deactivated || outcome.next.is_some() {
            self.wake.notify_one();
        }
    }

    /// Takes over what was learned when the line was activated.
    pub(super) fn settle(&self, characters_max: u8, owner_known: bool, port: u16) {
        let mut state = lock(&self.state);
        state.machine.set_characters_max(characters_max);
        state.record = LineRecord { characters_max, owner_known, port, ..state.record };
    }

    /// The line as of now.
    pub(super) fn record(&self) -> LineRecord {
        lock(&self.state).record()
    }

    pub(super) fn status(&self) -> Status {
        let state = lock(&self.state);
        let (over, due) = (state.events.is_none(), state.machine.due());
        Status { over, kept: state.kept, due, idle: state.current.is_none() }
    }

    /// Begins a write.
    pub(super) fn begin(&self, link: &Link, data: Vec<u8>, control: u8, done: Done) {
        let (mut state, now) = (lock(&self.state), Instant::now());
        state.current = Some((done, now + self.write_deadline));
        let packet = state.machine.begin(data, control, now);
        state.send(link, &packet);
    }

    /// Sends the write under way again, or gives it up.
    pub(super) fn send_again(&self, link: &Link) {
        let (mut state, now) = (lock(&self.state), Instant::now());
        if let Some((done, _)) = state.current.take_if(|(_, end)| *end <= now) {
            state.machine.give_up();
            let waited = self.write_deadline;
            let late = Error::Timeout { step: "SOL write", address: link.address(), waited };
            drop(done.send(Err(late))); // The writer may have stopped waiting.
        } else if let Some(packet) = state.machine.tick(now) {
            state.send(link, &packet);
        }
    }

    pub(super) fn hold(&self, flags: u8) {
        lock(&self.state).machine.hold(flags);
    }

    /// Ends the line; the reader has what came before.
    pub(super) fn end(&self, cause: Option<Deactivation>) {
        let mut state = lock(&self.state);
        let events = state.events.take();
        if let (Some(events), Some(cause)) = (events, cause) {
            // There is room unless nobody reads, and then nobody misses it.
            drop(events.try_send(SolEvent::Deactivated(cause)));
        }
        state.current = None;
        drop(state);
        self.wake.notify_one();
    }

    /// Ends it so that the session's record keeps it.
    pub(super) fn suspend(&self) {
        lock(&self.state).kept = true;
        self.end(None);
    }

    /// Whether it is over, or nobody reads it.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).events.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// When the last packet of the line came.
    pub(super) fn heard(&self) -> Instant {
        lock(&self.state).heard
    }
}

impl State {
    /// The BMC has one packet under way at a time. One that was overtaken is a repetition of one that is done with,
    /// whatever number it has within the line: its characters are not taken, nor acknowledged.
    fn in_order<'a>(&mut self, packet: SolView<'a>, number: u32) -> SolView<'a> {
        if packet.sequence == 0 {
            return packet;
        }
        if !is_ahead(number, self.newest) {
            return packet.acknowledgement();
        }
        self.newest = number;
        packet
    }

    fn tell(&self, outcome: &Outcome<'_>) {
        let Some(events) = &self.events else { return };
        let data = (!outcome.data.is_empty()).then(|| SolEvent::Data(outcome.data.to_vec()));
        let broken = outcome.broken.then_some(SolEvent::Break);
        let overflow = outcome.overflow.then_some(SolEvent::Overflow);
        let end = outcome.deactivated.then_some(SolEvent::Deactivated(Deactivation::Notice));
        // What was lost came before: a BMC tells of it in the next packet.
        for event in [overflow, data, broken, end].into_iter().flatten() {
            // With room it fits; without, there is only the end to tell, which the closed channel tells too.
            drop(events.try_send(event));
        }
    }

    fn record(&self) -> LineRecord {
        let (number, taken) = self.machine.numbers();
        LineRecord { number, taken, ..self.record }
    }

    /// Sends a packet with the line's record as it is after it. What cannot be sent now is as good as lost on
    /// the way: it is sent again, or the session ends.
    fn send(&self, link: &Link, packet: &SolPacket) {
        let head: [u8; SOL_HEADER_BYTES] =
            [packet.sequence & 0x0f, packet.acknowledges & 0x0f, packet.accepted, packet.flags];
        if let Err(error) = link.try_send(PayloadType::Sol, &[&head, &packet.data], Some(self.record())) {
            tracing::debug!(address = %link.address(), %error, "a SOL packet was not sent");
        }
    }
}
