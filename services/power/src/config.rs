//! `[power]` of the document.

use std::time::Duration;

use anyhow::Context as _;
use domain::Document;
use serde::Deserialize;

/// Above this the answer would come after the HTTP server has given the request up, which it does after 60 s.
const DEADLINE_MAX_S: u64 = 55;

/// What power is told.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// BMCs spoken to at once, 1 to 1024. The default goes through a thousand dead ones within the deadline.
    pub(crate) concurrency: usize,
    /// How long a request may take, in seconds, 1 to 55. Our own clients wait 30 s for the answer.
    deadline_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { concurrency: 256, deadline_s: 25 }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.power.clone().try_into().context("read [power]")?;
        anyhow::ensure!((1..=1024).contains(&config.concurrency), "power.concurrency is 1 to 1024");
        let deadline = 1..=DEADLINE_MAX_S;
        anyhow::ensure!(deadline.contains(&config.deadline_s), "power.deadline_s is 1 to 55 seconds");
        Ok(config)
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_s)
    }
}
