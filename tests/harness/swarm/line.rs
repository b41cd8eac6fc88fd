//! A BMC's end of serial over LAN (IPMI 2.0 section 15): what the node writes goes out packet by packet, each sent until
//! it is acknowledged or given up; what is typed is taken and acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ipmi::wire::{SolControl, SolPacket, SolStatus};
use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::lines;
use super::seen::Seen;

/// Characters that fit into a packet, either way.
pub(super) const CHARACTERS_MAX: usize = 251;
/// What a BMC keeps for a console that does not take it; more is an overrun.
const BUFFER_MAX: usize = 64 << 10;
/// What is kept of what was typed.
const TYPED_MAX: usize = 64 << 10;
/// Lines made up for at once, after the machine stood still.
const LATE_LINES_MAX: u32 = 1000;
/// The time between two refusals of a storm.
const STORM_PAUSE: Duration = Duration::from_millis(20);
/// Who steals consoles.
const THIEF: u32 = 0x7fff_7fff;

/// How quickly a node writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Not at all.
    #[default]
    Off,
    /// So many lines a second.
    PerSecond(f64),
    /// As quickly as its console takes it.
    Full,
}

/// How often, and after which time, a packet that was not acknowledged is sent again (section 26, parameter 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often, before its characters are lost.
    pub count: u32,
    /// The time between.
    pub wait: Duration,
}

impl Default for Retries {
    /// 3.5 s in all, the most that the retry count has room for at half a second.
    fn default() -> Self {
        Self { count: 7, wait: Duration::from_millis(500) }
    }
}

/// What a line needs to know of its BMC.
pub(super) struct Around<'a> {
    pub(super) now: Instant,
    pub(super) on: bool,
    pub(super) storm: bool,
    pub(super) seen: &'a mut Seen,
    pub(super) dice: &'a mut Dice,
    /// Packets to be sent, and to which session.
    pub(super) out: &'a mut Vec<(u32, SolPacket)>,
}

/// Who has the line: a session by its BMC's id of it, or somebody who is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Session(u32),
    Thief,
}

#[derive(Debug)]
struct Flight {
    packet: SolPacket,
    due: Instant,
    left: u32,
}

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    number: u32,
    retries: Retries,
    /// Characters kept while nobody has the line.
    history: usize,
    owner: Owner,
    rate: Rate,
    next: Option<Instant>,
    waiting: VecDeque<u8>,
    flight: Option<Flight>,
    /// Until when nothing is sent, after a refusal.
    hold: Option<Instant>,
    sequence: u8,
    /// The last packet taken, and how much of it.
    taken: (u8, u8),
    typed: Vec<u8>,
    overrun: bool,
    /// The session that is to be told that it has the line no more.
    notice: Option<u32>,
    storm: Option<Instant>,
}

impl Line {
    pub(super) fn new(number: u32, retries: Retries, history: usize) -> Self {
        Self {
            number,
            retries,
            history,
            owner: Owner::Nobody,
            rate: Rate::Off,
            next: None,
            waiting: VecDeque::new(),
            flight: None,
            hold: None,
            sequence: 0,
            taken: (0, 0),
            typed: Vec::new(),
            overrun: false,
            notice: None,
            storm: None,
        }
    }

    /// Writes at this rate from now on; `phase` of the first interval, 0 to 1, goes by before the first line.
    pub(super) fn set_rate(&mut self, rate: Rate, phase: f64, now: Instant) {
        self.rate = rate;
        self.next = match rate {
            Rate::PerSecond(rate) if rate > 0.0 => Some(now + interval(rate).mul_f64(phase)),
            Rate::PerSecond(_) | Rate::Off => None,
            Rate::Full => Some(now),
        };
    }

    pub(super) fn owner(&self) -> Option<u32> {
        match self.owner {
            Owner::Nobody => None,
            Owner::Session(id) => Some(id),
            Owner::Thief => Some(THIEF),
        }
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.len() + self.flight.as_ref().map_or(0, |it| it.packet.data.len())
    }

    pub(super) fn typed(&self) -> &[u8] {
        &self.typed
    }

    /// Gives the line to a session.
    pub(super) fn activate(&mut self, session: u32) {
        self.release();
        self.owner = Owner::Session(session);
        (self.sequence, self.taken) = (0, (0, 0));
    }

    /// Takes the line from whoever has it.
    pub(super) fn release(&mut self) {
        self.owner = Owner::Nobody;
        (self.flight, self.hold, self.storm) = (None, None, None);
        if self.history == 0 {
            self.waiting.clear();
        }
    }

    /// Gives the line to somebody who is not there.
    pub(super) fn steal(&mut self, told: bool) {
        let before = self.owner;
        self.release();
        self.owner = Owner::Thief;
        if let Owner::Session(id) = before
            && told
        {
            self.notice = Some(id);
        }
    }

    /// When [`Self::tick`] is to be called.
    pub(super) fn due(&self, now: Instant, on: bool, storm: bool) -> Option<Instant> {
        let mut due = self.next.into_iter().chain(self.notice.map(|_| now)).min();
        let mut at = |it: Instant| due = Some(due.map_or(it, |due| due.min(it)));
        if let Owner::Session(_) = self.owner {
            match &self.flight {
                Some(flight) => at(flight.due),
                None if !self.waiting.is_empty() || (on && self.rate == Rate::Full) => {
                    at(self.hold.unwrap_or(now))
                }
                None => {}
            }
            if storm {
                at(self.storm.unwrap_or(now));
            }
        }
        due
    }

