//! How often a password may be tried, by whom and from where.

use std::collections::HashMap;
use std::net::IpAddr;

/// Tries that failed are forgotten so long after the first of them, in seconds.
const WINDOW: i64 = 15 * 60;
/// How many accounts and sources are remembered; with more, the oldest are forgotten.
const MARKS_MAX: usize = 8192;
/// Tries of one source at one account; of one source; at one account, wherever from: more than that are nobody's own
/// forgetfulness.
const PASSWORDS: [u32; 3] = [5, 30, 50];
/// Codes that one source may ask for; there are no accounts yet.
const DEVICES: [u32; 3] = [30, 30, 1000];

/// Where someone is: an address, of IPv6 its /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(Option<IpAddr>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Mark {
    Pair(String, Source),
    Source(Source),
    Account(String),
}

/// Counts tries that failed. It is in memory: a restart forgives.
#[derive(Debug)]
pub(crate) struct Throttle(HashMap<Mark, (u32, i64)>, [u32; 3]);

impl Source {
    pub(crate) fn new(address: Option<IpAddr>) -> Self {
        Self(address.map(|it| match it {
            IpAddr::V4(_) => it,
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        }))
    }
}

impl Throttle {
    pub(crate) fn of_passwords() -> Self {
        Self(HashMap::new(), PASSWORDS)
    }

    pub(crate) fn of_devices() -> Self {
        Self(HashMap::new(), DEVICES)
    }

    fn marks(&self, account: &str, source: Source) -> [(Mark, u32); 3] {
        let [pair, one, all] = self.1;
        [
            (Mark::Pair(account.to_owned(), source), pair),
            (Mark::Source(source), one),
            (Mark::Account(account.to_owned()), all),
        ]
    }

    /// Counts a try before it is made, so that many at once count too.
    ///
    /// # Errors
    ///
    /// After how many seconds to come back.
    pub(crate) fn begin(&mut self, account: &str, source: Source, now: i64) -> Result<(), i64> {
        let marks = self.marks(account, source);
        let left = |since: i64| (since + WINDOW - now).clamp(1, WINDOW);
        let full = marks.iter().filter_map(|(mark, most)| {
            let (count, since) = self.0.get(mark).copied().filter(|it| is_fresh(it.1, now))?;
            (count >= *most).then(|| left(since))
        });
        if let Some(wait) = full.max() {
            return Err(wait);
        }
        if self.0.len() + marks.len() > MARKS_MAX {
            self.forget(now);
        }
        for (mark, _) in marks {
            let entry = self.0.entry(mark).or_insert((0, now));
            if !is_fresh(entry.1, now) {
                *entry = (0, now);
            }
            entry.0 += 1;
        }
        Ok(())
    }

    /// The try did not fail.
    pub(crate) fn succeed(&mut self, account: &str, source: Source) {
        for (mark, _) in self.marks(account, source) {
            if matches!(mark, Mark::Pair(..)) {
                self.0.remove(&mark);
            } else if let Some(entry) = self.0.get_mut(&mark) {
                entry.0 = entry.0.saturating_sub(1);
            }
        }
    }

    fn forget(&mut self, now: i64) {
        self.0.retain(|_, (_, since)| is_fresh(*since, now));
        if self.0.len() + 3 > MARKS_MAX {
            let mut starts: Vec<i64> = self.0.values().map(|it| it.1).collect();
            starts.sort_unstable();
            let middle = starts[starts.len() / 2];
            self.0.retain(|_, (_, since)| *since > middle);
        }
    }
}

/// A clock that was set back makes none last for ever.
fn is_fresh(since: i64, now: i64) -> bool {
    (since - WINDOW..since + WINDOW).contains(&now)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{MARKS_MAX, PASSWORDS, Source, Throttle, WINDOW};

    fn at(last: u8) -> Source {
        Source::new(Some([10, 0, 0, last].into()))
    }

    #[test]
    fn the_sixth_try_of_a_source_at_an_account_waits() {
        let mut throttle = Throttle::of_passwords();
        for second in 0..5 {
            throttle.begin("alice", at(1), second).unwrap();
        }
        assert_eq!(throttle.begin("alice", at(1), 5), Err(WINDOW - 5));
        throttle.begin("alice", at(2), 5).unwrap();
        throttle.begin("bob", at(1), 5).unwrap();
        throttle.begin("alice", at(1), WINDOW).unwrap();
    }

    #[test]
    fn who_knows_the_password_is_not_counted() {
        let mut throttle = Throttle::of_passwords();
        for second in 0..1000 {
            throttle.begin("alice", at(1), second).unwrap();
            throttle.succeed("alice", at(1));
        }
    }

    #[test]
    fn many_sources_at_one_account_wait_too_and_memory_is_bounded() {
        let mut throttle = Throttle::of_passwords();
        for last in 0..PASSWORDS[2] {
            throttle.begin("alice", at(u8::try_from(last).unwrap()), 0).unwrap();
        }
        assert!(throttle.begin("alice", at(200), 1).is_err());
        for number in 0..10_000 {
            let source = Source::new(Some(std::net::IpAddr::from(u32::to_be_bytes(number))));
            throttle.begin(&number.to_string(), source, i64::from(number / 100)).unwrap();
        }
        assert!(throttle.0.len() <= MARKS_MAX);
    }

    #[test]
    fn of_ipv6_the_network_counts() {
        let source = |it: &str| Source::new(Some(it.parse().unwrap()));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}
