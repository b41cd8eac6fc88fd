//! From a document to a head that does what it says: check, write, render, restart, wait, mark.
//!
//! Every step can be done twice. A supervisor that ended in the middle finds the mark `pending` and starts
//! over.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use domain::document::{Answer, Secrets};
use domain::{Document, Service, event};

use crate::generations::Generations;
use crate::log::event;
use crate::model::{Health, changed};
use crate::registry::Registry;
use crate::systemd::{Systemd, Verb};
use crate::{bmc, check};

/// The uid of pilothouse-firstboot.
const FIRSTBOOT_UID: u32 = 831;
/// How long render may take: above its unit's own limit.
const RENDER_MAX: Duration = Duration::from_secs(130);
/// How long everything may take to run: PostgreSQL makes its files first.
const START_MAX: Duration = Duration::from_secs(420);
/// How long until each runs, once it was started.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Why a document is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It does not hold; nothing was changed.
    #[error("{0}")]
    Document(String),
    /// A step failed.
    #[error("the configuration could not be applied")]
    Step(#[source] anyhow::Error),
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
}

/// Applies documents, one at a time.
#[derive(Debug)]
pub(crate) struct Applier {
    files: Files,
    generations: Generations,
    systemd: Systemd,
    registry: Registry,
    busy: tokio::sync::Mutex<()>,
    step: Mutex<String>,
}

impl Applier {
    pub(crate) fn new(files: Files, generations: Generations, systemd: Systemd, registry: Registry) -> Self {
        Self {
            files,
            generations,
            systemd,
            registry,
            busy: tokio::sync::Mutex::default(),
            step: Mutex::default(),
        }
    }

    pub(crate) fn generations(&self) -> &Generations {
        &self.generations
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

    fn set_step(&self, text: &str) {
        if !text.is_empty() {
            log::info!("{text}");
        }
        text.clone_into(&mut self.step.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Applies a document or answer. It goes on when the caller goes away.
    ///
    /// # Errors
    ///
    /// Why it is not in force.
    pub(crate) async fn apply(self: Arc<Self>, text: &str) -> Result<u64, Refused> {
        let answer = Answer::parse(text).map_err(|error| Refused::Document(error.to_string()))?;
        let Ok(_one) = self.busy.try_lock() else {
            let text = "another configuration is being applied; try again when that has ended";
            return Err(Refused::Document(text.to_owned()));
        };
        self.set_step("The document is checked.");
        let checked = async {
            check::machine(&answer.document)?;
            check::services(&answer.text, &self.files.pilothouse, &self.files.run).await
        };
        let checked = checked.await.map_err(|error| Refused::Document(format!("{error:#}")));
        let applied = match checked {
            Ok(()) => self.put_in_force(answer).await.map_err(Refused::Step),
            Err(error) => Err(error),
        };
        self.set_step("");
        applied
    }

    async fn put_in_force(&self, answer: Answer) -> anyhow::Result<u64> {
        let generation = self.generations.add(&answer.text)?;
        self.write_secrets(generation, &answer.secrets)?;
        let done = self.carry_out(generation, &answer.document, &answer.secrets).await;
        self.remove_secrets(generation)?;
        match done {
            Ok(()) => Ok(generation),
            Err(error) => {
                self.generations.forget_pending()?;
                Err(error)
            }
        }
    }

    /// Takes up what was being applied when an earlier supervisor ended.
    pub(crate) async fn resume(&self) {
        let Some(generation) = self.generations.pending() else { return };
        let _one = self.busy.lock().await;
        if !self.is_set_up() && !self.secrets_path(generation).exists() {
            // The machine was cut off in its set-up: without the secrets it would end up without BMC account.
            log::warn!("the set-up was cut off before its end; the questions come back");
            if let Err(error) = self.generations.forget_pending() {
                log::error!("{error:#}");
            }
            return;
        }
        log::info!(
            "generation {generation} was being applied when the supervisor ended; it is taken up again"
        );
        let work = async {
            let text = self.generations.read(generation)?;
            let document = Document::parse(&text).context("parse the generation")?;
            let secrets = self.read_secrets(generation)?;
            let done = self.carry_out(generation, &document, &secrets).await;
            self.remove_secrets(generation)?;
            done
        };
        if let Err(error) = work.await {
            event!(event::CONFIG_REFUSED, PILOTHOUSE_GENERATION = generation;
                "generation {generation} could not be applied: {error:#}");
            if let Err(error) = self.generations.forget_pending() {
                log::error!("{error:#}");
            }
        }
        self.set_step("");
    }

    async fn carry_out(&self, generation: u64, document: &Document, secrets: &Secrets) -> anyhow::Result<()> {
        let before = self.generations.applied().and_then(|it| self.generations.read(it).ok());
        let before = before.and_then(|it| Document::parse(&it).ok());
        self.set_step("The system is configured.");
        let render = format!("pilothouse-render@{generation}.service");
        self.systemd.run(Verb::Start, &render, RENDER_MAX).await?;
        if before.is_some() {
            self.set_step("Services are restarted.");
            for service in changed(before.as_ref(), document) {
                self.systemd.run(Verb::Restart, &service.unit(), RENDER_MAX).await?;
            }
        }
        self.set_step("Services are started.");
        self.systemd.run(Verb::Start, "pilothouse.target", START_MAX).await?;
        self.wait_for_services().await?;
        if let Some(account) = &secrets.bmc {
            self.set_step("The BMC account is handed to the inventory.");
            bmc::put_default(&self.files.sockets.join("inventory.sock"), account).await?;
        }
        self.generations.commit(generation)?;
        event!(event::CONFIG_APPLIED, PILOTHOUSE_GENERATION = generation;
            "generation {generation} of the configuration is in force");
        if !self.is_set_up() {
            self.systemd.run(Verb::Start, "pilothouse-setup-complete.service", RENDER_MAX).await?;
            event!(event::SETUP_COMPLETE, PILOTHOUSE_GENERATION = generation; "the head is set up");
        }
        Ok(())
    }

    /// The target is reached when each service was started; here each must also run. One that ended is
    /// started again by systemd, so only time tells that it will not.
    async fn wait_for_services(&self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + SETTLE_MAX;
        for service in Service::ALL {
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

    fn secrets_path(&self, generation: u64) -> PathBuf {
        secrets_path(&self.files.run, generation)
    }

    fn write_secrets(&self, generation: u64, secrets: &Secrets) -> anyhow::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let bmc =
            secrets.bmc.as_ref().map(|it| serde_json::json!({"user": it.user, "password": it.password}));
        let text = serde_json::json!({ "bmc": bmc, "password_hashes": secrets.password_hashes }).to_string();
        let mut options = std::fs::OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.secrets_path(generation));
        file.and_then(|mut it| it.write_all(text.as_bytes())).context("keep the secrets for render")
    }

    /// After a restart of the machine they are gone.
    fn read_secrets(&self, generation: u64) -> anyhow::Result<Secrets> {
        match std::fs::read(self.secrets_path(generation)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| anyhow::anyhow!("the secrets cannot be read"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Secrets::default()),
            Err(error) => Err(error).context("read the secrets"),
        }
    }

    fn remove_secrets(&self, generation: u64) -> anyhow::Result<()> {
        match std::fs::remove_file(self.secrets_path(generation)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove the secrets")
            }
            _ => Ok(()),
        }
    }
}

/// Where the secrets of a generation wait for render: in memory, readable for us and root.
pub(crate) fn secrets_path(run: &std::path::Path, generation: u64) -> PathBuf {
    run.join(format!("secrets-{generation}.json"))
}
