//! The machines that asked and have no address of their own: for the journal, once a minute each, and for a
//! list.

use std::collections::HashMap;

use domain::MacAddr;

use super::Stranger;

/// So many are remembered; the one longest not seen makes room.
const SEEN_MAX: usize = 1000;
/// The journal hears of one machine so often, in seconds.
const LOG_EVERY_S: i64 = 60;
/// And of all together so many times in that time: MACs can be made up faster than a journal can be read.
const LOGS_MAX: u32 = 60;
/// Vendor classes are text of strangers.
const CLASS_MAX: usize = 64;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mac: MacAddr,
    /// Seconds since 1970.
    pub(crate) first: i64,
    /// Seconds since 1970.
    pub(crate) last: i64,
    pub(crate) plane: String,
    pub(crate) vendor_class: String,
    pub(crate) reason: Stranger,
    pub(crate) count: u64,
    /// Which of all packets of strangers was its last.
    number: u64,
    logged: i64,
}

/// Those seen since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unknown {
    seen: HashMap<MacAddr, Seen>,
    count: u64,
    logs: Allowance,
    notes: Allowance,
}

/// So many lines a minute and no more.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    minute: i64,
    used: u32,
}

impl Allowance {
    fn take(&mut self, now: i64) -> bool {
        if self.minute != now / LOG_EVERY_S {
            *self = Self { minute: now / LOG_EVERY_S, used: 0 };
        }
        let granted = self.used < LOGS_MAX;
        self.used += u32::from(granted);
        granted
    }
}

impl Unknown {
    /// Remembers one; says whether the journal should hear of it now.
    pub(crate) fn note(
        &mut self,
        mac: MacAddr,
        plane: &str,
        vendor_class: Option<&[u8]>,
        reason: Stranger,
        now: i64,
    ) -> bool {
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&mac) {
            self.make_room();
        }
        let seen = self.seen.entry(mac).or_insert_with(|| Seen {
            mac,
            first: now,
            last: now,
            plane: String::new(),
            vendor_class: String::new(),
            reason,
            count: 0,
            number: 0,
            logged: i64::MIN / 2,
        });
        self.count += 1;
        seen.number = self.count;
        seen.last = now;
        seen.count += 1;
        seen.reason = reason;
        plane.clone_into(&mut seen.plane);
        if let Some(class) = vendor_class {
            let class = &class[..class.len().min(CLASS_MAX)];
            seen.vendor_class = class
                .iter()
                .map(|it| if it.is_ascii_graphic() || *it == b' ' { char::from(*it) } else { '?' })
                .collect();
        }
        if now - seen.logged < LOG_EVERY_S || !self.logs.take(now) {
            return false;
        }
        seen.logged = now;
        true
    }

    /// Forgets the tenth that was not seen for longest: one look at all for many that come.
    fn make_room(&mut self) {
        let mut numbers: Vec<u64> = self.seen.values().map(|it| it.number).collect();
        let (_, limit, _) = numbers.select_nth_unstable(SEEN_MAX / 10);
        let limit = *limit;
        self.seen.retain(|_, it| it.number > limit);
    }

    /// Whether one more line about what clients do may be written this minute.
    pub(crate) fn may_log(&mut self, now: i64) -> bool {
        self.notes.take(now)
    }

    /// Whether it is remembered as one of them.
    pub(crate) fn is_known_stranger(&self, mac: MacAddr) -> bool {
        self.seen.contains_key(&mac)
    }

    /// Forgets one that is known now.
    pub(crate) fn forget(&mut self, mac: MacAddr) {
        self.seen.remove(&mac);
    }

    /// All, the last seen first.
    pub(crate) fn list(&self) -> Vec<Seen> {
        let mut all: Vec<Seen> = self.seen.values().cloned().collect();
        all.sort_by_key(|it| (std::cmp::Reverse(it.last), it.mac));
        all
    }
}

#[cfg(test)]
mod tests {
    use domain::MacAddr;

    use super::{LOGS_MAX, SEEN_MAX, Unknown};
    use crate::model::Stranger::NotInInventory;

    #[test]
    fn the_journal_hears_once_a_minute() {
        let (mut unknown, mac) = (Unknown::default(), MacAddr::new([2, 0, 0, 0, 0, 1]));
        let heard: Vec<i64> = (0..180)
            .filter(|now| unknown.note(mac, "nodes", Some(b"PXE\x07"), NotInInventory, *now))
            .collect();
        assert_eq!(heard, [0, 60, 120]);
        let list = unknown.list();
        assert_eq!((list[0].first, list[0].last, list[0].count), (0, 179, 180));
        assert_eq!(list[0].vendor_class, "PXE?");
    }

    #[test]
    fn a_flood_fills_neither_memory_nor_the_journal() {
        let mut unknown = Unknown::default();
        let mut logged = 0;
        for it in 0..5000u32 {
            let [_, a, b, c] = it.to_be_bytes();
            let mac = MacAddr::new([2, 0, 0, a, b, c]);
            logged += u32::from(unknown.note(mac, "nodes", None, NotInInventory, i64::from(it / 1000)));
        }
        assert_eq!(logged, LOGS_MAX);
        let remembered = unknown.list().len();
        assert!((SEEN_MAX * 8 / 10..=SEEN_MAX).contains(&remembered), "{remembered}");
        assert_eq!(unknown.list()[0].last, 4);
    }
}
