//! What one source may have at once: connections, and requests a second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Sources that are remembered at once. When it is full, those that left and have all their requests again are
/// forgotten; one more is turned away.
const SOURCES_MAX: usize = 65_536;

/// What each source may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Connections at once.
    pub(crate) connections: u32,
    /// Requests a second, over time.
    pub(crate) rate: u32,
    /// Requests at once, after a pause.
    pub(crate) burst: u32,
}

/// Everyone who has a connection, or had one a moment ago.
#[derive(Debug)]
pub(crate) struct Sources {
    allowance: Allowance,
    known: Mutex<HashMap<IpAddr, Arc<Source>>>,
}

#[derive(Debug)]
struct Source(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    open: u32,
    bucket: Bucket,
}

/// A token bucket: as long as requests come no faster than the rate it is empty.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When all requests of the past are paid for.
    paid_at: Instant,
}

/// A source's place for one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    source: Arc<Source>,
    allowance: Allowance,
}

impl Bucket {
    /// Takes one request, if there is one left.
    fn take(&mut self, now: Instant, allowance: Allowance) -> bool {
        let price = Duration::from_secs(1) / allowance.rate.max(1);
        let paid_at = self.paid_at.max(now) + price;
        let fits = paid_at - now <= price * allowance.burst.max(1);
        if fits {
            self.paid_at = paid_at;
        }
        fits
    }
}

impl Source {
    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sources {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self { allowance, known: Mutex::default() }
    }

    /// A place for one more connection from there.
    pub(crate) fn take_place(&self, address: IpAddr, now: Instant) -> Option<Place> {
        let address = source_of(address);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SOURCES_MAX && !known.contains_key(&address) {
            known.retain(|_, it| it.with(|it| it.open > 0 || it.bucket.paid_at > now));
            if known.len() >= SOURCES_MAX {
                return None;
            }
        }
        let new = || Arc::new(Source(Mutex::new(State { open: 0, bucket: Bucket { paid_at: now } })));
        let source = Arc::clone(known.entry(address).or_insert_with(new));
        let taken = source.with(|it| {
            let free = it.open < self.allowance.connections;
            it.open += u32::from(free);
            free
        });
        taken.then(|| Place { source, allowance: self.allowance })
    }
}

impl Place {
    /// Whether its source may ask now.
    pub(crate) fn may_ask(&self, now: Instant) -> bool {
        self.source.with(|it| it.bucket.take(now, self.allowance))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.source.with(|it| it.open -= 1);
    }
}

/// One machine has a whole /64 of IPv6 addresses to come from.
fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => Ipv6Addr::from(u128::from(it) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Allowance, SOURCES_MAX, Sources};

    fn sources(connections: u32, rate: u32, burst: u32) -> Sources {
        Sources::new(Allowance { connections, rate, burst })
    }

    #[test]
    fn a_source_has_its_places_and_gets_them_back() {
        let (sources, now) = (sources(2, 1, 1), Instant::now());
        let take = |it: &str| sources.take_place(it.parse().unwrap(), now);
        let first = take("fd00::1");
        let second = take("fd00::2");
        assert!(first.is_some() && second.is_some() && take("fd00::3").is_none());
        assert!(take("fd00:0:0:1::1").is_some() && take("10.0.0.1").is_some());
        drop(first);
        assert!(take("fd00::3").is_some());
    }

    #[test]
    fn a_source_asks_so_often_whatever_its_connections() {
        let (sources, now) = (sources(9, 10, 3), Instant::now());
        let take = || sources.take_place("10.0.0.1".parse().unwrap(), now).unwrap();
        let (one, other) = (take(), take());
        assert!(one.may_ask(now) && other.may_ask(now) && one.may_ask(now));
        assert!(!one.may_ask(now) && !other.may_ask(now));
        let later = now + Duration::from_millis(100);
        assert!(other.may_ask(later) && !one.may_ask(later));
        // A new connection begins where the last one left off, and who waits has the whole burst again.
        drop((one, other));
        let place = take();
        assert!(!place.may_ask(later));
        let rested = now + Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| place.may_ask(rested)).count(), 3);
        assert!(sources.take_place("10.0.0.2".parse().unwrap(), now).unwrap().may_ask(now));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_left() {
        let (sources, now) = (sources(1, 1, 1), Instant::now());
        let address = |it: usize| Ipv4Addr::from(u32::try_from(it).unwrap()).into();
        let places: Vec<_> =
            (0..SOURCES_MAX).map(|it| sources.take_place(address(it), now).unwrap()).collect();
        assert!(sources.take_place(address(SOURCES_MAX), now).is_none());
        assert!(places[0].may_ask(now));
        drop(places);
        assert!(sources.take_place(address(SOURCES_MAX), now).is_some());
        // The first has asked and not rested, so it is known still.
        assert!(!sources.take_place(address(0), now).unwrap().may_ask(now));
    }
}
