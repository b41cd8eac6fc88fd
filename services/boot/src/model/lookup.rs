//! Which settings a machine boots; the order stands in the head of `model.rs`.

use std::fmt;
use std::sync::Arc;

use domain::inventory::{Component, Inventory};
use domain::{MacAddr, Nid};

use super::{Host, Parameters, Settings, Target};

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

/// What a machine is answered.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A script that boots these.
    Boot(Arc<Settings>, Source),
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

/// The MAC address that stands for a node: that of its first interface.
pub(crate) fn node_mac(inventory: &Inventory, node: &Component) -> Option<MacAddr> {
    inventory.interfaces_of(&node.id).map(|it| it.mac).next()
}

/// What the machine boots. `arch` is there when it comes back from having waited.
pub(crate) fn look_up(
    inventory: &Inventory,
    parameters: &Parameters,
    pattern: &str,
    asked: &Asked,
    arch: Option<&str>,
) -> Outcome {
    let find = |target: Option<Target>| parameters.find(&target?).cloned();
    let host = |word: &str| Host::parse(word).map(Target::Host);
    let exact = asked.target().and_then(|(target, source)| Some((find(Some(target))?, source)));
    let default = || find(host("Default")).map(|it| (it, Source::Default));
    let Some(node) = node_of(inventory, asked, pattern) else {
        let Some(arch) = arch else { return Outcome::Wait };
        let unknown =
            || find(host(&format!("Unknown-{arch}"))).map(|it| (it, Source::Unknown(arch.to_owned())));
        return exact.or_else(unknown).or_else(default).into();
    };
    if exact.is_some() {
        return exact.into();
    }
    let by_mac = inventory.interfaces_of(&node.id).find_map(|it| find(Some(Target::Mac(it.mac))));
    if let Some(settings) = by_mac {
        let to_mac = !matches!(asked, Asked::Mac(_)) && arch.is_none();
        return if to_mac { Outcome::Wait } else { Outcome::Boot(settings, Source::Mac) };
    }
    let by_host = || find(host(node.id.as_str())).or_else(|| find(host(&inventory.name_of(node, pattern))));
    let by_group = || {
        let mut labels = inventory.groups_of(&node.id);
        labels.find_map(|label| find(host(label)).map(|it| (it, Source::Group(label.to_owned()))))
    };
    by_host()
        .map(|it| (it, Source::Host))
        .or_else(|| find(node.nid.map(Target::Nid)).map(|it| (it, Source::Nid)))
        .or_else(by_group)
        .or_else(default)
        .into()
}

impl From<Option<(Arc<Settings>, Source)>> for Outcome {
    fn from(found: Option<(Arc<Settings>, Source)>) -> Self {
        found.map_or(Self::Wait, |(settings, source)| Self::Boot(settings, source))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Nid;
    use domain::feed::{Change, View};
    use domain::inventory::Inventory;
    use serde_json::json;

    use super::{Asked, Outcome, look_up};
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
            Outcome::Boot(_, source) => source.to_string(),
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
            let Outcome::Boot(settings, _) = look_up(&inventory(), &parameters, "", &asked, None) else {
                panic!()
            };
            assert_eq!(settings.kernel(), format!("http://h/{id}"));
        }
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
        assert_eq!(source(&parameters, &Asked::Mac("zz".into()), Some("arm64")), "default");
    }
}
