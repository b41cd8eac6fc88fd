//! `pilotctl boot params`.

use std::collections::BTreeMap;

use boot::client::{Architecture, Client, Entry, ImageWish, Script, Variant};
use clap::Subcommand;
use domain::MacAddr;
use serde_json::{Map, Value, json};

use super::{architecture, client};
use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};

pub(crate) const SET_HELP: &str = "A node's own entries are changed; one that has none gets one by its xname. \
An image is what its name stands for now, until the entry is set again. A kernel or initrd that begins with a slash is a \
path on port 8080 of the head.

Examples:
  pilotctl boot set --group compute --image compute:latest --params 'console=ttyS0,115200 quiet'
  pilotctl boot set --group compute --kernel /compute/latest/vmlinuz --initrd /compute/latest/initrd \\
      --params 'console=ttyS0,115200 quiet'
  pilotctl boot set 'nid[001-009]' --params 'console=ttyS0,115200'
  pilotctl boot set --group compute --nfs 172.16.0.250:/srv/compute
  pilotctl boot set --group login --local-disk
  pilotctl boot set --default --kernel http://172.16.0.254:8080/rescue/latest/vmlinuz
  pilotctl boot set --group compute --arch arm64 --kernel http://172.16.0.254:8080/arm/latest/vmlinuz";

/// Kernel, initrd and command line, by node, group or for all.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every entry
    #[command(after_help = "Examples:
  pilotctl boot params list
  pilotctl boot params list --output json")]
    List,
    /// The entries of some nodes, groups or of all, in order of precedence
    #[command(after_help = "Examples:
  pilotctl boot params show nid001
  pilotctl boot params show --group compute --default")]
    Show(Targets),
    /// Set or change; what is not named stays as it is
    #[command(after_help = SET_HELP)]
    Set(Set),
    /// Take entries away
    #[command(after_help = "Examples:
  pilotctl boot params remove nid001             its groups' or Default count again
  pilotctl boot params remove --group compute
  pilotctl boot params remove --group compute --arch arm64")]
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    /// Names, xnames, lists such as 'nid[001-009]', or MAC addresses
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Nodes of this group without an entry of their own
    #[arg(long, value_name = "LABEL")]
    group: Vec<String>,
    /// The node of this number, also one that is not there yet
    #[arg(long, value_name = "NUMBER")]
    nid: Vec<i64>,
    /// Every machine without another entry
    #[arg(long)]
    default: bool,
    /// Machines of this architecture that are in no inventory
    #[arg(long, value_name = "ARCH", value_parser = architecture)]
    unknown: Vec<Architecture>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    targets: Targets,
    /// The kernel's URL
    #[arg(long, value_name = "URL")]
    kernel: Option<String>,
    /// The initrd's URL
    #[arg(long, value_name = "URL")]
    initrd: Option<String>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    params: Option<String>,
    /// For machines of this architecture alone, by iPXE's word; needs --kernel
    #[arg(long, value_parser = architecture, requires = "kernel")]
    arch: Option<Architecture>,
    /// Kernel, initrd and root of an image: name:tag, a name alone for its tag latest, or sha256:…
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["kernel", "initrd", "arch"])]
    image: Option<String>,
    /// The machine's own disk
    #[arg(long, conflicts_with_all = ["kernel", "initrd", "params", "arch", "image", "nfs"])]
    local_disk: bool,
    /// The root file system by NFS, in the place of the one that the command line names
    #[arg(long, value_name = "SERVER:/PATH", value_parser = nfs_root, conflicts_with = "image")]
    nfs: Option<String>,
}

