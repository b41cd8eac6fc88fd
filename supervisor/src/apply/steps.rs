//! The steps of an apply, and the way back.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use domain::document::Secrets;
use domain::{Document, Service, event};

use super::Applier;
use crate::clock::boottime_us;
use crate::generations::{Pending, Stage};
use crate::job::Job;
use crate::log::event;
use crate::model::{Health, changed};
use crate::systemd::Verb;
use crate::{bmc, secrets};

/// How long render may take: above its unit's own limit.
const RENDER_MAX: Duration = Duration::from_secs(130);
/// How long everything may take to run: PostgreSQL makes its files first.
const START_MAX: Duration = Duration::from_secs(420);
/// How long until each runs, once it was started.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// How long an apply may take that nobody must confirm; then the guard ends it. Above what its steps take when
/// nothing is wrong, far below the sum of their limits.
const APPLY_MAX: Duration = Duration::from_secs(15 * 60);
/// How long until the guard stands.
pub(super) const GUARD_MAX: Duration = Duration::from_secs(30);
/// How long the way back may take: render's limit and that of the services.
const REVERT_MAX: Duration = Duration::from_secs(600);
/// How often it is looked whether the way back is done.
const LOOK: Duration = Duration::from_millis(200);

impl Applier {
    /// Puts a generation on trial: in force at the end, for good or until somebody confirms it.
    pub(super) async fn try_out(
        &self,
        generation: u64,
        document: &Document,
        secrets: &Secrets,
        confirm_within: Option<Duration>,
        job: &Job,
    ) -> anyhow::Result<()> {
        let base = self.generations.applied();
        secrets::write(&self.files.run, generation, secrets)?;
        let limit_us = u64::try_from(confirm_within.unwrap_or(APPLY_MAX).as_micros()).unwrap_or(u64::MAX);
        let pending = Pending {
            generation,
            base,
            boot: self.files.boot.clone(),
            // There is nothing to turn back to in the set-up.
            deadline_us: base.map_or(u64::MAX, |_| boottime_us().saturating_add(limit_us)),
            confirm: confirm_within.is_some() && base.is_some(),
            stage: Stage::Applying,
            why: String::new(),
            restored: false,
        };
        self.generations.begin(&pending)?;
        self.see_through(&pending, document, secrets, job).await
    }

    /// Carries a pending generation out; back to its base if that fails.
    pub(super) async fn see_through(
        &self,
        pending: &Pending,
        document: &Document,
        secrets: &Secrets,
        job: &Job,
    ) -> anyhow::Result<()> {
        let done = self.carry_out(pending, document, secrets, job).await;
        if let Err(error) = secrets::remove_all_but(&self.files.run, None) {
            log::error!("{error:#}");
        }
        match done {
            Ok(()) => Ok(()),
            Err(error) => Err(self.put_back(pending.generation, error, job).await),
        }
    }

    async fn carry_out(
        &self,
        pending: &Pending,
        document: &Document,
        secrets: &Secrets,
        job: &Job,
    ) -> anyhow::Result<()> {
        let generation = pending.generation;
        let before = pending.base.and_then(|it| self.document_of(it));
        let well = self.well();
        if pending.base.is_some() {
            self.reach(job, 10, "A guard is set.").await;
            self.systemd.run(Verb::Start, &guard(generation), GUARD_MAX).await?;
        }
        self.reach(job, 20, "The system is configured.").await;
        let render = format!("pilothouse-render@{generation}.service");
        self.systemd.run(Verb::Start, &render, RENDER_MAX).await?;
        let touched = changed(before.as_ref(), document);
        if before.is_some() {
            self.reach(job, 40, "Services are restarted.").await;
            for service in &touched {
                self.systemd.run(Verb::Restart, &service.unit(), RENDER_MAX).await?;
            }
        }
        self.reach(job, 60, "Services are started.").await;
        self.systemd.run(Verb::Start, "pilothouse.target", START_MAX).await?;
        let awaited = Service::ALL.into_iter().filter(|it| touched.contains(it) || well.contains(it));
        self.wait_for_services(awaited).await?;
        if let Some(account) = &secrets.bmc {
            self.reach(job, 80, "The BMC account is handed to the inventory.").await;
            bmc::put_default(&self.files.sockets.join("inventory.sock"), account).await?;
        }
        if pending.confirm {
            self.generations.arrive(generation, boottime_us())?;
            log::info!("generation {generation} waits to be confirmed");
            return Ok(());
        }
        self.keep(generation).await
    }

