//! What was served to whom: the history of BSS, and what the journal has heard already.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::Xname;
use uuid::Uuid;

use crate::model::Settings;

/// Accesses kept, of all nodes together: five boots of 10,000 nodes.
const HISTORY_MAX: usize = 50_000;
/// How often one stranger is logged.
const STRANGER_EVERY: Duration = Duration::from_secs(60);
/// Strangers remembered; more at once are a flood, and are not logged.
const STRANGERS_MAX: usize = 4096;
/// The same script for the same machine within this time is the same boot: no firmware is back sooner. The journal
/// would otherwise be what bounds the scripts a second.
const BOOT_EVERY: Duration = Duration::from_secs(10);
/// Boots remembered; beyond, all are forgotten and told again.
const BOOTS_MAX: usize = 32_768;

/// All of it. Each part has a lock of its own, held for one look.
#[derive(Debug, Default)]
pub(super) struct Seen {
    history: Mutex<VecDeque<(Xname, i64)>>,
    strangers: Mutex<Strangers>,
    /// By machine: when, and the address of the settings, which is not followed.
    boots: Mutex<HashMap<Box<str>, (Instant, usize)>>,
    /// What nodes have taken of what they boot once, and is still in the table.
    spent: Mutex<HashMap<Uuid, Xname>>,
    /// When nodes last showed that they live, other than by an access, in seconds since 1970.
    lives: Mutex<HashMap<Xname, i64>>,
}

/// When those that wait were last logged.
#[derive(Debug, Default)]
struct Strangers(HashMap<String, Instant>);

impl Seen {
    /// A known node was given a script that boots (recording `bss-script-036`).
    pub(super) fn note_access(&self, node: &Xname, epoch: i64) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= HISTORY_MAX {
            history.pop_front();
        }
        history.push_back((node.clone(), epoch));
    }

    /// Every access that is kept, the oldest first, as `show` shows it.
    pub(super) fn accesses<T>(&self, mut show: impl FnMut(&Xname, i64) -> Option<T>) -> Vec<T> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().filter_map(|(node, epoch)| show(node, *epoch)).collect()
    }

    /// A node has shown that it lives.
    pub(super) fn note_life(&self, node: &Xname, epoch: i64) {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = lives.get_mut(node) {
            *last = epoch;
        } else if lives.len() < BOOTS_MAX {
            lives.insert(node.clone(), epoch);
        }
    }

    /// When each node was last heard of.
    pub(super) fn lives(&self) -> BTreeMap<Xname, i64> {
        let mut all: BTreeMap<Xname, i64> = {
            let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
            lives.iter().map(|(node, epoch)| (node.clone(), *epoch)).collect()
        };
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, epoch) in &*history {
            let last = all.entry(node.clone()).or_insert(*epoch);
            *last = (*last).max(*epoch);
        }
        all
    }

    /// What a node boots once is taken.
    pub(super) fn spend(&self, id: Uuid, node: Xname) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).insert(id, node);
    }

    /// Whether it is taken.
    pub(super) fn is_spent(&self, id: &Uuid) -> bool {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// Everything that is taken and still in the table.
    pub(super) fn spent(&self) -> Vec<(Uuid, Xname)> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.iter().map(|(id, node)| (*id, node.clone())).collect()
    }

    /// It is in the table no more.
    pub(super) fn settle(&self, id: Uuid) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Whether this one was not logged as waiting within the last minute.
    pub(super) fn is_news(&self, name: &str) -> bool {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.is_news(name, Instant::now())
    }

    /// Whether this is another boot than the last one told of.
    pub(super) fn is_new_boot(&self, machine: &str, settings: &Arc<Settings>) -> bool {
        let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
        let boot = (Instant::now(), Arc::as_ptr(settings).addr());
        match boots.get_mut(machine) {
            Some(last) if boot.1 == last.1 && boot.0.duration_since(last.0) < BOOT_EVERY => false,
            Some(last) => {
                *last = boot;
                true
            }
            None => {
                if boots.len() >= BOOTS_MAX {
                    boots.clear();
                }
                boots.insert(machine.into(), boot);
                true
            }
        }
    }
}

impl Strangers {
    fn is_news(&mut self, name: &str, now: Instant) -> bool {
        if self.0.get(name).is_some_and(|it| now.duration_since(*it) < STRANGER_EVERY) {
            return false;
        }
        if self.0.len() >= STRANGERS_MAX {
            self.0.retain(|_, it| now.duration_since(*it) < STRANGER_EVERY);
            if self.0.len() >= STRANGERS_MAX {
                return false;
            }
        }
        self.0.insert(name.to_owned(), now);
        true
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Arc, Duration, HISTORY_MAX, Instant, STRANGERS_MAX, Seen, Settings, Strangers};

    #[test]
    fn a_stranger_is_news_once_a_minute_and_a_flood_is_none() {
        let mut strangers = Strangers::default();
        let start = Instant::now();
        assert!(strangers.is_news("a", start));
        assert!(!strangers.is_news("a", start + Duration::from_secs(59)));
        assert!(strangers.is_news("a", start + Duration::from_secs(61)));
        let known = (0..2 * STRANGERS_MAX).filter(|it| strangers.is_news(&it.to_string(), start)).count();
        assert!(known <= STRANGERS_MAX && strangers.0.len() <= STRANGERS_MAX);
        assert!(strangers.is_news("b", start + Duration::from_secs(200)));
    }

    #[test]
    fn history_forgets_the_oldest() {
        let seen = Seen::default();
        let node = "x1000c1s7b1n0".parse().unwrap();
        (0..HISTORY_MAX as i64 + 5).for_each(|it| seen.note_access(&node, it));
        let all = seen.accesses(|_, epoch| Some(epoch));
        assert_eq!((all.len(), all[0]), (HISTORY_MAX, 5));
    }

    #[test]
    fn a_boot_is_told_once_and_another_one_too() {
        let settings = |kernel: &str| -> Arc<Settings> {
            Arc::new(serde_json::from_value(serde_json::json!({"kernel": kernel})).unwrap())
        };
        let (one, other) = (settings("a"), settings("b"));
        let seen = Seen::default();
        assert!(seen.is_new_boot("x0", &one) && !seen.is_new_boot("x0", &one));
        assert!(seen.is_new_boot("x0", &other) && seen.is_new_boot("x1", &one));
    }
}
