//! `[boot]` of the document, and what boot takes from the rest of it.

use std::net::IpAddr;

use anyhow::Context as _;
use domain::Document;
use domain::document::{Network, PlaneKind};
use serde::Deserialize;

/// What boot is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    /// Scheme, host and port that chain URLs are made with, `https://demo.example:8443`; none: those by which
    /// the script was fetched. With it, and without `cloud_init_url`, scripts name the cloud-init source by
    /// host alone, as BSS does (recording `bss-script-010`).
    advertise_url: Option<String>,
    /// What `ds=nocloud-net;s=` names, `http://172.16.0.254:8081/cloud-init/`; none: `/cloud-init/` on the
    /// head.
    cloud_init_url: Option<String>,
}

/// What boot is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) advertise_url: Option<String>,
    pub(crate) cloud_init_url: Option<String>,
    pub(crate) node_name: String,
    pub(crate) join: join::Config,
    network: Network,
}

/// The port on which the gateway serves nodes without TLS (the table in `domain::port`).
const PLAIN_PORT: u16 = 8081;

impl Config {
    /// Reads the document.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(document: &Document) -> anyhow::Result<Self> {
        let table: Table = document.boot.clone().try_into().context("read [boot]")?;
        for (key, value) in
            [("advertise_url", &table.advertise_url), ("cloud_init_url", &table.cloud_init_url)]
        {
            if let Some(url) = value {
                anyhow::ensure!(is_url(url), "boot.{key}: {url:?} is no URL; write http://172.16.0.254:8081");
            }
        }
        Ok(Self {
            advertise_url: table.advertise_url.map(|it| it.trim_end_matches('/').to_owned()),
            cloud_init_url: table.cloud_init_url.map(|it| it.trim_end_matches('/').to_owned() + "/"),
            node_name: document.cluster.host_pattern.clone(),
            join: join::Config::parse(document)?,
            network: document.network.clone(),
        })
    }

    /// The head as this machine reaches it over plain HTTP: its address on the machine's plane, else on the
    /// first plane of nodes.
    pub(crate) fn plain_base(&self, caller: Option<IpAddr>) -> Option<String> {
        let own = match caller {
            Some(IpAddr::V4(it)) => self
                .network
                .planes
                .iter()
                .filter(|plane| plane.kind == PlaneKind::Nodes)
                .find_map(|plane| plane.addresses.iter().find(|net| net.contains(&it)).copied()),
            _ => None,
        };
        let net = own.or_else(|| self.network.first(PlaneKind::Nodes).map(|(_, net)| net))?;
        Some(format!("http://{}:{PLAIN_PORT}", net.addr()))
    }

    /// Whether a node asks from another address than its own, in a network where it has one: from the pool.
    pub(crate) fn is_astray(&self, caller: Option<IpAddr>, own: impl Iterator<Item = IpAddr>) -> bool {
        let Some(IpAddr::V4(caller)) = caller else { return false };
        let mut nodes = self.network.planes.iter().filter(|it| it.kind == PlaneKind::Nodes);
        let Some(here) = nodes.find_map(|it| it.networks().find(|net| net.contains(&caller))) else {
            return false;
        };
        let mut at_home = false;
        for address in own {
            let IpAddr::V4(address) = address else { continue };
            if address == caller {
                return false;
            }
            at_home |= here.contains(&address);
        }
        at_home
    }
}

/// Whether the text can stand in a script as one word and is http or https.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let fits = |it: char| it.is_ascii_alphanumeric() || "-._~:/[]%".contains(it);
    rest.is_some_and(|it| {
        it.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '[') && it.chars().all(fits)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Config;

    const HEAD: &str = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"example\"\n";

    fn parse(table: &str) -> anyhow::Result<Config> {
        Config::parse(&domain::Document::parse(&format!("{HEAD}{table}")).unwrap())
    }

    #[test]
    fn only_urls_that_are_one_word_are_taken() {
        assert!(parse("").is_ok());
        let good = parse("[boot]\nadvertise_url = \"https://demo.example:8443/\"").unwrap();
        assert_eq!(good.advertise_url.as_deref(), Some("https://demo.example:8443"));
        for bad in ["demo", "ftp://x", "http://", "http://a b", "http://${x}", "http://a\\n"] {
            assert!(parse(&format!("[boot]\nadvertise_url = \"{bad}\"")).is_err(), "{bad}");
        }
        assert!(parse("[boot]\nadvertize_url = \"http://a\"").is_err());
    }

    #[test]
    fn a_node_is_astray_where_it_has_another_address() {
        let plane = "[[network.planes]]\nname = \"a\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";
        let config = parse(plane).unwrap();
        let astray = |caller: &str, own: &[&str]| {
            config.is_astray(caller.parse().ok(), own.iter().map(|it| it.parse().unwrap()))
        };
        assert!(astray("172.16.0.201", &["172.16.0.1"]));
        assert!(!astray("172.16.0.1", &["10.0.0.1", "172.16.0.1"]), "its own");
        assert!(!astray("172.16.0.201", &["10.0.0.1"]), "it has none here");
        assert!(!astray("127.0.0.1", &["172.16.0.1"]), "no network of nodes");
        assert!(!astray("", &["172.16.0.1"]));
    }

    #[test]
    fn the_plain_base_is_on_the_caller_s_plane() {
        let planes = "[[network.planes]]\nname = \"a\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n
            [[network.planes]]\nname = \"b\"\nkind = \"nodes\"\naddresses = [\"172.17.0.254/24\"]\n";
        let config = parse(planes).unwrap();
        let base = |it: &str| config.plain_base(it.parse().ok());
        assert_eq!(base("172.17.0.9").as_deref(), Some("http://172.17.0.254:8081"));
        assert_eq!(base("10.0.0.1").as_deref(), Some("http://172.16.0.254:8081"));
        assert_eq!(parse("").unwrap().plain_base(None), None);
    }
}
