//! How many accounts came from an address within the hour; bounded, since anybody may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// The window, in seconds.
const WINDOW_S: u64 = 3600;
/// Addresses that are counted; when there are more, those longest silent are forgotten.
const SOURCES_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Sources(Mutex<HashMap<Option<IpAddr>, (u64, u32)>>);

impl Sources {
    /// Counts one more; whether it is within the limit. IPv6 counts by /64.
    pub(crate) fn take(&self, address: Option<IpAddr>, limit: u32, now_s: u64) -> bool {
        let address = address.map(|it| match it {
            IpAddr::V6(it) => IpAddr::from((u128::from(it) & !u128::from(u64::MAX)).to_be_bytes()),
            v4 @ IpAddr::V4(_) => v4,
        });
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= SOURCES_MAX && !counts.contains_key(&address) {
            counts.retain(|_, (since, _)| now_s.saturating_sub(*since) < WINDOW_S);
            let oldest = counts.iter().min_by_key(|it| it.1.0).map(|it| *it.0);
            if let Some(oldest) = oldest.filter(|_| counts.len() >= SOURCES_MAX) {
                counts.remove(&oldest);
            }
        }
        let (since, count) = counts.entry(address).or_insert((now_s, 0));
        if now_s.saturating_sub(*since) >= WINDOW_S {
            (*since, *count) = (now_s, 0);
        }
        *count = count.saturating_add(1);
        *count <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::{SOURCES_MAX, Sources};
    use std::net::IpAddr;

    #[test]
    fn one_address_is_bounded_and_the_others_are_not() {
        let sources = Sources::default();
        let (one, other) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        assert!(sources.take(one, 2, 0) && sources.take(one, 2, 1) && !sources.take(one, 2, 2));
        assert!(sources.take(other, 2, 2) && !sources.take(one, 2, 3599) && sources.take(one, 2, 3600));
        for number in 0..2 * SOURCES_MAX {
            let number = u32::try_from(number).unwrap_or(0);
            assert!(sources.take(Some(IpAddr::from(number.to_be_bytes())), 1, 3601));
        }
        assert!(sources.0.lock().is_ok_and(|it| it.len() <= SOURCES_MAX));
    }
}
