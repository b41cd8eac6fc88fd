//! Which settings a machine boots; the order stands in the head of `model.rs`.

use std::fmt;
use std::sync::Arc;

use domain::inventory::{Component, Inventory};
use domain::{MacAddr, Nid};

use uuid::Uuid;

use super::{Architecture, Host, Parameters, Settings, Target};

/// What a look-up goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) parameters: &'a Parameters,
    pub(crate) defaults: &'a Defaults,
    /// How nodes without a name are called.
    pub(crate) pattern: &'a str,
}

/// What the document says of machines that nothing else is set for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    /// `[boot.default]`: of every machine.
    pub(crate) default: Option<Arc<Settings>>,
    /// `[boot.discovery]`: of machines that are in no inventory.
    pub(crate) discovery: Option<Arc<Settings>>,
}

/// What a script is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `mac=`, as it was written; what is no address is an unknown machine (recording `bss-script-020`).
    Mac(String),
    /// `name=`: an xname or a node's name.
    Name(String),
    /// `nid=`
    Nid(Nid),
}

/// Where settings came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One of the machine's MAC addresses.
    Mac,
    /// Its xname or name.
    Host,
    /// Its number.
    Nid,
    /// The group of this label.
    Group(String),
    /// `Default`
    Default,
    /// `Unknown-<arch>`
    Unknown(String),
    /// A table of the document, `boot.default`.
    Document(&'static str),
    /// What the node boots this time alone.
    Once(Uuid),
}

/// Settings, and how they were come by.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) settings: Arc<Settings>,
    pub(crate) source: Source,
    pub(crate) target: Target,
}

/// What a machine is answered.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A script that boots this.
    Boot(Found),
    /// A script that asks again with the machine's architecture, by which the kernel differs.
    Ask(Found),
    /// A script that waits and asks again: nothing is set, or it stands with the node's MAC address.
    Wait,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac => f.write_str("mac"),
            Self::Host => f.write_str("host"),
            Self::Nid => f.write_str("nid"),
            Self::Group(label) => write!(f, "group:{label}"),
            Self::Default => f.write_str("default"),
            Self::Unknown(arch) => write!(f, "unknown:{arch}"),
            Self::Document(table) => f.write_str(table),
            Self::Once(_) => f.write_str("once"),
        }
    }
}

impl Asked {
    /// What an administrator's word asks for: a MAC address, an xname or a node's name.
    pub(crate) fn of_word(word: &str) -> Self {
        if MacAddr::parse_bare(word).is_ok() {
            Self::Mac(word.to_owned())
        } else {
            Self::Name(word.to_owned())
        }
    }

    /// The query's member, `mac` of `mac=`.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Mac(_) => "mac",
            Self::Name(_) => "name",
            Self::Nid(_) => "nid",
        }
    }

    /// The query's value, as it was asked.
    pub(crate) fn value(&self) -> String {
        match self {
            Self::Mac(text) | Self::Name(text) => text.clone(),
            Self::Nid(nid) => nid.to_string(),
        }
    }

    /// The MAC address, if that is what was asked.
    pub(crate) fn mac(&self) -> Option<MacAddr> {
        match self {
            Self::Mac(text) => MacAddr::parse_bare(text).ok(),
            _ => None,
        }
    }

    fn target(&self) -> Option<(Target, Source)> {
        match self {
            Self::Mac(_) => self.mac().map(|it| (Target::Mac(it), Source::Mac)),
            Self::Name(text) => Host::parse(text).map(|it| (Target::Host(it), Source::Host)),
            Self::Nid(nid) => Some((Target::Nid(*nid), Source::Nid)),
        }
    }
}

/// The node that is meant.
pub(crate) fn node_of<'a>(inventory: &'a Inventory, asked: &Asked, pattern: &str) -> Option<&'a Component> {
    let found = match asked {
        Asked::Mac(_) => {
            let interface = inventory.interface_of(asked.mac()?)?;
            inventory.component(interface.component.as_ref()?)
        }
        Asked::Name(word) => inventory.find(word, pattern),
        Asked::Nid(nid) => inventory.component_by_nid(*nid),
    };
    found.filter(|it| it.id.is_node())
}

/// The node that a target names; none for groups, `Default` and what is in no inventory.
pub(crate) fn node_named<'a>(
    inventory: &'a Inventory,
    target: &Target,
    pattern: &str,
) -> Option<&'a Component> {
    match target {
        Target::Mac(mac) => inventory.component(inventory.interface_of(*mac)?.component.as_ref()?),
        Target::Host(host) => inventory.find(host.as_str(), pattern),
        Target::Nid(nid) => inventory.component_by_nid(*nid),
    }
}

/// The MAC address that stands for a node: that of its first interface.
pub(crate) fn node_mac(inventory: &Inventory, node: &Component) -> Option<MacAddr> {
    inventory.interfaces_of(&node.id).map(|it| it.mac).next()
}

impl Found {
    /// By which the machine says that it boots it, if it does so this time alone.
    pub(crate) fn once(&self) -> Option<Uuid> {
        match self.source {
            Source::Once(id) => Some(id),
            _ => None,
        }
    }
}

