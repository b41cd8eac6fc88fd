//! How many nodes are switched on within a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Gives out moments, evenly spread.
pub(super) struct Inrush {
    every: Option<Duration>,
    next: Mutex<Option<Instant>>,
}

impl Inrush {
    /// So many a second; 0: as many as come.
    pub(super) fn new(per_second: u32) -> Self {
        let every = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        Self { every, next: Mutex::default() }
    }

    /// The moment of the next one, from `now` on; none if it would be later than `until`, and then none is taken.
    pub(super) fn reserve(&self, now: Instant, until: Option<Instant>) -> Option<Instant> {
        let Some(every) = self.every else { return Some(now) };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.map_or(now, |it| it.max(now));
        if until.is_some_and(|it| at > it) {
            return None;
        }
        *next = Some(at + every);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Inrush, Instant};

    #[test]
    fn moments_are_spread_and_none_is_kept_for_later() {
        let (inrush, now) = (Inrush::new(10), Instant::now());
        let tenth = Duration::from_millis(100);
        assert_eq!(inrush.reserve(now, None), Some(now));
        assert_eq!(inrush.reserve(now, None), Some(now + tenth));
        assert_eq!(inrush.reserve(now, Some(now + tenth)), None);
        assert_eq!(inrush.reserve(now, None), Some(now + tenth * 2));
        // An hour without any does not let a thousand in at once.
        let later = now + Duration::from_secs(3600);
        assert_eq!(inrush.reserve(later, None), Some(later));
        assert_eq!(inrush.reserve(later, None), Some(later + tenth));
        let free = Inrush::new(0);
        assert_eq!(free.reserve(now, None), Some(now));
        assert_eq!(free.reserve(now, None), Some(now));
    }
}
