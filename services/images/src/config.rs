//! `[images]` of the document.

use std::path::PathBuf;

use anyhow::Context as _;
use domain::Document;
use serde::Deserialize;

/// What images is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The folder whose files are served at `/`.
    pub(crate) root: PathBuf,
    /// The folder of boot loaders, served at `/ipxe/` for UEFI HTTP boot.
    pub(crate) loaders: PathBuf,
    /// The folder of the content-addressed store; none: `.store` below the root.
    pub(crate) store: Option<PathBuf>,
    /// Connections at once on port 8080; more wait in the kernel's queue.
    pub(crate) connections: usize,
    /// Connections at once of one address; more are told to come again.
    pub(crate) connections_per_source: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/data/domain-images".into(),
            loaders: "/usr/lib/ipxe".into(),
            store: None,
            connections: 16_384,
            connections_per_source: 2048,
        }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.images.clone().try_into().context("read [images]")?;
        let store = config.store.as_ref().unwrap_or(&config.root);
        for (key, path) in [("root", &config.root), ("loaders", &config.loaders), ("store", store)] {
            anyhow::ensure!(path.is_absolute(), "images.{key} is a full path");
        }
        anyhow::ensure!(config.connections > 0, "images.connections is at least 1");
        anyhow::ensure!(config.connections_per_source > 0, "images.connections_per_source is at least 1");
        Ok(config)
    }
}