    /// A generation is in force for good.
    pub(super) async fn keep(&self, generation: u64) -> anyhow::Result<()> {
        let was_set_up = self.is_set_up();
        if !was_set_up {
            self.systemd.run(Verb::Start, "pilothouse-setup-complete.service", RENDER_MAX).await?;
        }
        self.generations.commit(generation, boottime_us())?;
        event!(event::CONFIG_APPLIED, PILOTHOUSE_GENERATION = generation;
            "generation {generation} of the configuration is in force");
        if !was_set_up {
            event!(event::SETUP_COMPLETE, PILOTHOUSE_GENERATION = generation; "the head is set up");
        }
        Ok(())
    }

    /// The services that run well now: a change must not harm them. One that was broken before is no reason to refuse
    /// a change of something else.
    fn well(&self) -> Vec<Service> {
        let runs = |it: &Service| {
            let watched = self.registry.of(it.name());
            watched.is_some_and(|it| it.state().borrow().health() == Health::Ok)
        };
        Service::ALL.into_iter().filter(runs).collect()
    }

    /// The target is reached when each service was started; here each must also run. One that ended is
    /// started again by systemd, so only time tells that it will not.
    async fn wait_for_services(&self, services: impl Iterator<Item = Service>) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + SETTLE_MAX;
        for service in services {
            let watched = self.registry.of(service.name()).context("find a service")?;
            let mut state = watched.state();
            let runs = state.wait_for(|it| it.health() == Health::Ok);
            let unit = &watched.unit;
            tokio::time::timeout_at(deadline, runs)
                .await
                .with_context(|| format!("{unit} does not run; see journalctl -u {unit}"))?
                .context("watch a service")?;
        }
        Ok(())
    }

    /// Has the base of a pending generation put back; the error says how that went too.
    pub(super) async fn put_back(&self, generation: u64, error: anyhow::Error, job: &Job) -> anyhow::Error {
        let why = format!("{error:#}");
        let base = match self.generations.turn_back(generation, &why) {
            Err(failed) => return failed.context(why),
            // It was settled meanwhile: the guard was first.
            Ok(None) => return error,
            Ok(Some(pending)) => pending.base,
        };
        let Some(base) = base else {
            let forgotten = self.generations.forget(generation, "failed", &why);
            return forgotten.err().map_or(error, |it| it.context(why));
        };
        self.reach(job, 90, "The generation before it is put back.").await;
        match self.await_guard(generation).await {
            Ok(()) => error.context(format!("generation {base} is in force again")),
            Err(failed) => failed.context(format!("generation {base} is not back yet")).context(why),
        }
    }

    /// The guard puts the base back, and it is awaited.
    pub(super) async fn await_guard(&self, generation: u64) -> anyhow::Result<()> {
        let unit = guard(generation);
        self.systemd.run(Verb::Start, &unit, GUARD_MAX).await?;
        let mut tick = tokio::time::interval(LOOK);
        let back = async {
            while self.generations.pending().is_some_and(|it| it.generation == generation) {
                tick.tick().await;
            }
        };
        let limit = tokio::time::timeout(REVERT_MAX, back).await;
        limit.map_err(|_| anyhow!("{unit} has not come to an end; see journalctl -u {unit}"))
    }
}

/// The unit that puts back what a generation took the place of.
pub(super) fn guard(generation: u64) -> String {
    format!("pilothouse-revert@{generation}.service")
}
