//! How long to wait before asking again.

use std::time::Duration;

/// Waits that double, up to a longest one, each a little different so that many do not ask at the same
/// moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
    jitter_percent: u8,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration, jitter_percent: u8) -> Self {
        Self { next: first, longest, jitter_percent: jitter_percent.min(100) }
    }

    /// The next wait. `roll` is a random number; the wait is at most `jitter_percent` shorter or longer by
    /// it.
    pub(crate) fn wait(&mut self, roll: u16) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.longest);
        spread(wait, self.jitter_percent, roll)
    }
}

/// A wait made shorter or longer by at most so many percent: not at all by a roll in the middle.
pub(crate) fn spread(wait: Duration, percent: u8, roll: u16) -> Duration {
    let by = f64::from(roll) / f64::from(u16::MAX) * 2.0 - 1.0;
    wait.mul_f64(1.0 + by * f64::from(percent) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(2);

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(FIRST, LONGEST, 0);
        let waits: Vec<_> = (0..4).map(|roll| backoff.wait(roll * 20_000).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 2000]);
    }

    #[test]
    fn jitter_stays_within_its_percentage() {
        for roll in [0, 1, 10_000, 32_767, 50_000, u16::MAX] {
            let wait = spread(FIRST, 20, roll);
            assert!((400..=600).contains(&wait.as_millis()), "{wait:?}");
        }
        assert_eq!(spread(FIRST, 20, 0).as_millis(), 400);
        assert_eq!(spread(FIRST, 20, u16::MAX).as_millis(), 600);
    }
}
