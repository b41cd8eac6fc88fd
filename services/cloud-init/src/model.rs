//! The decisions: whom an id or an address means, and what they are given.
//!
//! Entries are named for a group, an xname or a node's name. A node is given its groups' entries in order of
//! label, then the one of its name, then the one of its xname. Of each part, a top-level key of a later entry
//! replaces the whole value of an earlier one; nothing deeper is merged and lists are not joined (recordings
//! `cloud-init-legacy-031`, `-039`), unless the document asks for it.

mod current;
mod facts;
mod template;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::feed::{Change, View};
use domain::inventory::Inventory;
use domain::{MacAddr, Xname};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::Origin;
use crate::config::Merge;
pub(crate) use current::{
    ClusterDefaults, Current, DEFAULTS, GROUP, Group, GroupFile, INSTANCE, InstanceInfo, NID_LENGTH_MAX,
    NOTHING, Naming,
};
pub(crate) use facts::{Facts, facts_of, instance_id};
pub(crate) use template::{Fault, is_template, parse as parse_template, render as render_template};

/// The kind of our rows in the change feed.
pub(crate) const KIND: &str = "cloud-init";

/// One of userdata, metadata, vendordata: a map, its keys sorted.
pub(crate) type Part = BTreeMap<String, Value>;

/// Which of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Store {
    /// Under /cloud-init: read by anyone.
    Open,
    /// Under /cloud-init-secure: read with a token.
    Secure,
}

/// What a name is given; a part that was never given is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) userdata: Option<Part>,
    pub(crate) metadata: Option<Part>,
    pub(crate) vendordata: Option<Part>,
}

/// Every entry of both stores and all of the present API, in memory.
#[derive(Debug, Default)]
pub struct Entries {
    open: BTreeMap<String, Arc<Entry>>,
    secure: BTreeMap<String, Arc<Entry>>,
    pub(crate) current: Current,
    pub(crate) generation: Generation,
}

/// The inventory, and when it changed last.
#[derive(Debug, Default)]
pub struct Nodes {
    inventory: Inventory,
    pub(crate) generation: Generation,
}

/// A number that no view of this process had before; a new one with each change, so that what was made of a
/// view can be kept until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// Who asks or is asked about, with the names of the entries that count for them, the last one winning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) node: Option<Node>,
    pub(crate) names: Vec<String>,
}

/// A component of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) xname: Xname,
    /// What it is called.
    pub(crate) name: String,
    /// The interface it asks by, or its first one.
    pub(crate) mac: Option<MacAddr>,
}

/// What a subject is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Merged {
    pub(crate) userdata: Part,
    pub(crate) metadata: Part,
    pub(crate) vendordata: Part,
    /// The names of the entries it came from, in order.
    pub(crate) sources: Vec<String>,
}

impl Store {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Secure => "secure",
        }
    }

    /// The entry's id in the change feed.
    pub(crate) fn id(self, name: &str) -> String {
        format!("{}/{name}", self.name())
    }
}

impl Default for Generation {
    fn default() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

impl View for Nodes {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        self.generation = Generation::default();
        self.inventory.apply(change)
    }
}

impl Deref for Nodes {
    type Target = Inventory;
    fn deref(&self) -> &Inventory {
        &self.inventory
    }
}

impl View for Entries {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        self.generation = Generation::default();
        if change.kind != KIND {
            return self.current.apply(change);
        }
        let (entries, name) = match change.id.split_once('/') {
            Some(("open", name)) => (&mut self.open, name),
            Some(("secure", name)) => (&mut self.secure, name),
            _ => return Ok(()),
        };
        if change.row.is_null() {
            entries.remove(name);
        } else {
            entries.insert(name.to_owned(), Arc::new(Entry::deserialize(&change.row)?));
        }
        Ok(())
    }
}

impl Entries {
    /// A store's entries in order of name.
    pub(crate) fn of(&self, store: Store) -> &BTreeMap<String, Arc<Entry>> {
        match store {
            Store::Open => &self.open,
            Store::Secure => &self.secure,
        }
    }

