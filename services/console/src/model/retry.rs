//! When a lost line is opened again, and whether it may be taken from whoever holds it.

use std::time::Duration;

use serde::Deserialize;

/// The first wait after a line was lost; it doubles.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait: a dead BMC is asked this often.
const LONGEST: Duration = Duration::from_secs(20);
/// Waits after a refused account, which BMCs lock after a few failures; a changed account ends them.
const REFUSED_FIRST: Duration = Duration::from_secs(30);
const REFUSED_LONGEST: Duration = Duration::from_secs(300);
/// A line that lasted this long was a good one, and the waits start over.
const GOOD: Duration = Duration::from_secs(30);

/// What is done about another session that holds a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Takeover {
    /// The line is taken, also back from who took it from us.
    #[default]
    Always,
    /// It is taken once it was held for `takeover_after`: nobody uses a line for so long but who has
    /// forgotten it.
    Stale,
    /// We wait until it is free.
    Never,
}

impl Takeover {
    /// Whether a line that has been found held for this long may be taken.
    pub(crate) fn allows(self, held: Duration, after: Duration) -> bool {
        match self {
            Self::Always => true,
            Self::Stale => held >= after,
            Self::Never => false,
        }
    }
}

/// The waits of one line.
#[derive(Debug)]
pub(crate) struct Waits(Duration);

impl Default for Waits {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Waits {
    /// The line was open for this long.
    pub(crate) fn lasted(&mut self, time: Duration) {
        if time >= GOOD {
            *self = Self::default();
        }
    }

    /// How long to wait now, longer after a refused account: half to one and a half of the wait by `random`,
    /// so that a thousand lines lost at once do not come back at once.
    pub(crate) fn next(&mut self, refused: bool, random: u8) -> Duration {
        let (least, most) = if refused { (REFUSED_FIRST, REFUSED_LONGEST) } else { (FIRST, LONGEST) };
        let wait = self.0.clamp(least, most);
        self.0 = wait * 2;
        wait / 2 + wait * u32::from(random) / 256
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Takeover, Waits};

    #[test]
    fn waits_double_up_to_a_limit_and_start_over_after_a_good_line() {
        let mut waits = Waits::default();
        let all: Vec<u64> =
            (0..8).map(|_| u64::try_from(waits.next(false, 128).as_millis()).unwrap_or(0)).collect();
        assert_eq!(all, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
        waits.lasted(Duration::from_secs(5));
        assert_eq!(waits.next(false, 128), Duration::from_secs(20));
        waits.lasted(Duration::from_secs(60));
        assert_eq!(waits.next(false, 0), Duration::from_millis(250));
        assert!(waits.next(false, 255) < Duration::from_millis(1500));
    }

    #[test]
    fn a_refused_account_is_tried_seldom() {
        let mut waits = Waits::default();
        assert_eq!(waits.next(true, 128), Duration::from_secs(30));
        for _ in 0..8 {
            waits.next(true, 128);
        }
        assert_eq!(waits.next(true, 128), Duration::from_secs(300));
        assert_eq!(waits.next(false, 128), Duration::from_secs(20), "another reason, another limit");
    }

    #[test]
    fn a_line_is_taken_as_the_policy_says() {
        let (short, long, after) =
            (Duration::from_secs(1), Duration::from_secs(200), Duration::from_secs(120));
        assert!(Takeover::Always.allows(short, after) && !Takeover::Never.allows(long, after));
        assert!(!Takeover::Stale.allows(short, after) && Takeover::Stale.allows(long, after));
    }
}
