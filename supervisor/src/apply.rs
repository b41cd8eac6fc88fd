//! From a document to a head that does what it says, as one transaction: check, guard, write, restart, wait, mark.
//! What fails, or is not confirmed in time, gives way to the generation before it.
//!
//! Every step can be done twice. A supervisor that ended in the middle finds the mark `pending` and goes on; the
//! guard, root's process `revert`, waits beside it and needs nobody.

mod later;
mod steps;
mod trial;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::Document;
use domain::document::Answer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::MutexGuard;

use crate::clock::unix_s;
use crate::generations::{About, Generations};
use crate::job::{Job, Jobs};
use crate::registry::Registry;
use crate::systemd::Systemd;
use crate::{check, diff};

/// The uid of pilothouse-firstboot.
const FIRSTBOOT_UID: u32 = 831;
/// How long to wait for another one that is about to end.
const TAKE_MAX: Duration = Duration::from_secs(2);

/// Why a document is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It does not hold; nothing was changed.
    #[error("{0}")]
    Document(String),
    /// Another one came between; nothing was changed.
    #[error("{0}")]
    Superseded(String),
    /// The site wants nothing changed now.
    #[error("{0}")]
    Frozen(String),
    /// Another one is under way.
    #[error("{0}")]
    Busy(String),
    /// A step failed.
    #[error("the configuration could not be applied")]
    Step(#[source] anyhow::Error),
}

impl Refused {
    /// The whole of it, for people.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Step(error) => format!("{self}: {error:#}"),
            other => other.to_string(),
        }
    }
}

/// Where the supervisor's files are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The program `pilothouse`.
    pub(crate) pilothouse: PathBuf,
    /// A folder in memory that is ours alone.
    pub(crate) run: PathBuf,
    /// The services' sockets.
    pub(crate) sockets: PathBuf,
    /// The mark that the head is set up.
    pub(crate) marker: PathBuf,
    /// Which boot of the machine this is.
    pub(crate) boot: String,
}

/// Who asks for something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Author {
    pub(crate) uid: u32,
    pub(crate) name: String,
}

/// How a document is to be applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The generation that it was made from, 0 for none.
    pub(crate) base: Option<u64>,
    /// Why, in the author's words.
    pub(crate) reason: String,
    /// Within which time it must be confirmed.
    pub(crate) confirm_within: Option<Duration>,
    /// When, in seconds of the UNIX clock, if not now.
    pub(crate) at_s: Option<u64>,
    /// Whether a freeze does not keep it.
    pub(crate) override_freeze: bool,
}

/// Applies documents, one at a time.
#[derive(Debug)]
pub(crate) struct Applier {
    files: Files,
    generations: Generations,
    systemd: Systemd,
    registry: Registry,
    jobs: Jobs,
    busy: tokio::sync::Mutex<()>,
    step: Mutex<String>,
}

impl Applier {
    pub(crate) fn new(
        files: Files,
        generations: Generations,
        systemd: Systemd,
        registry: Registry,
        jobs: Jobs,
    ) -> Self {
        let (busy, step) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { files, generations, systemd, registry, jobs, busy, step }
    }