    /// Carries out what is due.
    pub(super) fn tick(&mut self, around: &mut Around<'_>) {
        if let Some(session) = self.notice.take() {
            let flags = SolStatus::DEACTIVATED;
            around.out.push((session, SolPacket { flags, ..SolPacket::default() }));
        }
        self.make_lines(around);
        self.send_again(around);
        self.send(around);
        if around.storm
            && let Owner::Session(session) = self.owner
            && self.storm.is_none_or(|it| it <= around.now)
        {
            self.storm = Some(around.now + STORM_PAUSE);
            around.out.push((session, self.refusal(around.dice)));
        }
    }

    /// Writes a text, as the node would.
    pub(super) fn write(&mut self, text: &[u8], seen: &mut Seen) {
        match self.owner {
            Owner::Session(_) if self.waiting.len() + text.len() > BUFFER_MAX => {
                self.overrun = true;
                seen.dropped_lines += 1;
            }
            Owner::Session(_) => self.waiting.extend(text),
            Owner::Thief => seen.stolen_lines += 1,
            Owner::Nobody if self.history == 0 => seen.unheard_lines += 1,
            Owner::Nobody => {
                self.waiting.extend(text);
                let over = self.waiting.len().saturating_sub(self.history);
                self.waiting.drain(..over);
            }
        }
    }

    /// Takes a packet of the session that has the line.
    pub(super) fn receive(&mut self, packet: &SolPacket, around: &mut Around<'_>) {
        let Owner::Session(session) = self.owner else { return };
        self.take_acknowledgement(packet, around);
        if packet.sequence != 0 {
            let answer = self.take_typed(packet, around);
            around.out.push((session, answer));
        }
        self.send(around);
    }

    fn make_lines(&mut self, around: &mut Around<'_>) {
        let Rate::PerSecond(rate) = self.rate else {
            self.next = None;
            return;
        };
        let mut late = 0;
        while let Some(next) = self.next
            && next <= around.now
        {
            late += 1;
            self.next =
                Some(if late > LATE_LINES_MAX { around.now + interval(rate) } else { next + interval(rate) });
            if around.on {
                self.make_line(around.seen);
            }
        }
    }

    fn make_line(&mut self, seen: &mut Seen) {
        seen.lines += 1;
        let line = lines::line(self.number, seen.lines);
        self.write(&line, seen);
    }

    fn send_again(&mut self, around: &mut Around<'_>) {
        let Owner::Session(session) = self.owner else { return };
        let Some(mut flight) = self.flight.take_if(|it| it.due <= around.now) else { return };
        if flight.left == 0 {
            around.seen.lost_bytes += flight.packet.data.len() as u64;
            self.overrun = true;
            return;
        }
        flight.left -= 1;
        flight.due = around.now + self.retries.wait;
        around.seen.repeats += 1;
        around.out.push((session, flight.packet.clone()));
        self.flight = Some(flight);
    }

    /// Sends what waits, if nothing is under way.
    fn send(&mut self, around: &mut Around<'_>) {
        let Owner::Session(session) = self.owner else { return };
        if self.flight.is_some() || self.hold.is_some_and(|it| it > around.now) {
            return;
        }
        self.hold = None;
        while self.rate == Rate::Full && around.on && self.waiting.len() < CHARACTERS_MAX {
            self.make_line(around.seen);
        }
        if self.waiting.is_empty() {
            return;
        }
        let count = self.waiting.len().min(CHARACTERS_MAX);
        self.sequence = self.sequence % 15 + 1;
        let flags = if std::mem::take(&mut self.overrun) { SolStatus::OVERRUN } else { 0 };
        let data = self.waiting.drain(..count).collect();
        let packet = SolPacket { sequence: self.sequence, flags, data, ..SolPacket::default() };
        around.out.push((session, packet.clone()));
        self.flight = Some(Flight { packet, due: around.now + self.retries.wait, left: self.retries.count });
    }

    /// What was not taken of a packet goes again in the next one, after a while.
    fn take_acknowledgement(&mut self, packet: &SolPacket, around: &mut Around<'_>) {
        let ours = |it: &mut Flight| packet.acknowledges != 0 && it.packet.sequence == packet.acknowledges;
        let Some(flight) = self.flight.take_if(ours) else { return };
        let taken = usize::from(packet.accepted).min(flight.packet.data.len());
        let rest = &flight.packet.data[taken..];
        if rest.is_empty() {
            return;
        }
        for byte in rest.iter().rev() {
            self.waiting.push_front(*byte);
        }
        self.hold = Some(around.now + self.retries.wait);
    }

    fn take_typed(&mut self, packet: &SolPacket, around: &mut Around<'_>) -> SolPacket {
        if around.storm {
            let (acknowledges, flags) = (packet.sequence, SolStatus::NACK);
            return SolPacket { acknowledges, flags, ..SolPacket::default() };
        }
        if packet.sequence != self.taken.0 {
            let room = TYPED_MAX.saturating_sub(self.typed.len());
            let count = packet.data.len().min(255);
            self.typed.extend(&packet.data[..count.min(room)]);
            self.taken = (packet.sequence, count as u8);
            around.seen.typed_bytes += count as u64;
            around.seen.breaks += u64::from(packet.flags & SolControl::BREAK != 0);
        }
        let (acknowledges, accepted) = self.taken;
        SolPacket { acknowledges, accepted, ..SolPacket::default() }
    }

    fn refusal(&self, dice: &mut Dice) -> SolPacket {
        let acknowledges = (1 + dice.below(15)) as u8;
        SolPacket { acknowledges, flags: SolStatus::NACK, ..SolPacket::default() }
    }
}

fn interval(rate: f64) -> Duration {
    Duration::from_secs_f64((1.0 / rate).clamp(1e-5, 1e6))
}

#[cfg(test)]
mod tests;
