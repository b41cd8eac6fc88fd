//! `pilotctl boot params`.

use std::collections::BTreeMap;

use boot::client::{Architecture, Client, Entry, Script, Variant};
use clap::Subcommand;
use domain::MacAddr;
use serde_json::{Map, Value, json};

use super::{architecture, client};
use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};

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
    #[command(after_help = "A node's own entries are changed; one that has none gets one by its xname.

Examples:
  pilotctl boot params set --group compute --kernel http://172.16.0.254:8080/compute/latest/vmlinuz \\
      --initrd http://172.16.0.254:8080/compute/latest/initrd --params 'console=ttyS0,115200 quiet'
  pilotctl boot params set 'nid[001-009]' --params 'console=ttyS0,115200'
  pilotctl boot params set --default --kernel http://172.16.0.254:8080/rescue/latest/vmlinuz
  pilotctl boot params set --group compute --arch arm64 --kernel http://172.16.0.254:8080/arm/latest/vmlinuz")]
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
    vec![targets, entry.kernel.clone(), entry.initrd.clone(), entry.params.clone(), other]
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
    let entries = boot.entries().await?;
    let by_word: BTreeMap<Word, &Entry> =
        entries.iter().flat_map(|entry| words_of(entry).into_iter().map(move |it| (it, entry))).collect();
    let (mut shown, mut rows, mut without) = (Map::new(), Vec::new(), Vec::new());
    for owner in targets.owners(boot).await? {
        // Of a node, the entries of its groups too.
        let words = match owner.new.as_str() == owner.asked {
            true => owner.there,
            false => considered(&boot.script(&owner.asked).await?, |_| true),
        };
        if words.is_empty() {
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
    let Set { targets, kernel, initrd, params, arch } = arguments;
    if kernel.is_none() && initrd.is_none() && params.is_none() {
        return Err(Failure::usage("say what to set: --kernel, --initrd or --params"));
    }
    let owners = targets.owners(boot).await?;
    if let Some(owner) = owners.iter().find(|it| it.there.is_empty() && (kernel.is_none() || arch.is_some()))
    {
        let first = "has no entry of its own yet; give it one first, with --kernel and without --arch";
        return Err(Failure::usage(format!("{} {first}", owner.asked)));
    }
    let words: Vec<&Word> = owners
        .iter()
        .flat_map(|it| if it.there.is_empty() { vec![&it.new] } else { it.there.iter().collect() })
        .collect();
    let mut entry = entry_of(words.iter().copied());
    match (arch, kernel) {
        (Some(arch), Some(kernel)) => {
            let variant = Variant { kernel, initrd: initrd.unwrap_or_default(), params };
            entry.architectures.insert(arch, variant);
        }
        (_, kernel) => {
            entry.kernel = kernel.unwrap_or_default();
            entry.initrd = initrd.unwrap_or_default();
            entry.params = params.unwrap_or_default();
        }
    }
    boot.replace(&entry).await?;
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

    use super::{entry_of, short, words_of};

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
