//! `[power]` of the document.

mod scopes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, Span};
use serde::Deserialize;

use crate::model::Policy;

pub(crate) use scopes::{Scoped, TlsMode};

/// Above this the answer would come after the HTTP server has given the request up, which it does after 60 s.
const DEADLINE_MAX_S: u64 = 55;

/// The most nodes that are switched on at once: what the fuses of a hall bear is the site's to know.
const STAGE_MAX: usize = 1024;
/// Longer than people wait between two commands, and BMCs have few sessions.
const KEEP_MAX: Duration = Duration::from_secs(600);
/// The most nodes that are switched on within a second.
const INRUSH_MAX: u32 = 10_000;

/// What power is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What is done, after the head was started, about nodes that are on without having booted: `off`, `list` or
    /// `cycle`.
    recover: Policy,
    /// How long after the start they are looked for: nodes that came on with the head have had their time then.
    recover_after: Span,
    /// Nodes that are switched off and on at once, 1 to 1024.
    recover_stage: usize,
    /// How long the nodes of a stage have to ask for their scripts, before the next stage begins.
    recover_wait: Span,
    /// BMCs spoken to at once, 1 to 1024; as many again where power is only looked at. The default goes through a
    /// thousand dead ones within the deadline.
    pub(crate) concurrency: usize,
    /// Nodes whose power is switched on within a second, 1 to 10000, so that a hall's fuses bear it; 0: no limit.
    pub(crate) inrush: u32,
    /// How long one BMC may take for one command, and a request that waits for its answer, in seconds, 1 to 55. Our
    /// own clients wait 30 s for the answer.
    deadline_s: u64,
    /// How long an IPMI session stays open after a command, so that the next one has no log-in to wait for; up to 10m,
    /// and 0s for not at all, where BMCs have too few sessions.
    pub(crate) keep_sessions: Span,
    /// How a BMC's certificate is believed: `pin` (the first that is shown, and no other), `ca` or `insecure`; by
    /// xname, `class:<name>` or `default`.
    pub(crate) tls: Scoped<TlsMode>,
    /// The roots of `ca`, in PEM; without it those of the system.
    pub(crate) tls_ca: Option<PathBuf>,
    /// FreeIPMI's names of what to work around, by xname, `class:<name>` or `default`, beside those of the inventory.
    pub(crate) workarounds: Scoped<Vec<String>>,
}

/// What is done about nodes that are on without having booted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoverConfig {
    pub(crate) policy: Policy,
    pub(crate) after: Duration,
    pub(crate) stage: usize,
    pub(crate) wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            recover: Policy::List,
            recover_after: Span(Duration::from_secs(300)),
            recover_stage: 32,
            recover_wait: Span(Duration::from_secs(300)),
            concurrency: 256,
            inrush: 100,
            deadline_s: 25,
            keep_sessions: Span(Duration::from_secs(60)),
            tls: Scoped::default(),
            tls_ca: None,
            workarounds: Scoped::default(),
        }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.power.clone().try_into().context("read [power]")?;
        anyhow::ensure!((1..=1024).contains(&config.concurrency), "power.concurrency is 1 to 1024");
        let deadline = 1..=DEADLINE_MAX_S;
        anyhow::ensure!(deadline.contains(&config.deadline_s), "power.deadline_s is 1 to 55 seconds");
        let stage = 1..=STAGE_MAX;
        anyhow::ensure!(
            stage.contains(&config.recover_stage),
            "power.recover_stage is 1 to {STAGE_MAX} nodes"
        );
        anyhow::ensure!(
            config.inrush <= INRUSH_MAX,
            "power.inrush is 1 to {INRUSH_MAX} nodes a second, or 0"
        );
        anyhow::ensure!(config.keep_sessions.0 <= KEEP_MAX, "power.keep_sessions is at most 10m");
        config.tls.check("power.tls")?;
        config.workarounds.check("power.workarounds")?;
        for name in config.workarounds.values().flatten() {
            name.parse::<ipmi::Workarounds>().context("read power.workarounds")?;
        }
        Ok(config)
    }

    pub(crate) fn recovery(&self) -> RecoverConfig {
        let Self { recover, recover_after, recover_stage, recover_wait, .. } = *self;
        RecoverConfig { policy: recover, after: recover_after.0, stage: recover_stage, wait: recover_wait.0 }
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_s)
    }
}