/// `SERVER:/PATH`, with options of mount after a colon if there are any.
fn nfs_root(text: &str) -> Result<String, String> {
    let wrong = || "write SERVER:/PATH, as 172.16.0.250:/srv/compute".to_owned();
    let (server, path) = text.split_once(":/").ok_or_else(wrong)?;
    let sound = !server.is_empty() && !server.contains('/') && !text.contains(char::is_whitespace);
    if sound && !path.is_empty() { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// The command line with a root by NFS in the place of the one that it names (dracut.cmdline(7), "NFS").
fn with_nfs(params: &str, root: &str) -> String {
    const OTHER: [&str; 4] = ["root=", "nfsroot=", "rootfstype=", "rd.live.image"];
    // What nodes write stays in their memory: they share the root.
    const OWN: [(&str, &str); 3] = [
        ("rd.live.overlay.overlayfs", "rd.live.overlay.overlayfs=1"),
        ("ip=", "ip=dhcp"),
        ("rd.neednet=", "rd.neednet=1"),
    ];
    let kept: Vec<&str> = params
        .split(' ')
        .filter(|it| !it.is_empty() && !OTHER.iter().any(|other| it.starts_with(other)))
        .collect();
    let mut words = vec![format!("root=nfs:{root}")];
    for (key, word) in OWN {
        if !kept.iter().any(|it| it.starts_with(key)) {
            words.push(word.to_owned());
        }
    }
    words.extend(kept.into_iter().map(str::to_owned));
    words.join(" ")
}

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    targets: Targets,
    /// What machines of this architecture boot instead, and nothing else
    #[arg(long, value_parser = architecture)]
    arch: Option<Architecture>,
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let boot = client(head);
    match command {
        Command::List => {
            list(head, &boot.entries().await?);
            Ok(())
        }
        Command::Show(targets) => show(head, &boot, &targets).await,
        Command::Set(arguments) => set(&boot, arguments).await,
        Command::Remove(arguments) => remove(&boot, arguments).await,
    }
}

/// The words of a target as the service knows it, `mac:…`, `host:…`, `nid:…`.
type Word = String;

/// Whose an entry is to be, and which entries there are of it.
#[derive(Debug)]
struct Owner {
    /// What the user wrote.
    asked: String,
    /// Those with an entry, in order of precedence; for a node only its own.
    there: Vec<Word>,
    /// Where a new one goes.
    new: Word,
}

impl Targets {
    /// The hosts that are no nodes.
    fn words(&self) -> Vec<Word> {
        let groups = self.group.iter().map(|it| format!("host:{}", it.to_ascii_lowercase()));
        let unknown = self.unknown.iter().map(|it| format!("host:Unknown-{it}"));
        let default = self.default.then(|| "host:Default".to_owned());
        groups.chain(self.nid.iter().map(|it| format!("nid:{it}"))).chain(unknown).chain(default).collect()
    }

    async fn owners(&self, boot: &Client) -> Result<Vec<Owner>, Failure> {
        let words = self.words();
        if words.is_empty() && self.nodes.is_empty() {
            return Err(Failure::usage("name nodes, --group, --nid, --default or --unknown"));
        }
        let known: Vec<Word> = boot.entries().await?.iter().flat_map(words_of).collect();
        let (macs, lists): (Vec<&String>, _) =
            self.nodes.iter().partition(|it| it.parse::<MacAddr>().is_ok());
        let macs = macs.iter().filter_map(|it| it.parse::<MacAddr>().ok()).map(|it| format!("mac:{it}"));
        let mut owners: Vec<Owner> = macs
            .chain(words)
            .map(|word| {
                let there = known.iter().filter(|it| **it == word).cloned().collect();
                Owner { asked: word.clone(), there, new: word }
            })
            .collect();
        let lists: Vec<String> = lists.into_iter().cloned().collect();
        let nodes = if lists.is_empty() { Vec::new() } else { crate::power::expand(&lists)? };
        for node in nodes {
            let script = boot.script(&node).await?;
            let Some(xname) = &script.node else {
                return Err(Failure::failed(format!(
                    "{node} is no node; pilotctl nodes list shows them, and a group is named with --group"
                )));
            };
            let there = considered(&script, |source| matches!(source, "mac" | "host" | "nid"));
            owners.push(Owner { there, new: format!("host:{xname}"), asked: node });
        }
        Ok(owners)
    }
}

/// The targets with an entry that could decide what the machine boots.
fn considered(script: &Script, wanted: impl Fn(&str) -> bool) -> Vec<Word> {
    let there = script.considered.iter().filter(|it| it.kernel.is_some() && wanted(&it.source));
    there.map(|it| it.target.clone()).collect()
}

fn words_of(entry: &Entry) -> Vec<Word> {
    let macs = entry.macs.iter().map(|it| format!("mac:{it}"));
    let hosts = entry.hosts.iter().map(|it| format!("host:{it}"));
    macs.chain(hosts).chain(entry.nids.iter().map(|it| format!("nid:{it}"))).collect()
}

/// An entry of these targets, for a request.
fn entry_of<'a>(words: impl IntoIterator<Item = &'a Word>) -> Entry {
    let mut entry = Entry::default();
    for word in words {
        match word.split_once(':') {
            Some(("mac", mac)) => entry.macs.push(mac.to_owned()),
            Some(("nid", nid)) => entry.nids.extend(nid.parse::<i64>()),
            Some((_, host)) => entry.hosts.push(host.to_owned()),
            None => {}
        }
    }
    entry
}

