//! The rules of SOL's acknowledgement (sections 15.9 to 15.11), without clock, socket or task.

use std::time::Duration;

use tokio::time::Instant;

use crate::wire::{SolPacket, SolStatus, SolView};

/// Numbers go from 1 to 15; 0 is for packets that want no acknowledgement.
const NUMBER_MAX: u8 = 15;
/// How many times its first value the wait for an acknowledgement grows to.
const WAIT_GROWTH_MAX: u32 = 4;

/// Both directions of one line. Each has one packet under way at a time.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    /// The number of the last packet taken from the BMC and how many of its characters; 0 before the first.
    taken: (u8, u8),
    /// The number of the last packet sent to it.
    number: u8,
    /// The control flags that every packet has until they are taken back.
    held: u8,
    /// The number of a packet that there was no room for; 0 for none.
    refused: u8,
    flight: Option<Flight>,
}

/// What a line's BMC and its user want.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Characters in a packet to the BMC.
    pub(crate) characters_max: u8,
    pub(crate) retry_wait: Duration,
    /// A packet sent again gets a new number: for BMCs that get stuck otherwise, at the price that characters
    /// may be written twice.
    pub(crate) renumber: bool,
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
pub(crate) struct Outcome<'a> {
    /// To be acknowledged first: the packet's number and how many of its characters were taken.
    pub(crate) acknowledge: Option<(u8, u8)>,
    /// The next packet of the write under way.
    pub(crate) next: Option<SolPacket>,
    /// Characters for the reader, then whether a break, a loss, the end.
    pub(crate) data: &'a [u8],
    pub(crate) broken: bool,
    pub(crate) overflow: bool,
    pub(crate) deactivated: bool,
    /// The BMC took characters of the write under way.
    pub(crate) progress: bool,
    /// The write is done.
    pub(crate) written: bool,
}

impl Machine {
    /// A line that begins, or goes on after these packets.
    pub(crate) fn new(rules: Rules, number: u8, taken: (u8, u8)) -> Self {
        Self { rules, taken, number, held: 0, refused: 0, flight: None }
    }

    /// The number of the last packet sent, and of the last one taken with how many of its characters.
    pub(crate) fn numbers(&self) -> (u8, (u8, u8)) {
        (self.number, self.taken)
    }

    pub(crate) fn set_characters_max(&mut self, characters_max: u8) {
        self.rules.characters_max = characters_max;
    }

    /// Begins a write, of characters or of a control flag alone.
    pub(crate) fn begin(&mut self, data: Vec<u8>, control: u8, now: Instant) -> SolPacket {
        let (packet, wait) = (self.next_packet(&data, control), self.rules.retry_wait);
        let sent = packet.clone();
        self.flight = Some(Flight { rest: data, control, packet, due: now + wait, wait, refused: false });
        sent
    }

    /// Sets the flags that every packet shall have from now on.
    pub(crate) fn hold(&mut self, flags: u8) {
        self.held = flags;
    }

    pub(crate) fn held(&self) -> u8 {
        self.held
    }

    /// Forgets the write under way.
    pub(crate) fn give_up(&mut self) {
        self.flight = None;
    }