/// What the machine boots. `arch` is there when it comes back from having been asked; `spent` are wishes for one boot
/// that were fulfilled already.
pub(crate) fn look_up(
    known: Known<'_>,
    asked: &Asked,
    arch: Option<&str>,
    spent: impl Fn(&Uuid) -> bool,
) -> Outcome {
    let node = node_of(known.inventory, asked, known.pattern);
    if node.is_none() && arch.is_none() {
        return Outcome::Wait;
    }
    let found = walk(known, node, asked, arch, |source, target| {
        let settings = match source {
            Source::Once(id) if spent(&id) => return None,
            _ => known.settings(&source, node, &target)?,
        };
        Some(Found { settings, source, target })
    });
    match found {
        None => Outcome::Wait,
        Some(found) if arch.is_none() => {
            if found.source == Source::Mac && !matches!(asked, Asked::Mac(_)) {
                Outcome::Wait
            } else if found.settings.architectures().is_empty() {
                Outcome::Boot(found)
            } else {
                Outcome::Ask(found)
            }
        }
        Some(found) => Outcome::Boot(found),
    }
}

/// Everything that could decide, in order, and the settings of what has some.
pub(crate) fn explain(
    known: Known<'_>,
    asked: &Asked,
    arch: Option<&str>,
) -> Vec<(Target, Source, Option<Arc<Settings>>)> {
    let mut all: Vec<(Target, Source, Option<Arc<Settings>>)> = Vec::new();
    let node = node_of(known.inventory, asked, known.pattern);
    let none: Option<()> = walk(known, node, asked, arch, |source, target| {
        let own = !matches!(source, Source::Once(_));
        if !own || !all.iter().any(|(it, from, _)| *it == target && !matches!(from, Source::Once(_))) {
            let settings = known.settings(&source, node, &target);
            all.push((target, source, settings));
        }
        None
    });
    debug_assert!(none.is_none());
    all
}

impl Known<'_> {
    fn settings(self, source: &Source, node: Option<&Component>, target: &Target) -> Option<Arc<Settings>> {
        match source {
            Source::Once(_) => self.parameters.once(&node?.id).map(|it| Arc::clone(&it.settings)),
            Source::Document("boot.discovery") => self.defaults.discovery.clone(),
            Source::Document(_) => self.defaults.default.clone(),
            _ => self.parameters.find(target).cloned(),
        }
    }
}

/// Goes through the targets that could decide, in the order of the head of `model.rs`, until one is enough.
fn walk<R>(
    known: Known<'_>,
    node: Option<&Component>,
    asked: &Asked,
    arch: Option<&str>,
    mut visit: impl FnMut(Source, Target) -> Option<R>,
) -> Option<R> {
    let Known { inventory, parameters, defaults, pattern } = known;
    let host = |word: &str| Host::parse(word).map(Target::Host);
    if let Some(node) = node
        && let Some(once) = parameters.once(&node.id)
    {
        let found = host(node.id.as_str()).and_then(|it| visit(Source::Once(once.id), it));
        if found.is_some() {
            return found;
        }
    }
    let exact = asked.target().and_then(|(target, source)| visit(source, target));
    if exact.is_some() {
        return exact;
    }
    let found = match node {
        Some(node) => walk_node(inventory, node, pattern, &mut visit),
        None => walk_unknown(defaults, arch, &mut visit),
    };
    found.or_else(|| visit(Source::Default, host("Default")?)).or_else(|| {
        defaults.default.as_ref()?;
        visit(Source::Document("boot.default"), host("boot.default")?)
    })
}

/// What could decide of a machine that is in no inventory, before what is there for all.
fn walk_unknown<R>(
    defaults: &Defaults,
    arch: Option<&str>,
    visit: &mut impl FnMut(Source, Target) -> Option<R>,
) -> Option<R> {
    let host = |word: &str| Host::parse(word).map(Target::Host);
    let other = arch.and_then(|it| Architecture::parse(it)?.or_else()).map(Architecture::name);
    for word in arch.into_iter().chain(other) {
        let target = host(&format!("Unknown-{word}"));
        let found = target.and_then(|it| visit(Source::Unknown(word.to_owned()), it));
        if found.is_some() {
            return found;
        }
    }
    defaults.discovery.as_ref()?;
    visit(Source::Document("boot.discovery"), host("boot.discovery")?)
}

/// What could decide of a node, before what is there for all.
fn walk_node<R>(
    inventory: &Inventory,
    node: &Component,
    pattern: &str,
    visit: &mut impl FnMut(Source, Target) -> Option<R>,
) -> Option<R> {
    let host = |word: &str| Host::parse(word).map(Target::Host);
    for interface in inventory.interfaces_of(&node.id) {
        let found = visit(Source::Mac, Target::Mac(interface.mac));
        if found.is_some() {
            return found;
        }
    }
    host(node.id.as_str())
        .and_then(|it| visit(Source::Host, it))
        .or_else(|| visit(Source::Host, host(&inventory.name_of(node, pattern))?))
        .or_else(|| visit(Source::Nid, Target::Nid(node.nid?)))
        .or_else(|| {
            let mut labels = inventory.groups_of(&node.id);
            labels.find_map(|label| visit(Source::Group(label.to_owned()), host(label)?))
        })
}

#[cfg(test)]
#[path = "lookup/tests.rs"]
mod tests;