fn list(head: &Head, entries: &[Entry]) {
    let rows: Vec<_> = entries.iter().map(|it| row(short(&words_of(it)), it)).collect();
    print(head.format, &json!(entries), &["ENTRY OF", "KERNEL", "INITRD", "PARAMS", "ARCHITECTURES"], &rows);
}

fn row(targets: String, entry: &Entry) -> Vec<String> {
    let other = entry.architectures.iter().map(|(arch, it)| format!("{arch}={}", it.kernel));
    let other = other.collect::<Vec<_>>().join(" ");
    let kernel = if entry.image.is_empty() { &entry.kernel } else { &entry.image };
    vec![targets, kernel.clone(), entry.initrd.clone(), entry.params.clone(), other]
}

/// The first three, and how many more.
fn short(words: &[Word]) -> String {
    const SHOWN: usize = 3;
    let mut text = words[..words.len().min(SHOWN)].join(" ");
    if words.len() > SHOWN {
        text.push_str(&format!(" and {} more", words.len() - SHOWN));
    }
    text
}

async fn show(head: &Head, boot: &Client, targets: &Targets) -> Result<(), Failure> {
    let (entries, all_once) = (boot.entries().await?, boot.once().await?);
    let by_word: BTreeMap<Word, &Entry> =
        entries.iter().flat_map(|entry| words_of(entry).into_iter().map(move |it| (it, entry))).collect();
    let (mut shown, mut rows, mut without) = (Map::new(), Vec::new(), Vec::new());
    for owner in targets.owners(boot).await? {
        // Of a node, the entries of its groups too.
        let words = match owner.new.as_str() == owner.asked {
            true => owner.there,
            false => {
                let xname = owner.new.strip_prefix("host:").unwrap_or_default();
                if let Some(once) = all_once.iter().find(|it| it.node.as_str() == xname) {
                    let entry = Entry {
                        kernel: once.kernel.clone(),
                        initrd: once.initrd.clone(),
                        params: once.params.clone(),
                        image: once.image.clone(),
                        ..Entry::default()
                    };
                    rows.push([vec![owner.asked.clone()], row("once".to_owned(), &entry)].concat());
                    shown.insert(owner.asked.clone(), json!([{"target": "once", "entry": entry}]));
                }
                considered(&boot.script(&owner.asked).await?, |source| source != "once")
            }
        };
        if words.is_empty() && !shown.contains_key(&owner.asked) {
            without.push(owner.asked.clone());
        }
        for word in words {
            let Some(entry) = by_word.get(&word) else { continue };
            rows.push([vec![owner.asked.clone()], row(word.clone(), entry)].concat());
            let list = shown.entry(owner.asked.clone()).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!({"target": word, "entry": entry}));
            }
        }
    }
    let headings = ["OF", "ENTRY OF", "KERNEL", "INITRD", "PARAMS", "ARCHITECTURES"];
    print(head.format, &Value::Object(shown), &headings, &rows);
    match without.is_empty() {
        true => Ok(()),
        false if head.format == Format::Json => Err(Failure::some_nodes("")),
        false => Err(Failure::some_nodes(format!("nothing is set for {}", without.join(", ")))),
    }
}

