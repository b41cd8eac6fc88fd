//! `[gateway]` of the document.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, Size, Span};
use ipnet::IpNet;
use serde::Deserialize;

/// What the gateway is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether 8081 takes tokens and serves `/cloud-init-secure`, for images that know no https.
    pub(crate) secure_over_http: bool,
    /// Proxies in front of us, `10.0.0.7` or `10.0.0.0/24`, whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<Proxies>,
    /// The longest body of a request.
    pub(crate) body_limit: Size,
    /// Connections open at once on both ports together; more wait in the kernel's queue.
    pub(crate) connections: usize,
    /// Connections open at once from one address (IPv6: one /64); more are closed at once.
    pub(crate) connections_per_source: u32,
    /// Requests open at once towards one service; more wait a little, then get 503.
    pub(crate) connections_per_service: usize,
    /// How long a request's head may take from its first byte, and a TLS handshake.
    pub(crate) header_timeout: Span,
    /// How long a connection may stand still while its client should send or read.
    pub(crate) idle_timeout: Span,
}

/// A network of proxies, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Proxies(IpNet);

impl Default for Config {
    fn default() -> Self {
        Self {
            secure_over_http: false,
            trusted_proxies: Vec::new(),
            body_limit: Size(16 << 20),
            connections: 8192,
            connections_per_source: 512,
            connections_per_service: 1024,
            header_timeout: Span(Duration::from_secs(10)),
            idle_timeout: Span(Duration::from_secs(60)),
        }
    }
}

impl Config {
    /// Reads and checks the table.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.gateway.clone().try_into().context("read [gateway]")?;
        let within = |key: &str, value: usize, least: usize, most: usize| {
            anyhow::ensure!(
                (least..=most).contains(&value),
                "gateway.{key} is {least} to {most}, not {value}"
            );
            Ok(())
        };
        within("connections", config.connections, 16, 100_000)?;
        within("connections_per_source", config.connections_per_source as usize, 1, 100_000)?;
        within("connections_per_service", config.connections_per_service, 1, 8192)?;
        anyhow::ensure!(
            (1024..=1 << 40).contains(&config.body_limit.0),
            "gateway.body_limit is 1KiB to 1024GiB, not {}",
            config.body_limit
        );
        let hour = Duration::from_secs(3600);
        for (key, span) in [("header_timeout", config.header_timeout), ("idle_timeout", config.idle_timeout)]
        {
            anyhow::ensure!(
                (Duration::from_millis(100)..=hour).contains(&span.0),
                "gateway.{key} is 100ms to 1h, not {span}"
            );
        }
        Ok(config)
    }

    /// Whether what this peer says of its clients is believed.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|it| it.0.contains(&address))
    }
}

impl FromStr for Proxies {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let one = text.parse::<IpAddr>().map(IpNet::from);
        one.or_else(|_| text.parse::<IpNet>())
            .map(Self)
            .map_err(|_| format!("{text:?} is no address and no network; write 10.0.0.7 or 10.0.0.0/24"))
    }
}

impl TryFrom<String> for Proxies {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Config;

    fn parse(table: &str) -> anyhow::Result<Config> {
        let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[gateway]\n";
        Config::parse(&domain::Document::parse(&format!("{head}{table}")).unwrap())
    }

    #[test]
    fn without_a_table_the_defaults_hold() {
        let config = parse("").unwrap();
        assert!(!config.secure_over_http);
        assert_eq!(config.body_limit.0, 16 << 20);
        assert!(!config.trusts("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let config = parse("trusted_proxies = ['127.0.0.0/8', '::1']").unwrap();
        for (address, trusted) in [("127.0.0.9", true), ("::1", true), ("::2", false), ("10.0.0.1", false)] {
            assert_eq!(config.trusts(address.parse().unwrap()), trusted, "{address}");
        }
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        for table in [
            "secure_over_htp = true",
            "trusted_proxies = ['nowhere']",
            "body_limit = '1B'",
            "connections = 0",
            "header_timeout = '0s'",
            "idle_timeout = '2h'",
        ] {
            assert!(parse(table).is_err(), "{table}");
        }
    }
}
