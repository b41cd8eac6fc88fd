//! The window of sequence numbers on received packets (section 6.12.12).

/// How far behind the newest a packet may come, having been overtaken on the way.
const BEHIND_MAX: u32 = 32;

/// The packets seen: the newest number, and one bit for each of the numbers before it.
///
/// The specification also limits how far ahead a number may be. That limit guards sessions without integrity
/// codes; here every number has been proven before it is asked about, and a BMC that talked into a broken
/// network for a minute is far ahead and still the right one. So ahead is only what is not behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    newest: u32,
    seen: u32,
}

impl Window {
    /// What [`Self::from_parts`] makes it from.
    pub(crate) fn parts(self) -> (u32, u32) {
        (self.newest, self.seen)
    }

    pub(crate) fn from_parts(newest: u32, seen: u32) -> Self {
        Self { newest, seen }
    }

    /// Whether the packet is new; if so, it is not so a second time.
    pub(crate) fn accept(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false; // Reserved for packets outside of a session.
        }
        if is_ahead(sequence, self.newest) {
            let ahead = sequence.wrapping_sub(self.newest);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = sequence;
            return true;
        }
        let behind = self.newest.wrapping_sub(sequence);
        let bit = if behind < BEHIND_MAX { 1 << behind } else { 0 };
        let new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

/// Whether a packet of this number was sent after the one of that, also past the wrap.
pub(crate) fn is_ahead(number: u32, of: u32) -> bool {
    (1..=u32::MAX / 2).contains(&number.wrapping_sub(of))
}

/// The number of the packet after this one: from 1 up, and past 0 when they wrap.
pub(crate) fn next_number(last: u32) -> u32 {
    last.wrapping_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_taken_once_also_out_of_order() {
        let mut window = Window::default();
        for sequence in [1, 2, 5, 3, 4, 40, 41, 39, 10] {
            assert!(window.accept(sequence), "{sequence}");
            assert!(!window.accept(sequence), "{sequence} again");
        }
        assert!(!window.accept(9), "too far behind");
        assert!(!window.accept(2), "too far behind");
        assert!(!window.accept(0), "outside of a session");
    }

    #[test]
    fn the_window_goes_on_over_the_wrap() {
        let mut window = Window::default();
        for sequence in [0x7000_0000, 0xe000_0000, u32::MAX - 1, u32::MAX, 1, 2] {
            assert!(window.accept(sequence), "{sequence:#x}");
        }
        assert!(!window.accept(u32::MAX));
        assert!(!window.accept(u32::MAX - 40));
    }

    #[test]
    fn sent_numbers_skip_zero_when_they_wrap() {
        assert_eq!(next_number(0), 1);
        assert_eq!(next_number(u32::MAX - 1), u32::MAX);
        assert_eq!(next_number(u32::MAX), 1);
    }
}
