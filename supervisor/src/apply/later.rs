//! Generations that are to be applied at a time.

use std::time::Duration;

use domain::document::{Answer, Secrets};
use domain::event;

use super::{Applier, Author, Options, Refused};
use crate::clock::unix_s;
use crate::generations::{About, Scheduled};
use crate::log::event;

/// How far ahead an apply may be laid: what is in force then should be somewhat known now.
const AHEAD_MAX_S: u64 = 90 * 86_400;
/// How far back: a time that went by while the document was checked is now.
const PAST_MAX_S: u64 = 60;
/// How late it may be done, because the head was off; later nobody expects it any more.
const LATE_MAX_S: u64 = 3600;

impl Applier {
    /// Keeps a document for its time; it was checked.
    pub(super) fn keep_for_later(
        &self,
        answer: &Answer,
        about: &About,
        options: &Options,
        at_s: u64,
    ) -> Result<u64, Refused> {
        let refuse = |text: String| Err(Refused::Document(text));
        let Some(base) = about.base else {
            return refuse("the head is not set up; apply the document now".to_owned());
        };
        if answer.secrets != Secrets::default() {
            return refuse("secrets are not kept for later; apply this document now".to_owned());
        }
        let now_s = unix_s();
        if !(now_s.saturating_sub(PAST_MAX_S)..now_s + AHEAD_MAX_S).contains(&at_s) {
            return refuse("name a time from now on, within 90 days".to_owned());
        }
        if let Some(other) = self.generations.scheduled() {
            let number = other.generation;
            return refuse(format!(
                "generation {number} is scheduled already; `pilotctl config cancel` forgets it"
            ));
        }
        let kept = || -> anyhow::Result<u64> {
            let generation = self.generations.add(&answer.text, about)?;
            let confirm_s = options.confirm_within.map(|it| it.as_secs());
            let override_freeze = options.override_freeze;
            let scheduled = Scheduled { generation, at_s, base, confirm_s, override_freeze };
            self.generations.schedule(Some(&scheduled))?;
            Ok(generation)
        };
        kept().map_err(Refused::Step)
    }

    /// Forgets what was kept for later.
    ///
    /// # Errors
    ///
    /// If there is nothing.
    pub(crate) fn cancel(&self, author: &Author) -> Result<u64, Refused> {
        let Some(scheduled) = self.generations.scheduled() else {
            return Err(Refused::Document("no generation is scheduled".to_owned()));
        };
        let generation = scheduled.generation;
        let why = format!("{} cancelled it", author.name);
        let cancelled = self.generations.schedule(None);
        let cancelled = cancelled.and_then(|()| self.generations.forget(generation, "cancelled", &why));
        cancelled.map_err(Refused::Step)?;
        Ok(generation)
    }

    /// Applies what was kept, when its time has come.
    pub(crate) async fn keep_appointment(&self) {
        let Some(scheduled) = self.generations.scheduled() else { return };
        let (now_s, generation) = (unix_s(), scheduled.generation);
        if now_s < scheduled.at_s {
            return;
        }
        // Not while another one is under way; it is asked again.
        let Ok(_one) = self.hold().await else { return };
        // Forgotten first: what is half done is on trial from here on, and taken up as such.
        if let Err(error) = self.generations.schedule(None) {
            return log::error!("{error:#}");
        }
        let done = if now_s > scheduled.at_s + LATE_MAX_S {
            Err(Refused::Document("its time went by while the supervisor did not run".to_owned()))
        } else {
            self.apply_scheduled(&scheduled).await
        };
        self.rest();
        if let Err(refused) = done {
            let why = refused.words();
            event!(event::CONFIG_REFUSED, PILOTHOUSE_GENERATION = generation;
                "generation {generation}, kept for this time, could not be applied: {why}");
            // One that was tried has its outcome already.
            let tried = self.generations.history().into_iter().find(|it| it.generation == generation);
            if tried.is_some_and(|it| it.outcome.state.is_empty())
                && let Err(error) = self.generations.forget(generation, "failed", &why)
            {
                log::error!("{error:#}");
            }
        }
    }

    async fn apply_scheduled(&self, scheduled: &Scheduled) -> Result<(), Refused> {
        let Scheduled { generation, base, override_freeze, .. } = *scheduled;
        self.allow(&Options { base: Some(base), override_freeze, ..Options::default() }).await?;
        let text = self.generations.read(generation).map_err(Refused::Step)?;
        let answer = Answer::parse(&text).map_err(|error| Refused::Document(error.to_string()))?;
        let job = self.jobs.begin("scheduled", "").await.map_err(|it| Refused::Step(it.into()))?;
        self.reach(&job, 5, "The document is checked.").await;
        let done = async {
            self.check_answer(&answer).await?;
            let confirm = scheduled.confirm_s.map(Duration::from_secs);
            let tried = self.try_out(generation, &answer.document, &answer.secrets, confirm, &job).await;
            tried.map_err(Refused::Step)
        };
        let done = done.await;
        let ended = done.as_ref().map(|()| generation).map_err(Refused::words);
        self.jobs.end(&job, ended).await;
        done
    }
}
