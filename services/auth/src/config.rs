//! `[auth]` of the document.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, Role, Span};
use serde::Deserialize;

/// The longest life of a token, whoever asks: a lost one is worth little by the next day.
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What auth is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// How long a token lives when its caller names no time, up to a day.
    pub(crate) token_life: Span,
    /// Other issuers whose tokens every service takes; `web::Verifier` reads them.
    trusted: Vec<Trusted>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by `web::Verifier`; here so that `--check` knows the keys")]
struct Trusted {
    issuer: String,
    audience: String,
    jwks_file: PathBuf,
    role: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { token_life: Span(Duration::from_secs(12 * 3600)), trusted: Vec::new() }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.auth.clone().try_into().context("read [auth]")?;
        let bounds = Duration::from_secs(60)..=LIFE_MAX;
        anyhow::ensure!(bounds.contains(&config.token_life.0), "auth.token_life is 1m to 24h");
        for trusted in &config.trusted {
            trusted.role.parse::<Role>().map_err(anyhow::Error::msg).context("read auth.trusted.role")?;
        }
        Ok(config)
    }
}
