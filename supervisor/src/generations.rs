//! The numbered generations of the document, which one is in force, and which one is on trial.
//!
//! ```text
//! 3/pilothouse.toml   a generation; never changed once it is there
//! 3/about.json        who made it, when, why, and what it was based on
//! 3.outcome           what became of it
//! pending             the one that is being applied, waits to be confirmed, or is being turned back
//! applied             the number of the one in force
//! scheduled           the one that is to be applied later
//! ```
//!
//! Two processes decide here: the supervisor, and root's `revert`, which acts without it. Each decision is one
//! step under a lock of the folder, so a generation that was confirmed is never turned back and one that is
//! being turned back is never confirmed.

mod files;
mod history;

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::clock::unix_s;

pub(crate) use files::DOCUMENT_MAX;
pub(crate) use history::{About, Entry, Outcome};

/// Generations that are kept, besides the one in force.
const KEPT: u64 = 100;

/// The folder of the generations.
#[derive(Clone, Debug)]
pub(crate) struct Generations(PathBuf);

/// A generation that is not yet in force for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// Its number.
    pub(crate) generation: u64,
    /// The one that is put back if it fails; none as long as the head is not set up.
    pub(crate) base: Option<u64>,
    /// In which boot of the machine it is on trial.
    pub(crate) boot: String,
    /// Until when, in microseconds of CLOCK_BOOTTIME.
    pub(crate) deadline_us: u64,
    /// Whether somebody must confirm it.
    pub(crate) confirm: bool,
    /// How far it is.
    pub(crate) stage: Stage,
    /// Why it is turned back.
    #[serde(default)]
    pub(crate) why: String,
    /// Whether the base's files were put back before the services of this boot were started.
    #[serde(default)]
    pub(crate) restored: bool,
}

/// How far a pending generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Files are written, services restarted.
    Applying,
    /// All runs; somebody must confirm it.
    Waiting,
    /// Its base is put back.
    Reverting,
}

/// A generation that is to be applied at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scheduled {
    /// Its number.
    pub(crate) generation: u64,
    /// When: seconds of the UNIX clock.
    pub(crate) at_s: u64,
    /// What was in force when it was handed in; it must be so still.
    pub(crate) base: u64,
    /// Within how many seconds somebody must confirm it then.
    pub(crate) confirm_s: Option<u64>,
    /// Whether a freeze does not keep it.
    pub(crate) override_freeze: bool,
}

impl Pending {
    /// Whether its time is over: that of its deadline, or of the boot that it was tried in.
    pub(crate) fn is_over(&self, boot: &str, now_us: u64) -> bool {
        self.stage == Stage::Reverting || self.boot != boot || now_us >= self.deadline_us
    }
}

impl Generations {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The number of the generation in force, if there is one.
    pub(crate) fn applied(&self) -> Option<u64> {
        self.text("applied")?.trim().parse().ok()
    }

    /// The generation that is on trial, if there is one. What is in force for good is on trial no more, even if a
    /// cut left its mark.
    pub(crate) fn pending(&self) -> Option<Pending> {
        let pending: Pending = self.json("pending")?;
        (self.applied() != Some(pending.generation)).then_some(pending)
    }

    /// What is to be applied later.
    pub(crate) fn scheduled(&self) -> Option<Scheduled> {
        self.json("scheduled")
    }

    /// Puts a generation on trial.
    ///
    /// # Errors
    ///
    /// If another one is, or the folder cannot be written.
    pub(crate) fn begin(&self, pending: &Pending) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        if let Some(other) = self.pending() {
            bail!("generation {} is not in force yet", other.generation);
        }
        self.put_json("pending", pending)
    }

    /// Says that a generation on trial does what it should and waits to be confirmed.
    ///
    /// # Errors
    ///
    /// If it is on trial no more, or the folder cannot be written.
    pub(crate) fn arrive(&self, generation: u64, now_us: u64) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let pending = self.on_trial(generation, now_us)?;
        self.put_json("pending", &Pending { stage: Stage::Waiting, ..pending })
    }

    /// Says that a generation on trial is in force for good.
    ///
    /// # Errors
    ///
    /// If it is on trial no more, or the folder cannot be written.
    pub(crate) fn commit(&self, generation: u64, now_us: u64) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        self.on_trial(generation, now_us)?;
        // This is the moment; a cut after it leaves a mark `pending` that counts no more.
        self.put("applied", format!("{generation}\n").as_bytes())?;
        self.write_outcome(generation, "applied", "")?;
        self.remove("pending")
    }

    fn on_trial(&self, generation: u64, now_us: u64) -> anyhow::Result<Pending> {
        let pending = self.pending().filter(|it| it.generation == generation);
        let pending = pending.with_context(|| format!("generation {generation} is not on trial any more"))?;
        let over = pending.stage == Stage::Reverting || now_us >= pending.deadline_us;
        ensure!(!over, "the time of generation {generation} is over; the one before it is put back");
        Ok(pending)
    }

    /// Says that a generation is being turned back; nothing puts it in force after that. None if it is on trial no
    /// more.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn turn_back(&self, generation: u64, why: &str) -> anyhow::Result<Option<Pending>> {
        let _lock = self.lock()?;
        let Some(pending) = self.pending().filter(|it| it.generation == generation) else { return Ok(None) };
        if pending.stage == Stage::Reverting {
            return Ok(Some(pending));
        }
        let pending = Pending { stage: Stage::Reverting, why: why.to_owned(), ..pending };
        self.put_json("pending", &pending)?;
        Ok(Some(pending))
    }

    /// Says that the files of the base are in their places again, before any service of this boot was started.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn mark_restored(&self, pending: &Pending) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        self.put_json("pending", &Pending { restored: true, ..pending.clone() })
    }

    /// Says that nothing of a generation is left: it was turned back, or there was nothing to turn back to.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn forget(&self, generation: u64, state: &str, why: &str) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        if self.applied() != Some(generation) {
            self.write_outcome(generation, state, why)?;
        }
        let pending: Option<Pending> = self.json("pending");
        if pending.is_some_and(|it| it.generation == generation) { self.remove("pending") } else { Ok(()) }
    }

    /// Keeps a generation for later, or nothing any more.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn schedule(&self, scheduled: Option<&Scheduled>) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        match scheduled {
            Some(it) => self.put_json("scheduled", it),
            None => self.remove("scheduled"),
        }
    }

    fn write_outcome(&self, generation: u64, state: &str, detail: &str) -> anyhow::Result<()> {
        let outcome = Outcome { state: state.to_owned(), time_s: unix_s(), detail: detail.to_owned() };
        self.put_json(&format!("{generation}.outcome"), &outcome)
    }

    /// Held for as long as what it gives lives.
    fn lock(&self) -> anyhow::Result<Flock<File>> {
        let folder = File::open(&self.0).context("open the folder of the configuration")?;
        let locked = Flock::lock(folder, FlockArg::LockExclusive);
        locked.map_err(|(_, error)| error).context("lock the folder of the configuration")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
