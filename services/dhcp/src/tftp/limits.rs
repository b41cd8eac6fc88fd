//! How often one address may ask. Pure: time is an argument.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Requests of one address at once,
const BURST: f64 = 1024.0;
/// and in a second from then on. Behind one address may be a whole rack.
const PER_SECOND: f64 = 256.0;
/// Addresses that are remembered; beyond it, those that have asked for nothing lately are forgotten.
const SOURCES_MAX: usize = 16_384;

/// They are looked through so often at most.
const FORGET_EVERY: Duration = Duration::from_millis(200);

/// What each address may still ask.
#[derive(Debug, Default)]
pub(super) struct Rates {
    sources: HashMap<Ipv4Addr, (f64, Instant)>,
    forgot: Option<Instant>,
}

impl Rates {
    /// Whether this address may ask now; if so, it has.
    pub(super) fn take(&mut self, source: Ipv4Addr, now: Instant) -> bool {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.forget(now);
            if self.sources.len() >= SOURCES_MAX {
                return false;
            }
        }
        let (left, last) = self.sources.entry(source).or_insert((BURST, now));
        *left = (*left + now.duration_since(*last).as_secs_f64() * PER_SECOND).min(BURST);
        *last = now;
        let may = *left >= 1.0;
        if may {
            *left -= 1.0;
        }
        may
    }

    /// Forgets those that may ask as much as anybody again.
    fn forget(&mut self, now: Instant) {
        if self.forgot.is_none_or(|it| now.duration_since(it) >= FORGET_EVERY) {
            let full = Duration::from_secs_f64(BURST / PER_SECOND);
            self.sources.retain(|_, it| now.duration_since(it.1) < full);
            self.forgot = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, Instant};

    use super::{Rates, SOURCES_MAX};

    #[test]
    fn one_address_keeps_no_other_from_asking() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let busy = Ipv4Addr::new(10, 0, 0, 1);
        let asked = (0..5000).filter(|_| rates.take(busy, now)).count();
        assert_eq!(asked, 1024);
        assert!(rates.take(Ipv4Addr::new(10, 0, 0, 2), now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..5000).filter(|_| rates.take(busy, later)).count(), 256);
    }

    #[test]
    fn a_storm_of_addresses_takes_bounded_memory() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let taken = (0..100_000).filter(|it| rates.take(Ipv4Addr::from_bits(*it), now)).count();
        assert_eq!(taken, SOURCES_MAX);
        assert!(rates.take(Ipv4Addr::new(10, 0, 0, 2), now + Duration::from_secs(5)));
        assert!(rates.sources.len() <= SOURCES_MAX);
    }
}
