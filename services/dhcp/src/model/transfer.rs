//! Which packets of a TFTP transfer are sent when (RFC 1350, windows after RFC 7440). Pure: time is an argument.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The first wait for an acknowledgement; later ones follow what was measured, and double.
const WAIT_FIRST: Duration = Duration::from_millis(400);
const WAIT_MIN: Duration = Duration::from_millis(60);
const WAIT_MAX: Duration = Duration::from_secs(4);
/// A client that was silent for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// One that never said a word sooner: its request may be forged.
const SILENCE_FIRST: Duration = Duration::from_secs(8);
/// The acknowledgement of its options is sent to it so often at most: it is shorter than what the client asked with.
const OFFERS_MAX: u32 = 3;
/// When only the end is unacknowledged: who has the file all too often says so once and is off.
const LAST_REPEATS: u32 = 3;
/// A request that comes again after so much silence is a client that starts anew.
const ANEW_AFTER: Duration = Duration::from_secs(1);

/// The blocks of one transfer. They are counted from 1 and do not roll over here; on the wire they do.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// How many blocks there are; the last one is short or empty.
    blocks: u64,
    size: u64,
    acknowledged: u64,
    /// Whether this window was sent again for a doubled acknowledgement.
    repeated: bool,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing: it is old.
    None,
    /// Send the pending blocks.
    Send,
    /// All is acknowledged.
    Done,
}

impl Window {
    /// A transfer of so many bytes.
    pub(crate) fn new(bytes: usize, block: usize, size: u16) -> Self {
        Self {
            blocks: (bytes / block.max(1)) as u64 + 1,
            size: u64::from(size.max(1)),
            acknowledged: 0,
            repeated: false,
        }
    }

    /// The blocks to send now.
    pub(crate) fn pending(&self) -> RangeInclusive<u64> {
        self.acknowledged + 1..=self.last()
    }

    fn last(&self) -> u64 {
        (self.acknowledged + self.size).min(self.blocks)
    }

    /// Takes an acknowledgement as it was on the wire.
    pub(crate) fn acknowledge(&mut self, number: u16) -> Progress {
        let step = u64::from(number.wrapping_sub(self.acknowledged as u16));
        if step == 0 {
            // The first block of the window was lost, says a client with windows; without windows an answer
            // to a doubled acknowledgement would double everything that follows (RFC 1123 section 4.2.3.1).
            let repeat = self.size > 1 && !self.repeated;
            self.repeated = true;
            return if repeat { Progress::Send } else { Progress::None };
        }
        if step > self.last() - self.acknowledged {
            return Progress::None;
        }
        self.acknowledged += step;
        self.repeated = false;
        if self.acknowledged == self.blocks { Progress::Done } else { Progress::Send }
    }
}

/// What to do for a transfer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// Send the acknowledgement of the options.
    Offer,
    /// Send these blocks.
    Blocks(RangeInclusive<u64>),
    /// It is over: the client has it all, though the last acknowledgement may be lost.
    Done,
    /// It is over: the client was silent for too long.
    Lost,
}

/// One transfer: what was sent, and what is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    window: Window,
    block: u64,
    bytes: u64,
    /// The options wait for the client's word.
    offering: bool,
    /// The client has answered once, so that it is where it says.
    confirmed: bool,
    /// The wait that the client asked for; else it follows what is measured.
    fixed: Option<Duration>,
    measured: Option<Duration>,
    wait: Duration,
    sent: Instant,
    heard: Instant,
    repeats: u32,
}

