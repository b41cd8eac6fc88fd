//! `[discovery]` of the document.

use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, Span};
use serde::Deserialize;

/// The most BMCs that are asked at once.
const CONCURRENCY_MAX: usize = 1024;

/// What discovery is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// BMCs that are asked at once, 1 to 1024, in all discoveries together.
    pub(crate) concurrency: usize,
    /// How long one BMC may take, 1 s to 10 min: some think for a second about each of a hundred resources.
    pub(crate) deadline: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { concurrency: 128, deadline: Span(Duration::from_secs(120)) }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.discovery.clone().try_into().context("read [discovery]")?;
        anyhow::ensure!(
            (1..=CONCURRENCY_MAX).contains(&config.concurrency),
            "discovery.concurrency is 1 to {CONCURRENCY_MAX}"
        );
        let deadline = Duration::from_secs(1)..=Duration::from_secs(600);
        anyhow::ensure!(deadline.contains(&config.deadline.0), "discovery.deadline is \"1s\" to \"10m\"");
        Ok(config)
    }
}
