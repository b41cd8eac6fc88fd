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
}

impl Default for Config {
    fn default() -> Self {
        Self { root: "/data/domain-images".into(), loaders: "/usr/lib/ipxe".into() }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.images.clone().try_into().context("read [images]")?;
        for (key, path) in [("root", &config.root), ("loaders", &config.loaders)] {
            anyhow::ensure!(path.is_absolute(), "images.{key} is a full path");
        }
        Ok(config)
    }
}