impl Session {
    /// A transfer that begins now: of so many bytes in blocks of that size. `offering` if there are options to
    /// acknowledge, `wait` if the client asked for one.
    pub(crate) fn new(
        window: Window,
        (bytes, block): (usize, usize),
        offering: bool,
        wait: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            window,
            block: block as u64,
            bytes: bytes as u64,
            offering,
            confirmed: false,
            fixed: wait,
            measured: None,
            wait: wait.unwrap_or(WAIT_FIRST),
            sent: now,
            heard: now,
            repeats: 0,
        }
    }

    /// What is sent before the client has answered: one packet, whatever the window is, since its address may be
    /// another's.
    pub(crate) fn first(&self) -> Step {
        if self.offering { Step::Offer } else { Step::Blocks(1..=1) }
    }

    /// Whether the client has answered.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// How many bytes the client has.
    pub(crate) fn bytes_acknowledged(&self) -> u64 {
        self.window.acknowledged.saturating_mul(self.block).min(self.bytes)
    }

    /// The client asked again by the same words: the answer was lost, so it gets it again; else it is an echo.
    /// None if the client has begun anew, and so the transfer has to.
    pub(crate) fn repeat(&mut self, now: Instant) -> Option<Step> {
        if !self.confirmed {
            (self.sent, self.heard) = (now, now);
            return Some(self.first());
        }
        (now.duration_since(self.heard) < ANEW_AFTER).then_some(Step::Wait)
    }

    /// Takes an acknowledgement.
    pub(crate) fn acknowledge(&mut self, number: u16, now: Instant) -> Step {
        if self.offering {
            if number != 0 {
                return Step::Wait;
            }
            self.offering = false;
            self.advance(now);
            return Step::Blocks(self.window.pending());
        }
        if !self.confirmed && number > 1 {
            return Step::Wait; // Only one block was sent.
        }
        let before = self.window.acknowledged;
        match self.window.acknowledge(number) {
            Progress::None => Step::Wait,
            Progress::Done => Step::Done,
            Progress::Send => {
                if self.window.acknowledged > before {
                    self.advance(now);
                } else {
                    (self.sent, self.heard) = (now, now);
                    self.repeats += 1; // What is measured now would be of either copy.
                }
                Step::Blocks(self.window.pending())
            }
        }
    }

    /// Something new was acknowledged, so that what follows is sent for the first time.
    fn advance(&mut self, now: Instant) {
        if self.repeats == 0 {
            let took = now.duration_since(self.sent);
            // As TCP smooths it (RFC 6298 section 2), with a wider margin instead of the variance.
            self.measured = Some(self.measured.map_or(took, |it| (it * 7 + took) / 8));
        }
        self.wait = self
            .fixed
            .unwrap_or_else(|| self.measured.map_or(WAIT_FIRST, |it| (it * 4).clamp(WAIT_MIN, WAIT_MAX)));
        (self.sent, self.heard, self.repeats, self.confirmed) = (now, now, 0, true);
    }

    /// Looks whether it is time to send again, or to give up.
    pub(crate) fn tick(&mut self, now: Instant) -> Step {
        let silence = now.duration_since(self.heard);
        let early = now.duration_since(self.sent) < self.wait;
        if !self.confirmed {
            if silence >= SILENCE_FIRST {
                return Step::Lost;
            }
            // A first block is not sent again unless it is asked for: it may be long, and its reader somebody else.
            if early || !self.offering || self.repeats + 1 >= OFFERS_MAX {
                return Step::Wait;
            }
            (self.sent, self.wait, self.repeats) = (now, self.wait * 2, self.repeats + 1);
            return Step::Offer;
        }
        if early {
            return Step::Wait;
        }
        // With a window, some of what came before must have arrived.
        let at_end = self.window.last() == self.window.blocks
            && (self.window.acknowledged > 0 || self.window.size == 1);
        if at_end && self.repeats >= LAST_REPEATS {
            return Step::Done;
        }
        if silence >= SILENCE_MAX {
            return Step::Lost;
        }
        self.repeats += 1;
        self.wait = (self.wait * 2).min(WAIT_MAX.max(self.wait));
        self.sent = now;
        Step::Blocks(self.window.pending())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Progress, Session, Step, Window};

    #[test]
    fn one_block_follows_each_acknowledgement_and_old_ones_count_nothing() {
        let mut window = Window::new(1024, 512, 1);
        assert_eq!(window.pending(), 1..=1);
        assert_eq!(window.acknowledge(0), Progress::None);
        assert_eq!(window.acknowledge(2), Progress::None);
        assert_eq!(window.acknowledge(1), Progress::Send);
        assert_eq!(window.acknowledge(1), Progress::None);
        assert_eq!(window.pending(), 2..=2);
        assert_eq!(window.acknowledge(2), Progress::Send);
        assert_eq!(window.pending(), 3..=3, "the last block is empty");
        assert_eq!(window.acknowledge(3), Progress::Done);
    }

    #[test]
    fn a_window_goes_on_from_what_was_acknowledged() {
        let mut window = Window::new(10_000, 1000, 4);
        assert_eq!(window.pending(), 1..=4);
        assert_eq!(window.acknowledge(2), Progress::Send);
        assert_eq!(window.pending(), 3..=6);
        assert_eq!(window.acknowledge(2), Progress::Send, "block 3 was lost");
        assert_eq!(window.acknowledge(2), Progress::None);
        assert_eq!(window.acknowledge(6), Progress::Send);
        assert_eq!(window.pending(), 7..=10);
        assert_eq!(window.acknowledge(10), Progress::Send);
        assert_eq!(window.pending(), 11..=11);
    }

    #[test]
    fn block_numbers_roll_over() {
        let mut window = Window::new(70_000 * 8, 8, 1);
        for block in 1..=70_000u64 {
            assert_eq!(window.pending(), block..=block);
            assert_eq!(window.acknowledge(block as u16), Progress::Send);
        }
        assert_eq!(window.acknowledge(70_001u64 as u16), Progress::Done);
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_never_answers_is_sent_one_packet_unless_it_asks_again() {
        let start = Instant::now();
        for offering in [true, false] {
            let window = Window::new(10_000, 1000, 4);
            let mut session = Session::new(window, (10_000, 1000), offering, None, start);
            let first = if offering { Step::Offer } else { Step::Blocks(1..=1) };
            assert_eq!(session.first(), first);
            let mut again = 0;
            for ms in 0..700 {
                again += u32::from(session.tick(start + 10 * ms * MS) != Step::Wait);
            }
            assert_eq!(again, if offering { 2 } else { 0 }, "only what is short");
            assert_eq!(session.repeat(start + 7500 * MS), Some(first));
            assert_eq!(session.acknowledge(2, start + 7600 * MS), Step::Wait, "it was not sent");
            assert_eq!(session.tick(start + 15_400 * MS), Step::Wait);
            assert_eq!(session.tick(start + 15_500 * MS), Step::Lost);
        }
    }

    #[test]
    fn waits_follow_what_is_measured_and_double() {
        let start = Instant::now();
        let mut session = Session::new(Window::new(10_000, 1000, 1), (10_000, 1000), true, None, start);
        assert_eq!(session.acknowledge(1, start), Step::Wait, "the options come first");
        assert_eq!(session.acknowledge(0, start + 20 * MS), Step::Blocks(1..=1));
        assert_eq!(session.tick(start + 99 * MS), Step::Wait);
        assert_eq!(session.tick(start + 100 * MS), Step::Blocks(1..=1));
        assert_eq!(session.tick(start + 259 * MS), Step::Wait);
        assert_eq!(session.tick(start + 260 * MS), Step::Blocks(1..=1));
        assert_eq!(session.acknowledge(1, start + 300 * MS), Step::Blocks(2..=2));
        assert_eq!(session.bytes_acknowledged(), 1000);
        assert_eq!(session.repeat(start + 310 * MS), Some(Step::Wait), "an echo");
        assert_eq!(session.repeat(start + 1300 * MS), None, "it starts anew");
        let mut now = start + 300 * MS;
        while session.tick(now) != Step::Lost {
            now += 10 * MS;
        }
        assert!(now - start >= Duration::from_secs(20) && now - start < Duration::from_secs(26));
        let asked = Some(Duration::from_secs(2));
        let mut session = Session::new(Window::new(10_000, 1000, 1), (10_000, 1000), true, asked, start);
        assert_eq!(session.acknowledge(0, start), Step::Blocks(1..=1));
        assert_eq!(session.tick(start + 1999 * MS), Step::Wait);
        assert_eq!(session.tick(start + 2000 * MS), Step::Blocks(1..=1));
    }

    #[test]
    fn who_has_all_and_leaves_without_a_word_has_all() {
        let start = Instant::now();
        let mut session = Session::new(Window::new(1500, 1000, 1), (1500, 1000), false, None, start);
        assert_eq!(session.acknowledge(1, start), Step::Blocks(2..=2));
        let (mut now, mut again) = (start, 0);
        let end = loop {
            now += 10 * MS;
            match session.tick(now) {
                Step::Blocks(_) => again += 1,
                Step::Wait => {}
                end => break end,
            }
        };
        assert_eq!((end, again), (Step::Done, 3));
        assert!(now - start < Duration::from_secs(2));
    }
}
