//! When keys are made, when they sign, when they go: pure.

use std::time::Duration;

use time::OffsetDateTime;

use crate::config::LIFE_MAX;

/// How long a key is published before it signs. The services hear of it at once; others keep a JWK set as long as
/// its `max-age` says, a minute, and some ask no more often than every five.
pub(crate) const PUBLISH_AHEAD: Duration = Duration::from_secs(600);
/// What is later than this is from a clock that was wrong.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far clocks may be apart.
const SLACK: Duration = Duration::from_secs(60);

/// What is to be done with the keys of one algorithm.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// A new key is made, which signs from then on.
    pub(crate) new: Option<OffsetDateTime>,
    /// These go, by their index.
    pub(crate) drop: Vec<usize>,
}

/// Which key signs, of those that sign from these moments on: the latest that has begun, else the first to begin.
pub(crate) fn signing(starts: &[OffsetDateTime], now: OffsetDateTime) -> Option<usize> {
    let begun = (0..starts.len()).filter(|it| starts[*it] <= now).max_by_key(|it| starts[*it]);
    begun.or_else(|| (0..starts.len()).min_by_key(|it| starts[*it]))
}

/// What is due.
pub(crate) fn plan(starts: &[OffsetDateTime], now: OffsetDateTime, life: Duration) -> Plan {
    let known = |it: &&OffsetDateTime| **it <= now + AHEAD_MAX;
    let newest = starts.iter().filter(known).max().copied();
    let new = match newest {
        None => Some(now),
        Some(newest) => {
            let next = newest + life;
            (next <= now + PUBLISH_AHEAD).then_some(next.max(now + PUBLISH_AHEAD))
        }
    };
    // Its last token has ended, and another has signed since.
    let gone = |start: &OffsetDateTime| {
        starts.iter().any(|later| later > start && *later + LIFE_MAX + SLACK <= now)
            || (*start > now + AHEAD_MAX && (newest.is_some() || new.is_some()))
    };
    Plan { new, drop: (0..starts.len()).filter(|it| gone(&starts[*it])).collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::{LIFE_MAX, PUBLISH_AHEAD, plan, signing};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn through_a_year_every_token_can_be_verified() {
        let (mut now, life) = (OffsetDateTime::UNIX_EPOCH + DAY, DAY * 30);
        let (mut keys, mut made) = (Vec::<OffsetDateTime>::new(), 0);
        // When each key was first seen by others, and until when its last token lives.
        let mut published = std::collections::HashMap::new();
        let mut needed = std::collections::HashMap::new();
        for _ in 0..(365 * 24 * 6) {
            let due = plan(&keys, now, life);
            for index in due.drop.into_iter().rev() {
                let gone = keys.remove(index);
                assert!(needed[&gone] < now, "a key went before its last token");
            }
            if let Some(start) = due.new {
                keys.push(start);
                published.insert(start, now);
                made += 1;
            }
            let signs = keys[signing(&keys, now).expect("a key")];
            assert!(made == 1 || published[&signs] + PUBLISH_AHEAD <= now, "it signs before others know it");
            needed.insert(signs, now + LIFE_MAX);
            assert!((1..=2).contains(&keys.len()), "{keys:?}");
            now += Duration::from_secs(600);
        }
        assert_eq!(made, 13);
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_back_leaves_a_key_that_signs() {
        let (now, life) = (OffsetDateTime::UNIX_EPOCH + DAY * 9, DAY * 30);
        let later = now + DAY * 3650;
        let mut keys = vec![now];
        keys.extend(plan(&keys, later, life).new);
        assert_eq!(plan(&keys, later, life).drop, Vec::<usize>::new(), "nothing goes at once");
        assert_eq!(signing(&keys, now), Some(0));
        assert_eq!(plan(&keys, now, life).drop, [1], "what the wrong clock made goes");
        // The right ones went meanwhile.
        let only = [later];
        let due = plan(&only, now, life);
        assert_eq!((due.new, due.drop), (Some(now), vec![0]));
        assert_eq!(signing(&keys, now - DAY), Some(0), "a day back the first one signs");
    }

    #[test]
    fn the_head_was_off_for_long() {
        let now = OffsetDateTime::UNIX_EPOCH + DAY * 100;
        let due = plan(&[OffsetDateTime::UNIX_EPOCH], now, DAY * 30);
        assert_eq!(due.new, Some(now + PUBLISH_AHEAD));
        assert_eq!(due.drop, Vec::<usize>::new());
    }
}
