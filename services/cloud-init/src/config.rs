//! `[cloud_init]` of the document, and what cloud-init takes from the rest of it.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::Document;
use domain::document::{Network, PlaneKind};
use serde::Deserialize;
use toml::Value;

/// The gateway's port without TLS (INTERFACES 8).
const PLAIN_PORT: u16 = 8081;
/// What is read of the roots.
const ROOTS_BYTES_MAX: u64 = 64 << 10;

/// Which generation of the API answers nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    /// Legacy data of a node or its groups, if there is any, else the present API.
    #[default]
    Auto,
    /// OpenCHAMI cloud-init 0.1 alone.
    Legacy,
    /// OpenCHAMI cloud-init 1.x alone.
    Current,
}

/// How legacy entries of groups and nodes become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Merge {
    /// A top-level key of a later entry replaces the whole value, as recorded.
    #[default]
    Shallow,
    /// Maps are merged key by key, lists are joined; anything else is replaced.
    Deep,
}

/// What cloud-init is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    /// Which generation of the API answers nodes: `auto`, `legacy` (0.1) or `current` (1.x).
    api: Api,
    /// How legacy entries become one: `shallow` or `deep`.
    merge: Merge,
    /// `"head"`: legacy writes from the head itself need no token, as the bootcamp's `curl` has none;
    /// `false`: all do.
    open_legacy_writes: Value,
    /// Whether nodes that come over plain HTTP are given the head's root certificates to trust.
    distribute_ca: bool,
}

/// What cloud-init is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) api: Api,
    pub(crate) merge: Merge,
    pub(crate) host_pattern: String,
    pub(crate) cluster_name: String,
    /// Whether the head itself may write without a token.
    open_to_head: bool,
    /// The head's own addresses.
    own: Vec<IpAddr>,
    network: Network,
    pub(crate) join: join::Config,
    distribute_ca: bool,
    /// Where ca shows the roots.
    roots: Option<PathBuf>,
}

impl Default for Table {
    fn default() -> Self {
        let open_legacy_writes = Value::Boolean(false);
        Self { api: Api::Auto, merge: Merge::Shallow, open_legacy_writes, distribute_ca: true }
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
        let open_to_head = match &table.open_legacy_writes {
            Value::Boolean(false) => false,
            Value::String(it) if it == "head" => true,
            other => anyhow::bail!("cloud_init.open_legacy_writes: {other} is neither false nor \"head\""),
        };
        let own =
            document.network.planes.iter().flat_map(|it| &it.addresses).map(|it| it.addr().into()).collect();
        Ok(Self {
            api: table.api,
            merge: table.merge,
            host_pattern: document.cluster.host_pattern.clone(),
            cluster_name: document.cluster.name.clone(),
            open_to_head,
            own,
            network: document.network.clone(),
            join: join::Config::parse(document)?,
            distribute_ca: table.distribute_ca,
            roots: None,
        })
    }

    /// The same with the folder of the services' files, where ca's roots are.
    #[must_use]
    pub fn with_run(mut self, run: &Path) -> Self {
        self.roots = self.distribute_ca.then(|| run.join("ca/root.pem"));
        self
    }

    /// The roots that nodes are to trust, if they are to be told and there are any.
    pub(crate) fn roots(&self) -> Option<String> {
        let mut text = String::new();
        let file = File::open(self.roots.as_ref()?).ok()?;
        file.take(ROOTS_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The head as this machine reaches it over plain HTTP: its address on the machine's plane, else on the
    /// first plane of nodes.
    pub(crate) fn plain_base(&self, machine: Option<IpAddr>) -> Option<String> {
        let nodes = self.network.planes.iter().filter(|it| it.kind == PlaneKind::Nodes);
        let own = match machine {
            Some(IpAddr::V4(it)) => {
                nodes.flat_map(|plane| &plane.addresses).find(|net| net.contains(&it)).copied()
            }
            _ => None,
        };
        let net = own.or_else(|| self.network.first(PlaneKind::Nodes).map(|it| it.1))?;
        Some(format!("http://{}:{PLAIN_PORT}", net.addr()))
    }

    /// Whether a caller without a token may write from there.
    pub(crate) fn is_open_to(&self, address: Option<IpAddr>) -> bool {
        self.open_to_head && address.is_some_and(|it| it.is_loopback() || self.own.contains(&it))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Api, Config, Merge};

    const HEAD: &str = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"example\"\n\
        [[network.planes]]\nname = \"n\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";

    fn parse(table: &str) -> anyhow::Result<Config> {
        Config::parse(&domain::Document::parse(&format!("{HEAD}[cloud_init]\n{table}")).unwrap())
    }

    #[test]
    fn the_generation_of_the_api_and_the_merge_are_chosen() {
        let chosen = |table: &str| parse(table).map(|it| (it.api, it.merge)).unwrap();
        assert_eq!(chosen(""), (Api::Auto, Merge::Shallow));
        assert_eq!(chosen("api = \"current\"\nmerge = \"deep\""), (Api::Current, Merge::Deep));
        assert_eq!(chosen("api = \"legacy\""), (Api::Legacy, Merge::Shallow));
        assert!(parse("merge = \"wide\"").is_err());
    }

    #[test]
    fn the_plain_base_is_on_the_machine_s_plane() {
        let base = |it: &str| parse("").unwrap().plain_base(it.parse().ok());
        assert_eq!(base("172.16.0.9").as_deref(), Some("http://172.16.0.254:8081"));
        assert_eq!(base("no address").as_deref(), Some("http://172.16.0.254:8081"));
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
