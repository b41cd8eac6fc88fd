//! `[ca]` of the document.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use domain::document::is_label;
use domain::{Document, Span};
use ipnet::IpNet;
use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The profile of an order that names none.
pub(crate) const DEFAULT_PROFILE: &str = "default";

/// What ca is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// How long the head's certificate lives, 1m to 90d; it is renewed at two thirds of it.
    pub(crate) leaf_life: Span,
    /// More names and addresses by which the head is reached: an alias, an address given by the site's DHCP.
    pub(crate) head_names: Vec<HeadName>,
    /// More domains, with all that is under them, and networks that ACME clients get certificates for.
    pub(crate) allowed_names: Vec<Allowed>,
    /// Whether an ACME account takes a key that `pilotctl ca eab add` gave.
    pub(crate) eab: bool,
    /// Kinds of certificate by name; `default` is there without being told.
    pub(crate) profiles: BTreeMap<String, Profile>,
    /// Where challenges are looked for.
    pub(crate) validation: Validation,
    /// How much one client may ask for.
    pub(crate) limits: Limits,
}

/// A kind of certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// How long its certificates live, 1m to 90d.
    pub(crate) life: Span,
    /// One line for the directory.
    #[serde(default)]
    pub(crate) description: String,
}

/// Where challenges are looked for; other ports than these are for tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Validation {
    /// http-01
    pub(crate) http_port: u16,
    /// tls-alpn-01
    pub(crate) tls_port: u16,
    /// tls-alpn-01 of the head's own names and addresses: the gateway's
    pub(crate) head_port: u16,
    /// How long one look may take, 1s to 1m.
    pub(crate) timeout: Span,
}

/// How much one client may ask for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// New accounts from one address in an hour.
    pub(crate) accounts_per_hour: u32,
    /// Orders of one account in an hour.
    pub(crate) orders_per_hour: u32,
    /// Names and addresses in one order.
    pub(crate) names_per_order: usize,
}

/// A name or address of the head.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum HeadName {
    Dns(String),
    Address(IpAddr),
}

/// A domain with all that is under it, or a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Allowed {
    Domain(String),
    Network(IpNet),
}

/// A DNS name in small letters.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

impl FromStr for HeadName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if is_name(text) {
            return Ok(Self::Dns(text.to_owned()));
        }
        Err(format!("{text:?} is no DNS name in small letters and no address"))
    }
}

impl FromStr for Allowed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().map(|it| it.trunc());
        if let Ok(network) = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            return Ok(Self::Network(network));
        }
        // All of a top-level domain is nobody's to give.
        if is_name(text) && text.contains('.') {
            return Ok(Self::Domain(text.to_owned()));
        }
        Err(format!("{text:?} is no domain in small letters and no network; write example.org or 10.0.0.0/8"))
    }
}

macro_rules! from_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    };
}
from_text!(HeadName);
from_text!(Allowed);

impl Default for Config {
    fn default() -> Self {
        Self {
            leaf_life: Span(DAY),
            head_names: Vec::new(),
            allowed_names: Vec::new(),
            eab: false,
            profiles: BTreeMap::new(),
            validation: Validation::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self { http_port: 80, tls_port: 443, head_port: 8443, timeout: Span(Duration::from_secs(10)) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { accounts_per_hour: 100, orders_per_hour: 300, names_per_order: 50 }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let mut config: Self = document.ca.clone().try_into().context("read [ca]")?;
        let lives = Duration::from_secs(60)..=DAY * 90;
        anyhow::ensure!(lives.contains(&config.leaf_life.0), "ca.leaf_life is 1m to 90d");
        anyhow::ensure!(config.head_names.len() <= 64, "ca.head_names has at most 64 entries");
        anyhow::ensure!(config.allowed_names.len() <= 64, "ca.allowed_names has at most 64 entries");
        anyhow::ensure!(config.profiles.len() <= 32, "ca.profiles has at most 32 entries");
        for (name, profile) in &config.profiles {
            anyhow::ensure!(
                is_label(name),
                "ca.profiles.{name}: a profile's name has small letters and digits"
            );
            anyhow::ensure!(lives.contains(&profile.life.0), "ca.profiles.{name}.life is 1m to 90d");
            anyhow::ensure!(
                profile.description.len() <= 200,
                "ca.profiles.{name}.description is one short line"
            );
        }
        let timeouts = Duration::from_secs(1)..=Duration::from_secs(60);
        anyhow::ensure!(timeouts.contains(&config.validation.timeout.0), "ca.validation.timeout is 1s to 1m");
        let Validation { http_port, tls_port, head_port, .. } = config.validation;
        anyhow::ensure!(![http_port, tls_port, head_port].contains(&0), "ca.validation: 0 is no port");
        let Limits { accounts_per_hour, orders_per_hour, names_per_order } = config.limits;
        let counts = 1..=100_000;
        anyhow::ensure!(
            counts.contains(&accounts_per_hour) && counts.contains(&orders_per_hour),
            "ca.limits: accounts_per_hour and orders_per_hour are 1 to 100000"
        );
        anyhow::ensure!((1..=100).contains(&names_per_order), "ca.limits.names_per_order is 1 to 100");
        let profile =
            || Profile { life: Span(DAY), description: "one day, to be renewed by a program".to_owned() };
        config.profiles.entry(DEFAULT_PROFILE.to_owned()).or_insert_with(profile);
        Ok(config)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Config;

    fn parse(table: &str) -> anyhow::Result<Config> {
        let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[ca]\n";
        Config::parse(&domain::Document::parse(&format!("{head}{table}")).unwrap())
    }

    #[test]
    fn a_day_is_the_default() {
        assert_eq!(parse("").unwrap().profiles["default"].life.to_string(), "1d");
        let config = parse("[ca.profiles.default]\nlife = '1h'\n[ca.profiles.short]\nlife = '1m'\n").unwrap();
        assert_eq!(config.profiles["default"].life.to_string(), "1h");
        assert_eq!(config.profiles.len(), 2);
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        for table in [
            "eabb = true",
            "leaf_life = '91d'",
            "allowed_names = ['org']",
            "allowed_names = ['*.example.org']",
            "allowed_names = ['10.0.0.0/33']",
            "[ca.profiles.short]\nlife = '59s'",
            "[ca.profiles.Short]\nlife = '1h'",
            "[ca.profiles.short]\nlive = '1h'",
            "[ca.validation]\nhttp_port = 0",
            "[ca.validation]\ntimeout = '2m'",
            "[ca.limits]\nnames_per_order = 0",
        ] {
            assert!(parse(table).is_err(), "{table}");
        }
    }
}
