//! `[ca]` of the document.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use domain::document::is_label;
use domain::{Document, Span};
use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What ca is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// How long the head's certificate lives, 1m to 90d; it is renewed at two thirds of it.
    pub(crate) leaf_life: Span,
    /// More names and addresses by which the head is reached: an alias, an address given by the site's DHCP.
    pub(crate) head_names: Vec<HeadName>,
}

/// A name or address of the head.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum HeadName {
    Dns(String),
    Address(IpAddr),
}

impl FromStr for HeadName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Ok(Self::Dns(text.to_owned()));
        }
        Err(format!("{text:?} is no DNS name in small letters and no address"))
    }
}

impl TryFrom<String> for HeadName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { leaf_life: Span(DAY), head_names: Vec::new() }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.ca.clone().try_into().context("read [ca]")?;
        let bounds = Duration::from_secs(60)..=DAY * 90;
        anyhow::ensure!(bounds.contains(&config.leaf_life.0), "ca.leaf_life is 1m to 90d");
        anyhow::ensure!(config.head_names.len() <= 64, "ca.head_names has at most 64 entries");
        Ok(config)
    }
}