    /// The names of the entries that are the subject's, the last one winning.
    pub(crate) fn sources(&self, store: Store, subject: &Subject) -> Vec<String> {
        subject.names.iter().filter(|it| self.of(store).contains_key(*it)).cloned().collect()
    }

    /// Which of these entries have each key.
    pub(crate) fn origins(&self, store: Store, sources: &[String]) -> Vec<Origin> {
        let mut found: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for (name, entry) in sources.iter().filter_map(|it| self.of(store).get_key_value(it)) {
            for (part, values) in [
                ("user-data", &entry.userdata),
                ("meta-data", &entry.metadata),
                ("vendor-data", &entry.vendordata),
            ] {
                for key in values.iter().flat_map(BTreeMap::keys) {
                    found.entry((part, key)).or_default().push(name.clone());
                }
            }
        }
        let origin = |((part, key), from): ((&str, &str), Vec<String>)| Origin {
            part: part.to_owned(),
            key: key.to_owned(),
            from,
        };
        found.into_iter().map(origin).collect()
    }

    /// What the subject is given; None if no entry is theirs.
    pub(crate) fn merge(&self, store: Store, subject: &Subject, how: Merge) -> Option<Merged> {
        let mut merged = Merged { sources: self.sources(store, subject), ..Merged::default() };
        for name in &merged.sources {
            let Some(entry) = self.of(store).get(name) else { continue };
            for (into, from) in [
                (&mut merged.userdata, &entry.userdata),
                (&mut merged.metadata, &entry.metadata),
                (&mut merged.vendordata, &entry.vendordata),
            ] {
                for (key, value) in from.iter().flatten() {
                    match into.get_mut(key).filter(|_| how == Merge::Deep) {
                        Some(old) => merge_deep(old, value),
                        None => drop(into.insert(key.clone(), value.clone())),
                    }
                }
            }
        }
        (!merged.sources.is_empty()).then_some(merged)
    }
}

