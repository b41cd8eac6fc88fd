//! The rules of SOL's acknowledgement (sections 15.9 to 15.11), without clock, socket or task.

use std::time::Duration;

use tokio::time::Instant;

use super::{CHARACTERS_MAX, Deactivation, SolEvent};
use crate::wire::{SolPacket, SolStatus};

/// Numbers go from 1 to 15; 0 is for packets that want no acknowledgement.
const NUMBER_MAX: u8 = 15;
/// How many times its first value the wait for an acknowledgement grows to.
const WAIT_GROWTH_MAX: u32 = 4;

/// Both directions of one line. Each has one packet under way at a time.
#[derive(Debug)]
pub(super) struct Machine {
    characters_max: usize,
    retry_wait: Duration,
    /// The number of the last packet taken from the BMC and how many of its characters; 0 before the first.
    taken: (u8, usize),
    /// The number of the last packet sent to it.
    number: u8,
    flight: Option<Flight>,
}

/// A write under way.
#[derive(Debug)]
struct Flight {
    rest: Vec<u8>,
    control: u8,
    /// The packet as last sent, with the first characters of `rest`.
    packet: SolPacket,
    due: Instant,
    wait: Duration,
    /// The BMC did not take it, so it goes again under a new number.
    refused: bool,
}

/// What a packet leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// To be sent now, in this order.
    pub(super) packets: Vec<SolPacket>,
    /// For the reader, in this order.
    pub(super) events: Vec<SolEvent>,
    /// The BMC took characters of the write under way.
    pub(super) progress: bool,
    /// The write is done.
    pub(super) written: bool,
}

impl Machine {
    pub(super) fn new(characters_max: usize, retry_wait: Duration) -> Self {
        Self { characters_max, retry_wait, taken: (0, 0), number: 0, flight: None }
    }

    /// Begins a write, of characters or of a control flag alone.
    pub(super) fn begin(&mut self, data: Vec<u8>, control: u8, now: Instant) -> SolPacket {
        let (packet, wait) = (self.next_packet(&data, control), self.retry_wait);
        let sent = packet.clone();
        self.flight = Some(Flight { rest: data, control, packet, due: now + wait, wait, refused: false });
        sent
    }

    /// Forgets the write under way.
    pub(super) fn give_up(&mut self) {
        self.flight = None;
    }