    /// When to call [`Self::tick`]; `None` if nothing is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.flight.as_ref().map(|flight| flight.due)
    }

    /// Sends again what was not acknowledged: under the same number, so that a BMC which had it knows; under
    /// a new one if it said that it did not take it.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<SolPacket> {
        let mut flight = self.flight.take()?;
        if flight.refused || self.rules.renumber {
            flight.packet = self.next_packet(&flight.rest, flight.control);
            flight.refused = false;
        }
        flight.wait = (flight.wait * 2).min(self.rules.retry_wait * WAIT_GROWTH_MAX);
        flight.due = now + flight.wait;
        let packet = flight.packet.clone();
        self.flight = Some(flight);
        Some(packet)
    }

    /// Takes a packet from the BMC. Without room for its events its characters are not taken, so that the
    /// BMC sends them again.
    pub(crate) fn receive<'a>(&mut self, packet: SolView<'a>, room: bool, now: Instant) -> Outcome<'a> {
        let mut outcome = Outcome::default();
        self.take_acknowledgement(packet, now, &mut outcome);
        let status = SolStatus(packet.flags);
        outcome.deactivated = status.has(SolStatus::DEACTIVATED);
        if packet.sequence != 0 && packet.sequence == self.taken.0 {
            // The last one again, though it may be longer by now: a BMC adds what its node wrote meanwhile. How much of
            // it was taken is on its way to the BMC and holds: the rest comes under the next number, as that of any
            // packet that is taken in part (section 15.11). Taken from here it would come twice.
            outcome.acknowledge = Some(self.taken);
        } else if room {
            self.take_characters(packet, &mut outcome);
            outcome.broken = status.has(SolStatus::BREAK);
            outcome.overflow |= status.has(SolStatus::OVERRUN);
        } else if packet.sequence != 0 {
            self.refused = packet.sequence;
        }
        outcome
    }

    fn take_characters<'a>(&mut self, packet: SolView<'a>, outcome: &mut Outcome<'a>) {
        // As many as an acknowledgement can count.
        let most = u8::try_from(packet.data.len()).unwrap_or(u8::MAX);
        outcome.data = packet.data.get(..usize::from(most)).unwrap_or_default();
        if packet.sequence != 0 {
            self.taken = (packet.sequence, most);
            outcome.acknowledge = Some(self.taken);
            // The BMC did not wait for room: what was refused is gone, whether it says so or not.
            let refused = std::mem::take(&mut self.refused);
            outcome.overflow = refused != 0 && refused != packet.sequence;
        }
    }

    fn take_acknowledgement(&mut self, packet: SolView<'_>, now: Instant, outcome: &mut Outcome<'_>) {
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
            flight.wait = self.rules.retry_wait;
            flight.due = now + flight.wait;
            outcome.next = Some(flight.packet.clone());
        }
        self.flight = Some(flight);
    }

    fn next_packet(&mut self, data: &[u8], control: u8) -> SolPacket {
        self.number = self.number % NUMBER_MAX + 1;
        let data = data.iter().copied().take(usize::from(self.rules.characters_max)).collect();
        SolPacket { sequence: self.number, flags: control | self.held, data, ..SolPacket::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SolControl;

    const WAIT: Duration = Duration::from_millis(500);

    fn machine() -> (Machine, Instant) {
        let rules = Rules { characters_max: 4, retry_wait: WAIT, renumber: false };
        (Machine::new(rules, 0, (0, 0)), Instant::now())
    }

    fn data(sequence: u8, data: &[u8]) -> SolPacket {
        SolPacket { sequence, data: data.to_vec(), ..SolPacket::default() }
    }

    fn from(sequence: u8, data: &[u8]) -> SolView<'_> {
        SolView { sequence, acknowledges: 0, accepted: 0, flags: 0, data }
    }

    fn ack(acknowledges: u8, accepted: u8, flags: u8) -> SolView<'static> {
        SolView { sequence: 0, acknowledges, accepted, flags, data: &[] }
    }

    #[test]
    fn characters_are_delivered_once_and_acknowledged_each_time() {
        let (mut machine, now) = machine();
        let first = machine.receive(from(1, b"abc"), true, now);
        assert_eq!((first.data, first.acknowledge), (&b"abc"[..], Some((1, 3))));
        let again = machine.receive(from(1, b"abc"), true, now);
        assert_eq!((again.data, again.acknowledge), (&b""[..], Some((1, 3))));
        assert_eq!(machine.receive(from(2, b"f"), true, now).data, b"f");
    }

    #[test]
    fn what_a_repetition_has_beyond_the_first_comes_under_the_next_number() {
        let (mut machine, now) = machine();
        assert_eq!(machine.receive(from(1, b"abc"), true, now).acknowledge, Some((1, 3)));
        let longer = machine.receive(from(1, b"abcde"), true, now);
        assert_eq!(
            (longer.data, longer.acknowledge),
            (&b""[..], Some((1, 3))),
            "the BMC may have the first one"
        );
        assert_eq!(machine.receive(from(2, b"de"), true, now).data, b"de");
    }

    #[test]
    fn a_line_that_goes_on_knows_what_it_had() {
        let rules = Rules { characters_max: 4, retry_wait: WAIT, renumber: false };
        let (mut machine, now) = (Machine::new(rules, 15, (7, 3)), Instant::now());
        let again = machine.receive(from(7, b"abc"), true, now);
        assert_eq!((again.data, again.acknowledge), (&b""[..], Some((7, 3))), "had before the restart");
        assert_eq!(machine.receive(from(8, b"d"), true, now).data, b"d");
        assert_eq!(machine.begin(b"x".to_vec(), 0, now).sequence, 1);
        assert_eq!(machine.numbers(), (1, (8, 1)));
    }

    #[test]
    fn a_packet_without_a_number_is_never_acknowledged() {
        let (mut machine, now) = machine();
        let outcome = machine.receive(from(0, b"x"), true, now);
        assert_eq!((outcome.acknowledge, outcome.data), (None, &b"x"[..]));
        assert_eq!(machine.receive(ack(3, 1, 0), true, now), Outcome::default());
    }

    #[test]
    fn without_room_nothing_is_taken_and_the_repetition_is() {
        let (mut machine, now) = machine();
        assert_eq!(machine.receive(from(1, b"abc"), false, now), Outcome::default());
        let taken = machine.receive(from(1, b"abcde"), true, now);
        assert_eq!((taken.data, taken.overflow), (&b"abcde"[..], false));
    }

    #[test]
    fn a_packet_that_found_no_room_and_is_given_up_is_told_of() {
        let (mut machine, now) = machine();
        assert_eq!(machine.receive(from(1, b"abc"), false, now), Outcome::default());
        let next = machine.receive(from(2, b"d"), true, now);
        assert_eq!((next.data, next.overflow), (&b"d"[..], true));
        assert!(!machine.receive(from(3, b"e"), true, now).overflow, "once");
    }

    #[test]
    fn a_packet_longer_than_can_be_counted_is_taken_in_part() {
        let (mut machine, now) = machine();
        let long = [7; 300];
        let outcome = machine.receive(from(1, &long), true, now);
        assert_eq!((outcome.data.len(), outcome.acknowledge), (255, Some((1, 255))));
    }

    #[test]
    fn a_write_goes_in_pieces_each_after_the_last_was_taken() {
        let (mut machine, now) = machine();
        let first = machine.begin(b"0123456789".to_vec(), 0, now);
        assert_eq!(first, data(1, b"0123"));
        let partial = machine.receive(ack(1, 3, 0), true, now);
        assert_eq!(partial.next, Some(data(2, b"3456")), "what was not taken goes again");
        assert_eq!(machine.receive(ack(1, 4, 0), true, now), Outcome::default(), "an old acknowledgement");
        assert_eq!(machine.receive(ack(2, 4, 0), true, now).next, Some(data(3, b"789")));
        let last = machine.receive(ack(3, 3, 0), true, now);
        assert!(last.written && last.next.is_none());
        assert_eq!(machine.due(), None);
    }

    #[test]
    fn silence_repeats_the_number_and_a_refusal_takes_a_new_one() {
        let (mut machine, now) = machine();
        machine.begin(b"ab".to_vec(), 0, now);
        assert_eq!(machine.due(), Some(now + WAIT));
        assert_eq!(machine.tick(now), Some(data(1, b"ab")));
        assert_eq!(machine.due(), Some(now + WAIT * 2), "the wait grows");
        let refused = machine.receive(ack(1, 1, SolStatus::NACK), true, now);
        assert!(refused.next.is_none() && refused.progress && !refused.written);
        assert_eq!(machine.tick(now), Some(data(2, b"b")));
        assert!(machine.receive(ack(2, 1, 0), true, now).written);
    }

    #[test]
    fn a_bmc_that_gets_stuck_is_sent_a_new_number() {
        let (mut machine, now) = machine();
        machine.rules.renumber = true;
        machine.begin(b"ab".to_vec(), 0, now);
        assert_eq!(machine.tick(now), Some(data(2, b"ab")));
    }

    #[test]
    fn a_break_has_no_characters_and_is_acknowledged_all_the_same() {
        let (mut machine, now) = machine();
        let sent = machine.begin(Vec::new(), 0x10, now);
        assert_eq!((sent.sequence, sent.flags, sent.data.len()), (1, 0x10, 0));
        assert!(!machine.receive(ack(1, 0, SolStatus::NACK), true, now).written);
        assert_eq!(machine.tick(now).map(|it| it.sequence), Some(2));
        assert!(machine.receive(ack(2, 0, 0), true, now).written);
    }

    #[test]
    fn a_line_held_back_is_so_in_every_packet_until_it_is_released() {
        let (mut machine, now) = machine();
        machine.hold(SolControl::CTS_PAUSE);
        assert_eq!(machine.begin(Vec::new(), 0, now).flags, SolControl::CTS_PAUSE);
        assert!(machine.receive(ack(1, 0, 0), true, now).written);
        assert_eq!(machine.begin(b"a".to_vec(), 0x10, now).flags, SolControl::CTS_PAUSE | 0x10);
        machine.hold(0);
        assert_eq!(machine.receive(ack(2, 0, SolStatus::NACK), true, now), Outcome::default());
        assert_eq!(machine.tick(now).map(|it| it.flags), Some(0x10));
    }

    #[test]
    fn numbers_go_round_without_zero() {
        let (mut machine, now) = machine();
        let mut numbers = Vec::new();
        for _ in 0..17 {
            let number = machine.begin(b"a".to_vec(), 0, now).sequence;
            assert!(machine.receive(ack(number, 1, 0), true, now).written);
            numbers.push(number);
        }
        assert_eq!(numbers[13..], [14, 15, 1, 2]);
    }

    #[test]
    fn the_status_tells_of_breaks_losses_and_the_end() {
        let (mut machine, now) = machine();
        let flags = SolStatus::BREAK | SolStatus::OVERRUN | SolStatus::DEACTIVATED;
        let packet = SolView { flags, ..from(1, b"a") };
        let outcome = machine.receive(packet, true, now);
        assert!(outcome.data == b"a" && outcome.broken && outcome.overflow && outcome.deactivated);
        let again = machine.receive(packet, true, now);
        assert!(again.data.is_empty() && !again.broken && !again.overflow && again.deactivated);
    }
}
