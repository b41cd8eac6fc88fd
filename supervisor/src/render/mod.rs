//! From a generation of the document to the system (root, pilothouse-render@.service): a fixed table of
//! files, the administrators' accounts, the services' keys; then the daemons that read them are reloaded.
//!
//! The instance name is a number and nothing else; which paths are written stands here.

mod accounts;
mod files;
mod firewall;
mod keys;
mod login;
mod network;
mod time;

use std::path::Path;

use anyhow::Context as _;
use domain::{Document, MacAddr};

use crate::apply::secrets_path;
use crate::generations::Generations;
use crate::program::Program;

/// The first line of each file.
const HEADER: &str =
    "# Written by pilothouse-render from /etc/pilothouse/pilothouse.toml; changes here are overwritten.\n";

/// A file to be: where, and what of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) path: String,
    pub(crate) kind: Kind,
}

/// What an output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file of this mode.
    File(u32, String),
    /// A link to this target.
    Link(&'static str),
}

impl Output {
    fn file(path: impl Into<String>, mode: u32, text: impl Into<String>) -> Self {
        Self { path: path.into(), kind: Kind::File(mode, text.into()) }
    }
}

/// The name of the NIC with a MAC address, if the machine has it.
type NicOf<'a> = &'a dyn Fn(MacAddr) -> Option<String>;

/// Folders in which every file of ours is in the table: others of that name are removed.
const SWEPT: [(&str, &str); 3] =
    [("/etc/systemd/network", "50-ph-"), ("/etc/ssh/authorized_keys.d", ""), ("/etc/pilothouse", "public-")];

/// All files of a document.
pub(crate) fn outputs(document: &Document, text: &str, nic_of: NicOf<'_>) -> Vec<Output> {
    let mut outputs = vec![
        Output::file("/etc/pilothouse/pilothouse.toml", 0o644, text),
        Output::file("/etc/pilothouse/nftables.conf", 0o644, firewall::ruleset(document, nic_of)),
        Output::file("/etc/chrony/pilothouse.conf", 0o644, time::chrony(document)),
        // Names of nodes and BMCs: inventory keeps the file.
        Output { path: "/etc/hosts".to_owned(), kind: Kind::Link("/run/pilothouse/inventory/hosts") },
    ];
    // The socket unit of port 443 looks for it.
    if document.gateway.get("public_https").and_then(toml::Value::as_bool) == Some(true) {
        outputs.push(Output::file("/etc/pilothouse/public-https", 0o644, HEADER));
    }
    outputs.extend(network::files(document));
    outputs.extend(login::files(document));
    outputs
}

/// Carries a generation out. Twice is as good as once.
///
/// # Errors
///
/// The first step that fails.
pub(crate) async fn run(generation: u64) -> anyhow::Result<()> {
    let text = Generations::new("/var/lib/pilothouse/config").read(generation)?;
    let document = Document::parse(&text).with_context(|| format!("parse generation {generation}"))?;
    let hashes = password_hashes(generation)?;
    keys::create_missing().await?;
    accounts::apply(&document, &hashes).await?;
    let nic_of = |mac| files::nic_of(Path::new("/sys/class/net"), mac);
    let outputs = outputs(&document, &text, &nic_of);
    for output in &outputs {
        files::write(Path::new("/"), output)?;
    }
    files::sweep(Path::new("/"), &SWEPT, &outputs)?;
    log::info!("generation {generation} is written: {} files", outputs.len());
    for program in reloads(&document) {
        program.run().await?;
    }
    Ok(())
}

/// What must read its files again. A unit that does not run is started or left alone, as the verb says.
fn reloads(document: &Document) -> Vec<Program> {
    let systemctl = |arguments: &[&str]| Program::new("/usr/bin/systemctl", arguments);
    vec![
        Program::new("/usr/bin/hostnamectl", &["hostname", &document.cluster.head_name()]),
        Program::new("/usr/bin/timedatectl", &["set-timezone", &document.cluster.timezone]),
        systemctl(&["reload-or-restart", "systemd-networkd.service"]),
        systemctl(&["reload-or-restart", "nftables.service"]),
        systemctl(&["restart", "chrony.service"]),
        systemctl(&["try-reload-or-restart", "ssh.service"]),
    ]
}

/// The log-in passwords' hashes, where the answer had some.
fn password_hashes(generation: u64) -> anyhow::Result<Vec<(String, String)>> {
    let path = secrets_path(Path::new("/run/pilothouse-supervisor"), generation);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context("read the answer's secrets")?,
    };
    let secrets: domain::document::Secrets =
        serde_json::from_slice(&bytes).map_err(|_| anyhow::anyhow!("the answer's secrets cannot be read"))?;
    Ok(secrets.password_hashes.into_iter().collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Document;

    pub(super) const DOCUMENT: &str = r#"version = 1

[cluster]
name = "demo"
domain = "openchami.cluster"

[network]
dns = ["192.0.2.53"]
ntp = ["ntp.site.example"]

[[network.links]]
name = "bmc20"
kind = "vlan"
parent = "52:54:00:00:00:fe"
id = 20

[[network.links]]
name = "bond0"
kind = "bond"
members = ["ens4", "ens5"]

[[network.planes]]
name = "site"
kind = "site"
interface = "ens2"

[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "52:54:00:00:00:fe"
addresses = ["172.16.0.254/24"]

[[network.planes]]
name = "bmc"
kind = "bmc"
interface = "bmc20"
addresses = ["172.16.100.254/24"]

[[network.planes]]
name = "rack2"
kind = "nodes"
interface = "bond0"
addresses = ["10.1.0.254/16"]

[[network.planes]]
name = "rack3"
kind = "nodes"

[[network.planes.subnets]]
cidr = "172.17.0.0/24"
router = "172.17.0.1"

[admins.alice]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r alice@site"]

[admins.olga]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r olga@site"]
role = "operator"
"#;

    pub(super) fn document() -> Document {
        Document::parse(DOCUMENT).unwrap()
    }

    /// The file of a path.
    pub(super) fn text_of(path: &str) -> String {
        let nic_of = |_| Some("ens3".to_owned());
        let outputs = super::outputs(&document(), DOCUMENT, &nic_of);
        match outputs.into_iter().find(|it| it.path == path).map(|it| it.kind) {
            Some(super::Kind::File(_, text)) => text,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn every_path_is_written_once_and_below_etc() {
        let outputs = super::outputs(&document(), DOCUMENT, &|_| None);
        let mut paths: Vec<_> = outputs.iter().map(|it| it.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), outputs.len());
        assert!(paths.iter().all(|it| it.starts_with("/etc/")), "{paths:?}");
    }
}