async fn set(boot: &Client, arguments: Set) -> Result<(), Failure> {
    let Set { targets, kernel, initrd, params, arch, image, local_disk, nfs } = arguments;
    let kernel = if local_disk { Some("local-disk".to_owned()) } else { kernel };
    if kernel.is_none() && initrd.is_none() && params.is_none() && image.is_none() && nfs.is_none() {
        return Err(Failure::usage(
            "say what to set: --image, --kernel, --initrd, --params, --nfs or --local-disk",
        ));
    }
    let owners = targets.owners(boot).await?;
    let whole = kernel.is_some() && arch.is_none() || image.is_some();
    if let Some(owner) = owners.iter().find(|it| it.there.is_empty() && !whole) {
        let first =
            "has no entry of its own yet; give it one first, with --image, or --kernel without --arch";
        return Err(Failure::usage(format!("{} {first}", owner.asked)));
    }
    let words: Vec<&Word> = owners
        .iter()
        .flat_map(|it| if it.there.is_empty() { vec![&it.new] } else { it.there.iter().collect() })
        .collect();
    // Targets whose command lines differ are set one line at a time.
    let mut lines: BTreeMap<Option<String>, Vec<&Word>> = BTreeMap::new();
    if let Some(root) = &nfs {
        let entries = boot.entries().await?;
        let old =
            |word: &Word| entries.iter().find(|it| words_of(it).contains(word)).map(|it| it.params.as_str());
        for word in &words {
            let base = params.as_deref().or_else(|| old(word)).unwrap_or_default();
            lines.entry(Some(with_nfs(base, root))).or_default().push(word);
        }
    } else {
        lines.insert(params, words.clone());
    }
    for (params, words) in lines {
        let mut entry = entry_of(words.iter().copied());
        let (kernel, initrd) = (kernel.clone(), initrd.clone().unwrap_or_default());
        match (arch, kernel, &image) {
            (_, _, Some(image)) => {
                let Entry { hosts, macs, nids, .. } = entry;
                let image = super::once::with_tag(image);
                boot.replace_image(&ImageWish { hosts, macs, nids, image, params }).await?;
                continue;
            }
            (Some(arch), Some(kernel), _) => {
                drop(entry.architectures.insert(arch, Variant { kernel, initrd, params }))
            }
            (_, kernel, _) => {
                entry.kernel = kernel.unwrap_or_default();
                entry.initrd = initrd;
                entry.params = params.unwrap_or_default();
            }
        }
        boot.replace(&entry).await?;
    }
    words.iter().for_each(|it| println!("set {it}"));
    Ok(())
}

async fn remove(boot: &Client, Remove { targets, arch }: Remove) -> Result<(), Failure> {
    let owners = targets.owners(boot).await?;
    let there: Vec<&Word> = owners.iter().flat_map(|it| &it.there).collect();
    let without: Vec<&str> =
        owners.iter().filter(|it| it.there.is_empty()).map(|it| it.asked.as_str()).collect();
    if !there.is_empty() {
        let entry = entry_of(there.iter().copied());
        match arch {
            Some(arch) => boot.remove_architecture(&entry, arch).await?,
            None => boot.remove(&entry).await?,
        }
        there.iter().for_each(|it| println!("removed {it}"));
    }
    match without.is_empty() {
        true => Ok(()),
        false => Err(Failure::some_nodes(format!("nothing of its own is set for {}", without.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use boot::client::Entry;

    use super::{entry_of, nfs_root, short, with_nfs, words_of};

    #[test]
    fn a_root_by_nfs_takes_the_place_of_another() {
        let line = with_nfs(
            "root=live:http://h/r rd.live.image rd.neednet=1 console=ttyS0 quiet",
            "10.0.0.9:/srv/c",
        );
        let own = "root=nfs:10.0.0.9:/srv/c rd.live.overlay.overlayfs=1 ip=dhcp";
        assert_eq!(line, format!("{own} rd.neednet=1 console=ttyS0 quiet"));
        for bad in ["", "h", "h:x", ":/x", "h:/", "h:/a b", "/h:/x"] {
            assert!(nfs_root(bad).is_err(), "{bad}");
        }
        assert!(nfs_root("h:/srv/c:ro,vers=4").is_ok());
    }

    #[test]
    fn targets_are_written_as_they_are_read() {
        let entry = Entry {
            macs: vec!["52:54:00:10:00:01".into()],
            hosts: vec!["compute".into(), "x1000c0s0b0n0".into()],
            nids: vec![7],
            ..Entry::default()
        };
        let words = words_of(&entry);
        assert_eq!(words[0], "mac:52:54:00:10:00:01");
        assert_eq!(entry_of(&words), entry);
        assert_eq!(short(&words), "mac:52:54:00:10:00:01 host:compute host:x1000c0s0b0n0 and 1 more");
    }
}
