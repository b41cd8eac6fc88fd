//! Who made which generation, and what became of it.

use serde::{Deserialize, Serialize};

use super::{Generations, Stage};

/// Who made a generation, when, why, and what it was based on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Seconds of the UNIX clock.
    pub(crate) time_s: u64,
    /// The caller's uid, and the name of its account.
    pub(crate) uid: u32,
    pub(crate) author: String,
    /// In the author's words.
    pub(crate) reason: String,
    /// What was in force then.
    pub(crate) base: Option<u64>,
}

/// What became of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// `applied`, `reverted`, `failed`, `cancelled`.
    pub(crate) state: String,
    /// Seconds of the UNIX clock.
    pub(crate) time_s: u64,
    /// Why.
    pub(crate) detail: String,
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) generation: u64,
    pub(crate) about: About,
    pub(crate) outcome: Outcome,
}

impl Generations {
    /// Every generation that is kept, in order.
    pub(crate) fn history(&self) -> Vec<Entry> {
        let (pending, scheduled) = (self.pending(), self.scheduled());
        let numbers = self.numbers().unwrap_or_default();
        let entry = |generation| {
            let about = self.json(&format!("{generation}/about.json")).unwrap_or_default();
            let mut outcome: Outcome = self.json(&format!("{generation}.outcome")).unwrap_or_default();
            if let Some(pending) = pending.as_ref().filter(|it| it.generation == generation) {
                let state = match pending.stage {
                    Stage::Applying => "applying",
                    Stage::Waiting => "waiting",
                    Stage::Reverting => "reverting",
                };
                (outcome.state, outcome.detail) = (state.to_owned(), pending.why.clone());
            } else if self.applied() == Some(generation) {
                "in force".clone_into(&mut outcome.state);
            } else if scheduled.as_ref().is_some_and(|it| it.generation == generation) {
                "scheduled".clone_into(&mut outcome.state);
            }
            Entry { generation, about, outcome }
        };
        numbers.into_iter().map(entry).collect()
    }
}
