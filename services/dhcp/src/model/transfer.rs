//! Which blocks of a TFTP transfer are sent when (RFC 1350, windows after RFC 7440).

use std::ops::RangeInclusive;

/// The state of one transfer. Blocks are counted from 1 and do not roll over here; on the wire they do.
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

#[cfg(test)]
mod tests {
    use super::{Progress, Window};

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
}
