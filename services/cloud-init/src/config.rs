//! `[cloud_init]` of the document, and what cloud-init takes from the rest of it.

use std::net::IpAddr;

use anyhow::Context as _;
use domain::Document;
use serde::Deserialize;
use toml::Value;

/// What cloud-init is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    /// Which generation of the API answers nodes: `legacy` (0.1), and `auto` as long as there is no other.
    api: String,
    /// `"head"`: legacy writes from the head itself need no token, as the bootcamp's `curl` has none;
    /// `false`: all do.
    open_legacy_writes: Value,
}

/// What cloud-init is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) host_pattern: String,
    /// Whether the head itself may write without a token.
    open_to_head: bool,
    /// The head's own addresses.
    own: Vec<IpAddr>,
}

impl Default for Table {
    fn default() -> Self {
        Self { api: "auto".to_owned(), open_legacy_writes: Value::Boolean(false) }
    }
}

impl Config {
    /// Reads the document.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(document: &Document) -> anyhow::Result<Self> {
        let table: Table = document.cloud_init.clone().try_into().context("read [cloud_init]")?;
        let known = matches!(table.api.as_str(), "auto" | "legacy");
        anyhow::ensure!(known, "cloud_init.api: {:?} is not served; write \"auto\" or \"legacy\"", table.api);
        let open_to_head = match &table.open_legacy_writes {
            Value::Boolean(false) => false,
            Value::String(it) if it == "head" => true,
            other => anyhow::bail!("cloud_init.open_legacy_writes: {other} is neither false nor \"head\""),
        };
        let own =
            document.network.planes.iter().flat_map(|it| &it.addresses).map(|it| it.addr().into()).collect();
        Ok(Self { host_pattern: document.cluster.host_pattern.clone(), open_to_head, own })
    }

    /// Whether a caller without a token may write from there.
    pub(crate) fn is_open_to(&self, address: Option<IpAddr>) -> bool {
        self.open_to_head && address.is_some_and(|it| it.is_loopback() || self.own.contains(&it))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Config;

    const HEAD: &str = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"example\"\n\
        [[network.planes]]\nname = \"n\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";

    fn parse(table: &str) -> anyhow::Result<Config> {
        Config::parse(&domain::Document::parse(&format!("{HEAD}[cloud_init]\n{table}")).unwrap())
    }

    #[test]
    fn only_the_head_itself_writes_without_a_token_and_only_if_it_is_said() {
        let open = |table: &str, address: &str| parse(table).unwrap().is_open_to(address.parse().ok());
        let head = "open_legacy_writes = \"head\"";
        assert!(open(head, "172.16.0.254") && open(head, "127.0.0.1") && open(head, "::1"));
        assert!(!open(head, "172.16.0.1") && !open(head, "no address"));
        assert!(!open("", "127.0.0.1") && !open("open_legacy_writes = false", "127.0.0.1"));
        for bad in [
            "open_legacy_writes = true",
            "open_legacy_writes = \"all\"",
            "api = \"new\"",
            "apis = \"legacy\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
