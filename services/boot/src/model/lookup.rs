//! Which settings a machine boots; the order stands in the head of `model.rs`.

use std::fmt;
use std::sync::Arc;

use domain::inventory::{Component, Inventory};
use domain::{MacAddr, Nid};

use super::{Architecture, Host, Parameters, Settings, Target};

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
        }
    }
}

impl Asked {
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
            let interface = inventory.interface_by_mac(asked.mac()?)?;
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
        Target::Mac(mac) => inventory.component(inventory.interface_by_mac(*mac)?.component.as_ref()?),
        Target::Host(host) => inventory.find(host.as_str(), pattern),
        Target::Nid(nid) => inventory.component_by_nid(*nid),
    }
}

/// The MAC address that stands for a node: that of its first interface.
pub(crate) fn node_mac(inventory: &Inventory, node: &Component) -> Option<MacAddr> {
    inventory.interfaces_of(&node.id).map(|it| it.mac).next()
}

/// What the machine boots. `arch` is there when it comes back from having been asked.
pub(crate) fn look_up(
    inventory: &Inventory,
    parameters: &Parameters,
    pattern: &str,
    asked: &Asked,
    arch: Option<&str>,
) -> Outcome {
    let node = node_of(inventory, asked, pattern);
    if node.is_none() && arch.is_none() {
        return Outcome::Wait;
    }
    let found = walk(inventory, node, pattern, asked, arch, |source, target| {
        let settings = Arc::clone(parameters.find(&target)?);
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
    inventory: &Inventory,
    parameters: &Parameters,
    pattern: &str,
    asked: &Asked,
    arch: Option<&str>,
) -> Vec<(Target, Source, Option<Arc<Settings>>)> {
    let mut all: Vec<(Target, Source, Option<Arc<Settings>>)> = Vec::new();
    let node = node_of(inventory, asked, pattern);
    let none: Option<()> = walk(inventory, node, pattern, asked, arch, |source, target| {
        if !all.iter().any(|(known, ..)| *known == target) {
            let settings = parameters.find(&target).cloned();
            all.push((target, source, settings));
        }
        None
    });
    debug_assert!(none.is_none());
    all
}

/// Goes through the targets that could decide, in the order of the head of `model.rs`, until one is enough.
fn walk<R>(
    inventory: &Inventory,
    node: Option<&Component>,
    pattern: &str,
    asked: &Asked,
    arch: Option<&str>,
    mut visit: impl FnMut(Source, Target) -> Option<R>,
) -> Option<R> {
    let host = |word: &str| Host::parse(word).map(Target::Host);
    let exact = asked.target().and_then(|(target, source)| visit(source, target));
    if exact.is_some() {
        return exact;
    }
    let Some(node) = node else {
        let other = arch.and_then(|it| Architecture::parse(it)?.or_else()).map(Architecture::name);
        for word in arch.into_iter().chain(other) {
            let target = host(&format!("Unknown-{word}"));
            let found = target.and_then(|it| visit(Source::Unknown(word.to_owned()), it));
            if found.is_some() {
                return found;
            }
        }
        return host("Default").and_then(|it| visit(Source::Default, it));
    };
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
        .or_else(|| visit(Source::Default, host("Default")?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Nid;
    use domain::feed::{Change, View};
    use domain::inventory::Inventory;
    use serde_json::json;

    use super::{Asked, Outcome, explain, look_up};
    use crate::model::{KIND, Parameters};

    const NODE: &str = "x1000c1s7b1n0";

    fn inventory() -> Inventory {
        let mut view = Inventory::default();
        let mut put = |kind: &str, id: &str, row| view.apply(&Change::put(kind, id, row)).unwrap();
        put("component", NODE, json!({"id": NODE, "nid": 2, "name": "login1"}));
        for mac in ["ec:e7:a7:05:a1:fc", "ec:e7:a7:05:a1:fd"] {
            let id = mac.replace(':', "");
            put("interface", &id, json!({"id": id, "mac": mac, "component": NODE}));
        }
        for label in ["zeta", "compute"] {
            put("group", label, json!({"label": label, "members": [NODE]}));
        }
        view
    }

    fn source(parameters: &Parameters, asked: &Asked, arch: Option<&str>) -> String {
        match look_up(&inventory(), parameters, "nid{nid:03}", asked, arch) {
            Outcome::Boot(found) => found.source.to_string(),
            Outcome::Ask(found) => format!("ask {}", found.source),
            Outcome::Wait => "wait".to_owned(),
        }
    }

    /// Set from the last to the first of the list, each one wins over those before.
    #[test]
    fn the_nearer_target_wins() {
        let mut parameters = Parameters::default();
        let asked = Asked::Mac("EC:E7:A7:05:A1:FC".into());
        assert_eq!(source(&parameters, &asked, Some("x86_64")), "wait");
        for (id, expected) in [
            ("host:Default", "default"),
            ("host:zeta", "group:zeta"),
            ("host:compute", "group:compute"),
            ("nid:2", "nid"),
            ("host:login1", "host"),
            ("host:x1000c1s7b1n0", "host"),
            ("mac:ec:e7:a7:05:a1:fd", "mac"),
            ("mac:ec:e7:a7:05:a1:fc", "mac"),
        ] {
            let row = json!({"kernel": format!("http://h/{id}")});
            parameters.apply(&Change::put(KIND, id, row)).unwrap();
            assert_eq!(source(&parameters, &asked, None), expected);
            let Outcome::Boot(found) = look_up(&inventory(), &parameters, "", &asked, None) else { panic!() };
            assert_eq!(found.settings.kernel(), format!("http://h/{id}"));
            assert_eq!(found.target.to_string(), id);
        }
        let all = explain(&inventory(), &parameters, "", &asked, None);
        let all: Vec<String> = all.iter().map(|it| it.0.to_string()).collect();
        assert_eq!(all[..3], ["mac:ec:e7:a7:05:a1:fc", "mac:ec:e7:a7:05:a1:fd", "host:x1000c1s7b1n0"]);
        assert_eq!(all[3..], ["host:login1", "nid:2", "host:compute", "host:zeta", "host:Default"]);
        assert_eq!(source(&parameters, &Asked::Name("login1".into()), None), "host");
        assert_eq!(source(&parameters, &Asked::Nid(Nid(2)), None), "nid");
    }

    #[test]
    fn a_node_asked_for_by_name_is_sent_on_to_its_mac() {
        let mut parameters = Parameters::default();
        parameters
            .apply(&Change::put(KIND, "mac:ec:e7:a7:05:a1:fc", json!({"kernel": "http://h/k"})))
            .unwrap();
        assert_eq!(source(&parameters, &Asked::Name(NODE.into()), None), "wait");
        assert_eq!(source(&parameters, &Asked::Name(NODE.into()), Some("x86_64")), "mac");
    }

    #[test]
    fn an_unknown_machine_gets_a_default_once_it_says_its_architecture() {
        let mut parameters = Parameters::default();
        let asked = Asked::Mac("02:00:00:00:00:99".into());
        parameters.apply(&Change::put(KIND, "host:Default", json!({"kernel": "http://h/k"}))).unwrap();
        assert_eq!(source(&parameters, &asked, None), "wait");
        assert_eq!(source(&parameters, &asked, Some("x86_64")), "default");
        parameters.apply(&Change::put(KIND, "host:Unknown-x86_64", json!({"kernel": "http://h/d"}))).unwrap();
        assert_eq!(source(&parameters, &asked, Some("x86_64")), "unknown:x86_64");
        assert_eq!(source(&parameters, &asked, Some("i386")), "unknown:x86_64", "a BIOS");
        assert_eq!(source(&parameters, &Asked::Mac("zz".into()), Some("arm64")), "default");
    }

    #[test]
    fn a_machine_is_asked_for_its_architecture_where_the_kernel_differs_by_it() {
        let mut parameters = Parameters::default();
        let row = json!({"kernel": "http://h/k", "architectures": {"arm64": {"kernel": "http://h/arm"}}});
        parameters.apply(&Change::put(KIND, "host:compute", row)).unwrap();
        let asked = Asked::Mac("ec:e7:a7:05:a1:fc".into());
        assert_eq!(source(&parameters, &asked, None), "ask group:compute");
        assert_eq!(source(&parameters, &asked, Some("arm64")), "group:compute");
        assert_eq!(source(&parameters, &asked, Some("")), "group:compute", "an iPXE that does not know");
    }
}