    pub(crate) fn generations(&self) -> &Generations {
        &self.generations
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Whether the head is set up.
    pub(crate) fn is_set_up(&self) -> bool {
        self.files.marker.exists()
    }

    /// Whether this caller may apply without asking polkit.
    pub(crate) fn may_set_up(&self, uid: u32) -> bool {
        uid == FIRSTBOOT_UID && !self.is_set_up()
    }

    /// What is being done, for people.
    pub(crate) fn step(&self) -> String {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why nothing may be changed now, if so.
    pub(crate) fn frozen(&self) -> Option<String> {
        let document = self.document_of(self.generations.applied()?)?;
        let now = OffsetDateTime::now_utc();
        let freeze = document.freeze.into_iter().find(|it| it.covers(now))?;
        let until = freeze.until.format(&Rfc3339).unwrap_or_default();
        Some(format!("the configuration is frozen until {until}: {}", freeze.reason))
    }

    async fn reach(&self, job: &Job, percent: u32, step: &str) {
        log::info!("{step}");
        step.clone_into(&mut self.step.lock().unwrap_or_else(PoisonError::into_inner));
        job.reach(percent, step).await;
    }

    fn rest(&self) {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Applies a document or answer; to its end, whether the caller waits for it or not.
    ///
    /// # Errors
    ///
    /// Why it is not in force.
    pub(crate) async fn apply(
        &self,
        text: &str,
        author: &Author,
        options: &Options,
        job: &Job,
    ) -> Result<u64, Refused> {
        let answer = Answer::parse(text).map_err(|error| Refused::Document(error.to_string()))?;
        let _one = self.hold().await?;
        self.allow(options).await?;
        let applied = self.check_and_apply(&answer, author, options, job).await;
        self.rest();
        applied
    }

    async fn check_and_apply(
        &self,
        answer: &Answer,
        author: &Author,
        options: &Options,
        job: &Job,
    ) -> Result<u64, Refused> {
        self.reach(job, 5, "The document is checked.").await;
        self.check_answer(answer).await?;
        let about = About {
            time_s: unix_s(),
            uid: author.uid,
            author: author.name.clone(),
            reason: options.reason.clone(),
            base: self.generations.applied(),
        };
        if let Some(at_s) = options.at_s {
            return self.keep_for_later(answer, &about, options, at_s);
        }
        let generation = self.generations.add(&answer.text, &about).map_err(Refused::Step)?;
        let (document, secrets) = (&answer.document, &answer.secrets);
        let tried = self.try_out(generation, document, secrets, options.confirm_within, job).await;
        tried.map_err(Refused::Step)?;
        Ok(generation)
    }

    /// Checks a document and changes nothing.
    ///
    /// # Errors
    ///
    /// The first thing that does not hold.
    pub(crate) async fn check(&self, text: &str) -> Result<(), Refused> {
        let answer = Answer::parse(text).map_err(|error| Refused::Document(error.to_string()))?;
        // One at a time: it runs a program for each service.
        let _one = self.take().await?;
        self.check_answer(&answer).await
    }

    async fn check_answer(&self, answer: &Answer) -> Result<(), Refused> {
        let checked = async {
            check::machine(&answer.document)?;
            check::services(&answer.text, &self.files.pilothouse, &self.files.run).await
        };
        checked.await.map_err(|error| Refused::Document(format!("{error:#}")))
    }

    async fn take(&self) -> Result<MutexGuard<'_, ()>, Refused> {
        let busy = "another configuration is being applied; try again when that has ended";
        let one = tokio::time::timeout(TAKE_MAX, self.busy.lock()).await;
        one.map_err(|_| Refused::Busy(busy.to_owned()))
    }

    /// The right to apply, unless another generation is not in force yet.
    async fn hold(&self) -> Result<MutexGuard<'_, ()>, Refused> {
        let one = self.take().await?;
        match self.generations.pending() {
            None => Ok(one),
            Some(pending) => Err(Refused::Busy(format!(
                "generation {} is not in force yet; `pilotctl config confirm` keeps it, `pilotctl config \
                 rollback` puts the one before it back",
                pending.generation
            ))),
        }
    }

    /// Whether a document made from that base may be applied now.
    async fn allow(&self, options: &Options) -> Result<(), Refused> {
        if let Some(why) = self.frozen().filter(|_| !options.override_freeze) {
            let hint = "wait until then, or say --override-freeze and why";
            return Err(Refused::Frozen(format!("{why}; {hint}")));
        }
        let applied = self.generations.applied().unwrap_or(0);
        let Some(base) = options.base.filter(|it| *it != applied) else { return Ok(()) };
        let (old, new) = (self.generations.path(base), self.generations.path(applied));
        let labels = (format!("generation {base}"), format!("generation {applied}"));
        let between =
            diff::unified((labels.0.as_str(), old.as_path()), (labels.1.as_str(), new.as_path())).await;
        let between = between.unwrap_or_else(|error| format!("{error:#}"));
        Err(Refused::Superseded(format!(
            "the document was made from generation {base}, but generation {applied} is in force; take over what \
             came between and apply it again:\n{between}"
        )))
    }

    fn document_of(&self, generation: u64) -> Option<Document> {
        let text = self.generations.read(generation).ok()?;
        Document::parse(&text).ok()
    }
}