/// Maps are merged key by key, lists are joined; anything else is replaced.
fn merge_deep(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                match old.get_mut(key) {
                    Some(old) => merge_deep(old, value),
                    None => drop(old.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => old.extend_from_slice(new),
        (old, new) => *old = new.clone(),
    }
}

impl Entry {
    /// Whether one of the parts given here is there already.
    pub(crate) fn overlaps(&self, given: &Self) -> bool {
        let both = |old: &Option<Part>, new: &Option<Part>| old.is_some() && new.is_some();
        both(&self.userdata, &given.userdata)
            || both(&self.metadata, &given.metadata)
            || both(&self.vendordata, &given.vendordata)
    }

    /// Takes each part that is given, whole.
    pub(crate) fn take(&mut self, given: Self) {
        let Self { userdata, metadata, vendordata } = given;
        self.userdata = userdata.or(self.userdata.take());
        self.metadata = metadata.or(self.metadata.take());
        self.vendordata = vendordata.or(self.vendordata.take());
    }
}

impl Merged {
    /// The meta-data of a node. cloud-init needs an instance-id, or it takes the source for none. Whoever
    /// writes one writes the whole meta-data (recording `cloud-init-legacy-024`); without one it is made from
    /// the xname, with the node's name beside it.
    pub(crate) fn metadata_for(&self, node: &Node) -> Part {
        let mut all = self.metadata.clone();
        if !all.contains_key("instance-id") {
            all.insert("instance-id".to_owned(), format!("i-{}", node.xname).into());
            all.entry("local-hostname".to_owned()).or_insert_with(|| node.name.clone().into());
        }
        all
    }
}

/// The name of an entry as it is stored: xnames in lower case.
pub(crate) fn entry_name(text: &str) -> String {
    text.parse::<Xname>().map_or_else(|_| text.to_owned(), |it| it.to_string())
}

/// Whom a word means: an xname, a node's name, one of its MAC addresses, else an entry of that name.
pub(crate) fn subject_of(inventory: &Inventory, word: &str, pattern: &str) -> Subject {
    let by_mac = || inventory.interface_by_mac(word.parse().ok()?)?.component.clone();
    let xname = by_mac().or_else(|| inventory.find(word, pattern).map(|it| it.id.clone()));
    match xname {
        Some(xname) => of_component(inventory, xname, pattern, word.parse().ok()),
        None => Subject { node: None, names: vec![entry_name(word)] },
    }
}

/// Whose address this is.
pub(crate) fn subject_at(inventory: &Inventory, address: IpAddr, pattern: &str) -> Option<Subject> {
    let interface = inventory.interface_by_ip(address)?;
    Some(of_component(inventory, interface.component.clone()?, pattern, Some(interface.mac)))
}

fn of_component(inventory: &Inventory, xname: Xname, pattern: &str, mac: Option<MacAddr>) -> Subject {
    let mut names: Vec<String> = inventory.groups_of(&xname).map(str::to_owned).collect();
    let name =
        inventory.component(&xname).map_or_else(|| xname.to_string(), |it| inventory.name_of(it, pattern));
    names.extend([name.clone(), xname.to_string()]);
    names.dedup();
    let mac = mac.or_else(|| inventory.interfaces_of(&xname).map(|it| it.mac).next());
    Subject { node: Some(Node { xname, name, mac }), names }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::feed::{Change, View};
    use domain::inventory::Inventory;
    use serde_json::{Value, json};

    use super::{Entries, KIND, Merge, Store, subject_at, subject_of};

    const NODE: &str = "x1000c1s7b1n0";

    fn inventory() -> Inventory {
        let mut view = Inventory::default();
        let mut put = |kind: &str, id: &str, row| view.apply(&Change::put(kind, id, row)).unwrap();
        put("component", NODE, json!({"id": NODE, "nid": 1}));
        let interface = json!({"id": "ece7a705a1fc", "mac": "ec:e7:a7:05:a1:fc", "component": NODE,
            "addresses": [{"address": "172.16.0.1"}]});
        put("interface", "ece7a705a1fc", interface);
        for label in ["zeta", "compute"] {
            put("group", label, json!({"label": label, "members": [NODE]}));
        }
        view
    }

    #[test]
    fn a_node_is_meant_by_every_name_it_has() {
        let inventory = inventory();
        let by_address = subject_at(&inventory, [172, 16, 0, 1].into(), "nid{nid:03}").unwrap();
        assert_eq!(by_address.names, ["compute", "zeta", "nid001", NODE]);
        for word in [NODE, "X1000C1S7B1N0", "nid001", "EC:E7:A7:05:A1:FC"] {
            assert_eq!(subject_of(&inventory, word, "nid{nid:03}"), by_address, "{word}");
        }
        assert_eq!(subject_of(&inventory, "compute", "nid{nid:03}").names, ["compute"]);
        assert!(subject_at(&inventory, [172, 16, 0, 9].into(), "nid{nid:03}").is_none());
    }

    #[test]
    fn a_later_key_replaces_the_whole_value_and_the_node_is_last() {
        let mut entries = Entries::default();
        let mut put = |name: &str, userdata: Value| {
            let id = Store::Open.id(name);
            entries.apply(&Change::put(KIND, id, json!({"userdata": userdata}))).unwrap();
        };
        put("zeta", json!({"runcmd": ["z"], "deep": {"z": 1}}));
        put("compute", json!({"runcmd": ["c"], "deep": {"c": 1}, "only": true}));
        put(NODE, json!({"runcmd": ["n"]}));
        let subject = subject_of(&inventory(), NODE, "nid{nid:03}");
        let merged = entries.merge(Store::Open, &subject, Merge::Shallow).unwrap();
        assert_eq!(json!(merged.userdata), json!({"deep": {"z": 1}, "only": true, "runcmd": ["n"]}));
        assert_eq!(merged.sources, ["compute", "zeta", NODE]);
        let deep = entries.merge(Store::Open, &subject, Merge::Deep).unwrap();
        let expected = json!({"deep": {"c": 1, "z": 1}, "only": true, "runcmd": ["c", "z", "n"]});
        assert_eq!(json!(deep.userdata), expected);
        assert!(entries.merge(Store::Secure, &subject, Merge::Shallow).is_none());
        let complete = merged.metadata_for(subject.node.as_ref().unwrap());
        assert_eq!(json!(complete), json!({"instance-id": "i-x1000c1s7b1n0", "local-hostname": "nid001"}));
    }
}
