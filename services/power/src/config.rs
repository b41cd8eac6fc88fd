//! `[power]` of the document.

use anyhow::Context as _;
use domain::Document;
use serde::Deserialize;

/// What power is told.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// BMCs spoken to at once, 1 to 1024.
    pub(crate) concurrency: usize,
    /// How long one node may take, in seconds, 1 to 600.
    pub(crate) deadline_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { concurrency: 128, deadline_s: 30 }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.power.clone().try_into().context("read [power]")?;
        anyhow::ensure!((1..=1024).contains(&config.concurrency), "power.concurrency is 1 to 1024");
        anyhow::ensure!((1..=600).contains(&config.deadline_s), "power.deadline_s is 1 to 600 seconds");
        Ok(config)
    }
}