    /// When to call [`Self::tick`]; `None` if nothing is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.flight.as_ref().map(|flight| flight.due)
    }

    /// Sends again what was not acknowledged: under the same number, so that a BMC which had it knows; under
    /// a new one if it said that it did not take it.
    pub(super) fn tick(&mut self, now: Instant) -> Option<SolPacket> {
        let mut flight = self.flight.take()?;
        if flight.refused {
            flight.packet = self.next_packet(&flight.rest, flight.control);
            flight.refused = false;
        }
        flight.wait = (flight.wait * 2).min(self.retry_wait * WAIT_GROWTH_MAX);
        flight.due = now + flight.wait;
        let packet = flight.packet.clone();
        self.flight = Some(flight);
        Some(packet)
    }

    /// Takes a packet from the BMC. Without room for its events its characters are not taken, so that the
    /// BMC sends them again.
    pub(super) fn receive(&mut self, packet: &SolPacket, room: bool, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        self.take_acknowledgement(packet, now, &mut outcome);
        let again = packet.sequence != 0 && packet.sequence == self.taken.0;
        if room {
            self.take_characters(packet, again, &mut outcome);
        }
        let status = SolStatus(packet.flags);
        if room && !again && status.has(SolStatus::BREAK) {
            outcome.events.push(SolEvent::Break);
        }
        if room && !again && status.has(SolStatus::OVERRUN) {
            outcome.events.push(SolEvent::Overflow);
        }
        if status.has(SolStatus::DEACTIVATED) {
            outcome.events.push(SolEvent::Deactivated(Deactivation::Notice));
        }
        outcome
    }

    /// A packet with the number of the last one is that one again; what it has beyond the characters taken
    /// before is new (section 15.11).
    fn take_characters(&mut self, packet: &SolPacket, again: bool, outcome: &mut Outcome) {
        let before = if again { self.taken.1 } else { 0 };
        let most = packet.data.len().min(usize::from(CHARACTERS_MAX));
        let new = packet.data.get(before..most).unwrap_or_default();
        if packet.sequence != 0 {
            let count = most.max(before);
            self.taken = (packet.sequence, count);
            outcome.packets.push(SolPacket {
                acknowledges: packet.sequence,
                accepted: u8::try_from(count).unwrap_or(u8::MAX),
                ..SolPacket::default()
            });
        }
        if !new.is_empty() {
            outcome.events.push(SolEvent::Data(new.to_vec()));
        }
    }

    fn take_acknowledgement(&mut self, packet: &SolPacket, now: Instant, outcome: &mut Outcome) {
        let ours = |flight: &mut Flight| {
            packet.acknowledges != 0 && packet.acknowledges == flight.packet.sequence && !flight.refused
        };
        let Some(mut flight) = self.flight.take_if(ours) else { return };
        let sent = flight.packet.data.len();
        let accepted = usize::from(packet.accepted).min(sent);
        flight.rest.drain(..accepted);
        let refused = SolStatus(packet.flags).has(SolStatus::NACK) || (sent > 0 && accepted == 0);
        outcome.progress = accepted > 0;
        if flight.rest.is_empty() && (sent > 0 || !refused) {
            outcome.written = true;
            return;
        }
        if refused {
            // It is full; its node reads on some day.
            flight.refused = true;
            flight.due = now + flight.wait;
        } else {
            flight.packet = self.next_packet(&flight.rest, flight.control);
            flight.wait = self.retry_wait;
            flight.due = now + flight.wait;
            outcome.packets.push(flight.packet.clone());
        }
        self.flight = Some(flight);
    }

    fn next_packet(&mut self, data: &[u8], control: u8) -> SolPacket {
        self.number = self.number % NUMBER_MAX + 1;
        let data = data.iter().copied().take(self.characters_max).collect();
        SolPacket { sequence: self.number, flags: control, data, ..SolPacket::default() }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(500);

    fn machine() -> (Machine, Instant) {
        (Machine::new(4, WAIT), Instant::now())
    }

    fn data(sequence: u8, data: &[u8]) -> SolPacket {
        SolPacket { sequence, data: data.to_vec(), ..SolPacket::default() }
    }

    fn ack(acknowledges: u8, accepted: u8, flags: u8) -> SolPacket {
        SolPacket { acknowledges, accepted, flags, ..SolPacket::default() }
    }

    #[test]
    fn characters_are_delivered_once_and_acknowledged_each_time() {
        let (mut machine, now) = machine();
        let first = machine.receive(&data(1, b"abc"), true, now);
        assert_eq!(first.events, [SolEvent::Data(b"abc".to_vec())]);
        assert_eq!(first.packets, [ack(1, 3, 0)]);
        let again = machine.receive(&data(1, b"abc"), true, now);
        assert_eq!((again.events, again.packets), (vec![], vec![ack(1, 3, 0)]));
        let longer = machine.receive(&data(1, b"abcde"), true, now);
        assert_eq!(
            longer.events,
            [SolEvent::Data(b"de".to_vec())],
            "only what is new of a longer repetition"
        );
        assert_eq!(longer.packets, [ack(1, 5, 0)]);
        assert_eq!(machine.receive(&data(2, b"f"), true, now).events.len(), 1);
    }

    #[test]
    fn a_packet_without_a_number_is_never_acknowledged() {
        let (mut machine, now) = machine();
        let outcome = machine.receive(&data(0, b"x"), true, now);
        assert_eq!((outcome.packets.len(), outcome.events.len()), (0, 1));
        assert_eq!(machine.receive(&ack(3, 1, 0), true, now), Outcome::default());
    }

    #[test]
    fn without_room_nothing_is_taken_and_the_repetition_is() {
        let (mut machine, now) = machine();
        assert_eq!(machine.receive(&data(1, b"abc"), false, now), Outcome::default());
        assert_eq!(machine.receive(&data(1, b"abc"), true, now).events.len(), 1);
    }

    #[test]
    fn a_write_goes_in_pieces_each_after_the_last_was_taken() {
        let (mut machine, now) = machine();
        let first = machine.begin(b"0123456789".to_vec(), 0, now);
        assert_eq!(first, data(1, b"0123"));
        let partial = machine.receive(&ack(1, 3, 0), true, now);
        assert_eq!(partial.packets, [data(2, b"3456")], "what was not taken goes again");
        assert_eq!(machine.receive(&ack(1, 4, 0), true, now), Outcome::default(), "an old acknowledgement");
        assert_eq!(machine.receive(&ack(2, 4, 0), true, now).packets, [data(3, b"789")]);
        let last = machine.receive(&ack(3, 3, 0), true, now);
        assert!(last.written && last.packets.is_empty());
        assert_eq!(machine.due(), None);
    }

    #[test]
    fn silence_repeats_the_number_and_a_refusal_takes_a_new_one() {
        let (mut machine, now) = machine();
        machine.begin(b"ab".to_vec(), 0, now);
        assert_eq!(machine.due(), Some(now + WAIT));
        assert_eq!(machine.tick(now), Some(data(1, b"ab")));
        assert_eq!(machine.due(), Some(now + WAIT * 2), "the wait grows");
        let refused = machine.receive(&ack(1, 1, SolStatus::NACK), true, now);
        assert!(refused.packets.is_empty() && refused.progress && !refused.written);
        assert_eq!(machine.tick(now), Some(data(2, b"b")));
        assert!(machine.receive(&ack(2, 1, 0), true, now).written);
    }

    #[test]
    fn a_break_has_no_characters_and_is_acknowledged_all_the_same() {
        let (mut machine, now) = machine();
        let sent = machine.begin(Vec::new(), 0x10, now);
        assert_eq!((sent.sequence, sent.flags, sent.data.len()), (1, 0x10, 0));
        assert!(!machine.receive(&ack(1, 0, SolStatus::NACK), true, now).written);
        assert_eq!(machine.tick(now).unwrap().sequence, 2);
        assert!(machine.receive(&ack(2, 0, 0), true, now).written);
    }

    #[test]
    fn numbers_go_round_without_zero() {
        let (mut machine, now) = machine();
        let mut numbers = Vec::new();
        for _ in 0..17 {
            let number = machine.begin(b"a".to_vec(), 0, now).sequence;
            assert!(machine.receive(&ack(number, 1, 0), true, now).written);
            numbers.push(number);
        }
        assert_eq!(numbers[13..], [14, 15, 1, 2]);
    }

    #[test]
    fn the_status_tells_of_breaks_losses_and_the_end() {
        let (mut machine, now) = machine();
        let flags = SolStatus::BREAK | SolStatus::OVERRUN | SolStatus::DEACTIVATED;
        let packet = SolPacket { flags, ..data(1, b"a") };
        let events = machine.receive(&packet, true, now).events;
        let end = SolEvent::Deactivated(Deactivation::Notice);
        assert_eq!(events, [SolEvent::Data(b"a".to_vec()), SolEvent::Break, SolEvent::Overflow, end.clone()]);
        assert_eq!(machine.receive(&packet, true, now).events, [end], "a repetition tells only of the end");
    }
}
