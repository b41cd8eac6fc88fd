//! `[console]` of the document.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use domain::Document;
use serde::Deserialize;

/// What console is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where `console.<node>` is written; `/var/log/conman` leads here.
    pub(crate) log_dir: PathBuf,
    /// A log that grows beyond this is put aside as `console.<node>.1`, bytes.
    pub(crate) rotate_bytes: u64,
    /// How many logs put aside are kept, 0 to 100.
    pub(crate) keep: u32,
    /// Whether to take a line that another session holds, also back from one that took it from us; else we
    /// wait until it is free.
    pub(crate) take_over: bool,
    /// A BMC that was silent for this long is dead and its line lost, in seconds, 3 to 300.
    pub(crate) dead_after_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_dir: "/srv/console/log".into(),
            rotate_bytes: 64 << 20,
            keep: 4,
            take_over: true,
            dead_after_s: 30,
        }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.console.clone().try_into().context("read [console]")?;
        anyhow::ensure!(config.log_dir.is_absolute(), "console.log_dir is a full path");
        anyhow::ensure!(config.rotate_bytes >= 64 << 10, "console.rotate_bytes is at least 65536");
        anyhow::ensure!(config.keep <= 100, "console.keep is at most 100");
        anyhow::ensure!((3..=300).contains(&config.dead_after_s), "console.dead_after_s is 3 to 300 seconds");
        Ok(config)
    }

    pub(crate) fn dead_after(&self) -> Duration {
        Duration::from_secs(self.dead_after_s)
    }
}
