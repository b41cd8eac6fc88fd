//! `[boot]` of the document, and what boot takes from the rest of it.

use std::net::IpAddr;

use anyhow::Context as _;
use domain::Document;
use domain::document::{Network, PlaneKind};
use serde::Deserialize;

use crate::model::{Defaults, Edit, LOCAL_DISK, Settings};

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
    /// What machines boot that nothing is set for, by nobody.
    default: Option<Entry>,
    /// What machines boot that are in no inventory.
    discovery: Option<Entry>,
}

/// What some machines boot: a kernel, an image or their own disk.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    /// URL of the kernel, or its path on port 8080 of the head.
    kernel: String,
    /// The same of the initrd.
    initrd: String,
    /// The kernel's command line.
    params: String,
    /// `name:tag` of the head's images, in the place of kernel and initrd.
    image: Option<String>,
    /// The machine's own disk, in the place of all of them.
    local_disk: bool,
}

/// What boot is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) advertise_url: Option<String>,
    pub(crate) cloud_init_url: Option<String>,
    pub(crate) defaults: Defaults,
    pub(crate) node_name: String,
    pub(crate) join: join::Config,
    network: Network,
}

/// The port on which the gateway serves nodes without TLS (the table in `domain::port`).
const PLAIN_PORT: u16 = 8081;
/// The port on which images are served (the same table).
const IMAGES_PORT: u16 = 8080;

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
        let settings = |place, it: Option<Entry>| it.map(|it| it.settings(place)).transpose();
        let defaults = Defaults {
            default: settings("boot.default", table.default)?.map(Into::into),
            discovery: settings("boot.discovery", table.discovery)?.map(Into::into),
        };
        Ok(Self {
            defaults,
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

    /// Where this machine fetches the head's images, whose other address is `base`.
    pub(crate) fn images_base(&self, caller: Option<IpAddr>, base: &str) -> String {
        let port = |it: &str| {
            format!(
                "{}:{IMAGES_PORT}",
                it.trim_end_matches(|it: char| it.is_ascii_digit()).trim_end_matches(':')
            )
        };
        match self.plain_base(caller) {
            Some(plain) => port(&plain),
            None => {
                let host = base.split_once("://").map_or(base, |(_, it)| it);
                let has_port =
                    host.rsplit_once(':').is_some_and(|(_, it)| it.bytes().all(|it| it.is_ascii_digit()));
                if has_port {
                    port(&format!("http://{host}"))
                } else {
                    format!("http://{host}:{IMAGES_PORT}")
                }
            }
        }
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

impl Entry {
    fn settings(self, place: &str) -> anyhow::Result<Settings> {
        let Self { kernel, initrd, params, image, local_disk } = self;
        let ways = [!kernel.is_empty(), image.is_some(), local_disk];
        anyhow::ensure!(
            ways.into_iter().filter(|it| *it).count() == 1,
            "{place}: write one of kernel, image and local_disk = true"
        );
        let edit = match image {
            Some(image) => Edit::of_tag(&image, &params).with_context(|| {
                format!(
                    "{place}.image: {image:?} is no image; write name:tag as pilotctl image list shows it"
                )
            })?,
            None if local_disk => Edit { kernel: Some(LOCAL_DISK.into()), ..Edit::default() },
            None => {
                Edit { kernel: Some(kernel), initrd: Some(initrd), params: Some(params), ..Edit::default() }
            }
        };
        let settings = edit.apply(None).context("a kernel is named")?;
        settings.with_context(|| format!("read [{place}]"))
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
    fn what_nobody_set_stands_in_the_document() {
        let good = "[boot.default]\nlocal_disk = true\n[boot.discovery]\nimage = \"discovery:latest\"";
        let defaults = parse(good).unwrap().defaults;
        let discovery = defaults.discovery.unwrap();
        assert_eq!(defaults.default.unwrap().kernel(), "local-disk");
        assert_eq!(discovery.kernel(), "/images/discovery/latest/kernel");
        let live = "root=live:/images/discovery/latest/root rd.live.image rd.live.overlay.overlayfs=1 ip=dhcp rd.neednet=1";
        assert_eq!((discovery.params(), discovery.reference()), (live, "discovery:latest"));
        for (bad, why) in [
            ("[boot.default]", "write one of"),
            ("[boot.default]\nkernel = \"k\"\nlocal_disk = true", "write one of"),
            ("[boot.discovery]\nimage = \"a b\"", "boot.discovery.image"),
            ("[boot.discovery]\nkernel = \"${x}\"", "[boot.discovery]"),
            ("[boot.discovery]\nkernal = \"k\"", "[boot]"),
        ] {
            let error = format!("{:#}", parse(bad).unwrap_err());
            assert!(error.contains(why), "{bad}: {error}");
        }
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
        let images = |config: &Config, it: &str, base: &str| config.images_base(it.parse().ok(), base);
        assert_eq!(images(&config, "172.17.0.9", "https://demo.example:8443"), "http://172.17.0.254:8080");
        let without = parse("").unwrap();
        for base in ["http://10.0.0.9:8081", "http://10.0.0.9", "https://10.0.0.9:8443"] {
            assert_eq!(images(&without, "", base), "http://10.0.0.9:8080");
        }
    }
}
