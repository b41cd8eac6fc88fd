//! From a generation of the document to the system (root, pilothouse-render@.service): a fixed table of
//! files, the administrators' accounts, the services' keys; then the daemons whose files changed are reloaded.
//!
//! The instance name is a number and nothing else; which paths are written stands here.

mod accounts;
pub(crate) mod edits;
mod files;
mod firewall;
mod keys;
mod login;
mod logs;
mod network;
mod reload;
mod time;

use std::collections::BTreeSet;
use std::fs::File;

use anyhow::{Context as _, ensure};
use domain::{Document, MacAddr, event};
use nix::fcntl::{Flock, FlockArg};

use crate::generations::{Generations, Stage};
use crate::log::event;
use crate::root::Root;
use crate::secrets;
use crate::serve::Places;

/// The first line of each file.
const HEADER: &str =
    "# Written by pilothouse-render from /etc/pilothouse/pilothouse.toml; changes here are overwritten.\n";
/// The folder of the document, whose lock keeps two writers apart.
const FOLDER: &str = "/etc/pilothouse";

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

/// A generation, read.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) text: String,
    pub(crate) document: Document,
}

impl Generation {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// If there is none of that number, or it does not hold.
    pub(crate) fn read(generations: &Generations, number: u64) -> anyhow::Result<Self> {
        let text = generations.read(number)?;
        let document = Document::parse(&text).with_context(|| format!("parse generation {number}"))?;
        Ok(Self { text, document })
    }
}

/// The name of the NIC with a MAC address, if the machine has it.
type NicOf<'a> = &'a dyn Fn(MacAddr) -> Option<String>;

/// Folders in which every file of ours is in the table: others of that name are removed.
const SWEPT: [(&str, &str); 4] = [
    ("/etc/systemd/network", "50-ph-"),
    ("/etc/ssh/authorized_keys.d", ""),
    ("/etc/pilothouse", "public-"),
    ("/etc/pilothouse", "logs-"),
];

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
    outputs.extend(logs::files(document));
    outputs
}

/// Carries a generation out, as systemd asks. Twice is as good as once.
///
/// # Errors
///
/// The first step that fails.
pub(crate) async fn run(places: &Places, number: u64) -> anyhow::Result<()> {
    let generations = Generations::new(&places.state);
    let root = Root::new(&places.root);
    let _one = lock(&root)?;
    let applied = generations.applied();
    let on_trial =
        generations.pending().is_some_and(|it| it.generation == number && it.stage != Stage::Reverting);
    let settled = generations.pending().is_none() && applied == Some(number);
    ensure!(on_trial || settled, "generation {number} is neither in force nor on its way there");
    let generation = Generation::read(&generations, number)?;
    let before = applied.filter(|it| *it != number).and_then(|it| Generation::read(&generations, it).ok());
    let secrets = secrets::read(&places.run, number)?.unwrap_or_default();
    let hashes: Vec<_> = secrets.password_hashes.into_iter().collect();
    keys::create_missing(&root).await?;
    accounts::apply(&root, &generation.document, &hashes).await?;
    let changed = write(&root, &generation, before.as_ref())?;
    log::info!("generation {number} is written: {} files changed", changed.len());
    for program in reload::programs(&generation.document, before.as_ref().map(|it| &it.document), &changed) {
        root.run(program).await?;
    }
    Ok(())
}

/// Keeps two that write the system apart, for as long as what it gives lives.
///
/// # Errors
///
/// If the folder cannot be made or opened.
pub(crate) fn lock(root: &Root) -> anyhow::Result<Flock<File>> {
    let folder = root.at(FOLDER);
    let opened = std::fs::create_dir_all(&folder).and_then(|()| File::open(&folder));
    let locked = Flock::lock(opened.context("open /etc/pilothouse")?, FlockArg::LockExclusive);
    locked.map_err(|(_, error)| error).context("lock /etc/pilothouse")
}

/// Writes all files of a generation; the paths of those that are not as they were under the other one, also if an
/// earlier run of this one wrote them and was cut off before their daemon was told.
///
/// # Errors
///
/// If one cannot be written.
pub(crate) fn write(
    root: &Root,
    generation: &Generation,
    other: Option<&Generation>,
) -> anyhow::Result<BTreeSet<String>> {
    tell_edits(root);
    let nic_of = |mac| files::nic_of(&root.at("/sys/class/net"), mac);
    let outputs = outputs(&generation.document, &generation.text, &nic_of);
    let others = other.map(|it| self::outputs(&it.document, &it.text, &nic_of)).unwrap_or_default();
    let mut changed = BTreeSet::new();
    for output in &outputs {
        if files::write(root, output)? || !others.contains(output) {
            changed.insert(output.path.clone());
        }
    }
    changed.extend(files::sweep(root, &SWEPT, &outputs)?);
    let gone = others.into_iter().filter(|it| !outputs.iter().any(|new| new.path == it.path));
    changed.extend(gone.map(|it| it.path));
    edits::keep(root, &outputs)?;
    Ok(changed)
}

/// What was changed by hand is about to be lost.
fn tell_edits(root: &Root) {
    let edited = edits::find(root).join(", ");
    if !edited.is_empty() {
        event!(event::CONFIG_EDITED, PILOTHOUSE_FILES = edited;
            "changed by hand, and written anew from the configuration: {edited}");
    }
}

/// Makes the accounts what the generation says, without new passwords.
///
/// # Errors
///
/// The first program that fails.
pub(crate) async fn accounts_of(root: &Root, generation: &Generation) -> anyhow::Result<()> {
    accounts::apply(root, &generation.document, &[]).await
}

/// Has the daemons read their files that changed; one that fails keeps no other from it.
pub(crate) async fn reload_all(
    root: &Root,
    generation: &Generation,
    other: &Generation,
    changed: &BTreeSet<String>,
) {
    for program in reload::programs(&generation.document, Some(&other.document), changed) {
        if let Err(error) = root.run(program).await {
            log::error!("{error:#}");
        }
    }
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
