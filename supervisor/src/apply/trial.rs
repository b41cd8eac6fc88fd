//! A generation on trial: confirmed, turned back, or found by a supervisor that was started anew.

use anyhow::{Context as _, anyhow};
use domain::{Document, event};

use super::steps::guard;
use super::{Applier, Author, Options, Refused};
use crate::clock::boottime_us;
use crate::generations::{Pending, Stage};
use crate::job::Job;
use crate::log::event;
use crate::secrets;
use crate::systemd::Verb;

impl Applier {
    /// Keeps the generation that waits, 0 for whichever that is.
    ///
    /// # Errors
    ///
    /// If none waits, or its time is over.
    pub(crate) async fn confirm(&self, generation: u64) -> Result<u64, Refused> {
        let pending = self.waiting(generation)?;
        match pending.stage {
            Stage::Waiting => {
                self.keep(pending.generation).await.map_err(Refused::Step)?;
                Ok(pending.generation)
            }
            Stage::Applying => {
                let number = pending.generation;
                Err(Refused::Busy(format!(
                    "generation {number} is still being applied; confirm it after that"
                )))
            }
            Stage::Reverting => {
                let number = pending.generation;
                Err(Refused::Step(anyhow!("generation {number} is being turned back: {}", pending.why)))
            }
        }
    }

    fn waiting(&self, generation: u64) -> Result<Pending, Refused> {
        let pending = self.generations.pending().filter(|it| generation == 0 || it.generation == generation);
        pending.ok_or_else(|| {
            let what =
                if generation == 0 { "no generation".to_owned() } else { format!("generation {generation}") };
            let verb = if generation == 0 { "waits" } else { "does not wait" };
            let hint = "see `pilotctl config history`";
            Refused::Document(format!("{what} {verb} to be confirmed; {hint}"))
        })
    }

    /// Puts an earlier generation's document in force again, as a new generation; 0 turns back the one that is on
    /// trial.
    ///
    /// # Errors
    ///
    /// If there is no such generation, or it cannot be applied.
    pub(crate) async fn roll_back(
        &self,
        generation: u64,
        author: &Author,
        options: &Options,
        job: &Job,
    ) -> Result<u64, Refused> {
        if generation != 0 {
            let text = self.generations.read(generation);
            let text = text.map_err(|error| Refused::Document(format!("{error:#}")))?;
            return self.apply(&text, author, options, job).await;
        }
        let pending = self.waiting(0)?;
        let base = pending.base.ok_or_else(|| Refused::Busy("the head is being set up".to_owned()))?;
        let why = format!("{} rolled it back", author.name);
        let turned = self.generations.turn_back(pending.generation, &why).map_err(Refused::Step)?;
        if turned.is_some() {
            self.reach(job, 50, "The generation before it is put back.").await;
            let back = self.await_guard(pending.generation).await;
            self.rest();
            back.map_err(Refused::Step)?;
            // One that was being applied ends now too, since nothing puts it in force any more.
            drop(self.busy.lock().await);
        }
        Ok(base)
    }

    /// Takes up what an earlier supervisor left when it ended.
    pub(crate) async fn resume(&self) {
        let pending = self.generations.pending();
        if let Err(error) = secrets::remove_all_but(&self.files.run, pending.as_ref().map(|it| it.generation))
        {
            log::error!("{error:#}");
        }
        let Some(pending) = pending else { return };
        let _one = self.busy.lock().await;
        let generation = pending.generation;
        let job = match self.jobs.begin("resume", "").await {
            Ok(job) => job,
            Err(error) => return log::error!("generation {generation} cannot be taken up: {error}"),
        };
        let ended = self.take_up(&pending, &job).await.map_err(|error| format!("{error:#}"));
        if let Err(error) = &ended {
            event!(event::CONFIG_REFUSED, PILOTHOUSE_GENERATION = generation;
                "generation {generation} could not be applied: {error}");
        }
        self.rest();
        self.jobs.end(&job, ended.map(|()| generation)).await;
    }

    async fn take_up(&self, pending: &Pending, job: &Job) -> anyhow::Result<()> {
        let generation = pending.generation;
        let secrets = secrets::read(&self.files.run, generation)?;
        if pending.base.is_none() {
            let Some(secrets) = secrets else {
                // The machine was cut off in its set-up: without the secrets it would end up without BMC account.
                log::warn!("the set-up was cut off before its end; the questions come back");
                let why = "the machine was restarted before the end of the set-up";
                return self.generations.forget(generation, "failed", why);
            };
            log::info!("the set-up goes on with generation {generation}");
            let document = self.parse(generation)?;
            return self.see_through(pending, &document, &secrets, job).await;
        }
        if pending.is_over(&self.files.boot, boottime_us()) {
            let why = if pending.boot == self.files.boot {
                "it was not in force when its time was over"
            } else {
                "the machine was restarted before it was in force"
            };
            self.reach(job, 50, "The generation before it is put back.").await;
            self.generations.turn_back(generation, why)?;
            return self.await_guard(generation).await;
        }
        if pending.stage == Stage::Waiting {
            // It stands already, unless it was killed too.
            return self.systemd.run(Verb::Start, &guard(generation), super::steps::GUARD_MAX).await;
        }
        log::info!(
            "generation {generation} was being applied when the supervisor ended; it is taken up again"
        );
        let document = self.parse(generation)?;
        self.see_through(pending, &document, &secrets.unwrap_or_default(), job).await
    }

    fn parse(&self, generation: u64) -> anyhow::Result<Document> {
        let text = self.generations.read(generation)?;
        Document::parse(&text).with_context(|| format!("parse generation {generation}"))
    }
}
