//! The inventory as one view: what every service that meets nodes looks things up in.
//!
//! The rows are those of inventory's change feed (kinds `component`, `interface`, `endpoint`, `group`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::feed::{Change, View};
use crate::{MacAddr, Nid, Xname};

/// A component: SMD's fields, and the node's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its xname; the kind follows from it.
    pub id: Xname,
    /// `On`, `Off`, `Ready` …; none is left out in answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `OK`, `Warning`, `Alert`, `Locked`, `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// Whether it takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_status: Option<String>,
    /// `Compute`, `Service` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `Master`, `Worker`, `Storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_role: Option<String>,
    /// The node's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nid: Option<Nid>,
    /// `Sling`, `Infiniband`, `Ethernet` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_type: Option<String>,
    /// `X86`, `ARM` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// `River`, `Mountain`, `Hill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The node's name as data; a node without one is called by the document's pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An Ethernet interface of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// SMD's id, the MAC's digits.
    pub id: String,
    /// Its address.
    pub mac: MacAddr,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Xname>,
    /// SMD's `Type`: of the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// IP addresses in order; SMD takes any text, so what does not parse serves nobody.
    #[serde(default)]
    pub addresses: Vec<InterfaceAddress>,
    /// When the addresses changed, RFC 3339 with microseconds.
    #[serde(default)]
    pub last_update: String,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// As it was given.
    pub address: String,
    /// The network's name, often empty.
    #[serde(default)]
    pub network: String,
}

/// A controller: how to reach it, what it controls. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The controller's xname.
    pub id: Xname,
    /// Host name or address; none if it is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `ipmi`, `redfish` or `auto`.
    #[serde(default = "auto")]
    pub protocol: String,
    /// UDP port of IPMI; none: 623.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Cipher suites in order; none: 17, then 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<u8>>,
    /// FreeIPMI's names of what to work around.
    #[serde(default)]
    pub workarounds: Vec<String>,
    /// A site's word for machines alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The nodes it controls.
    #[serde(default)]
    pub nodes: Vec<Xname>,
    /// Counts up when its credential changes, so that clients read it again.
    #[serde(default)]
    pub credential_version: i64,
}

fn auto() -> String {
    "auto".to_owned()
}

/// A labelled set of components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Lower case.
    pub label: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Free words.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The set of groups of which a component may be in one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive_group: Option<String>,
    /// Its members in order of xname.
    #[serde(default)]
    pub members: BTreeSet<Xname>,
}

/// The whole inventory, indexed for what booting nodes ask.
#[derive(Debug, Default)]
pub struct Inventory {
    components: BTreeMap<Xname, Component>,
    interfaces: BTreeMap<String, Interface>,
    endpoints: BTreeMap<Xname, Endpoint>,
    groups: BTreeMap<String, Group>,
    by_mac: HashMap<MacAddr, String>,
    by_ip: HashMap<IpAddr, BTreeSet<String>>,
    by_component: HashMap<Xname, BTreeSet<String>>,
    by_nid: HashMap<Nid, BTreeSet<Xname>>,
    by_name: HashMap<String, Xname>,
    member_of: HashMap<Xname, BTreeSet<String>>,
    controller_of: HashMap<Xname, Xname>,
}

impl View for Inventory {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let gone = change.row.is_null();
        match change.kind.as_str() {
            "component" => {
                let row = if gone { None } else { Some(Component::deserialize(&change.row)?) };
                if let Ok(id) = change.id.parse() {
                    self.set_component(&id, row);
                }
            }
            "interface" => {
                let row = if gone { None } else { Some(Interface::deserialize(&change.row)?) };
                self.set_interface(&change.id, row);
            }
            "endpoint" => {
                let row = if gone { None } else { Some(Endpoint::deserialize(&change.row)?) };
                if let Ok(id) = change.id.parse() {
                    self.set_endpoint(&id, row);
                }
            }
            "group" => {
                let row = if gone { None } else { Some(Group::deserialize(&change.row)?) };
                self.set_group(&change.id, row);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Inventory {
    /// Every component in order of xname.
    pub fn components(&self) -> impl ExactSizeIterator<Item = &Component> {
        self.components.values()
    }

    /// Every interface in order of id.
    pub fn interfaces(&self) -> impl ExactSizeIterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// Every controller in order of xname.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// Every group in order of label.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.groups.values()
    }

    /// A component.
    #[must_use]
    pub fn component(&self, id: &Xname) -> Option<&Component> {
        self.components.get(id)
    }

    /// An interface by SMD's id.
    #[must_use]
    pub fn interface(&self, id: &str) -> Option<&Interface> {
        self.interfaces.get(id)
    }

    /// A controller.
    #[must_use]
    pub fn endpoint(&self, id: &Xname) -> Option<&Endpoint> {
        self.endpoints.get(id)
    }

    /// A group by its label in lower case.
    #[must_use]
    pub fn group(&self, label: &str) -> Option<&Group> {
        self.groups.get(label)
    }

    /// The interface with this MAC.
    #[must_use]
    pub fn interface_by_mac(&self, mac: MacAddr) -> Option<&Interface> {
        self.interfaces.get(self.by_mac.get(&mac)?)
    }

    /// The interface with this address; of several, the first by id.
    #[must_use]
    pub fn interface_by_ip(&self, ip: IpAddr) -> Option<&Interface> {
        self.interfaces.get(self.by_ip.get(&ip)?.first()?)
    }

    /// The interfaces of a component in order of id.
    pub fn interfaces_of<'a>(&'a self, id: &Xname) -> impl Iterator<Item = &'a Interface> + use<'a> {
        self.by_component.get(id).into_iter().flatten().filter_map(|it| self.interfaces.get(it))
    }

    /// The node with this number; of several, the first by xname.
    #[must_use]
    pub fn component_by_nid(&self, nid: Nid) -> Option<&Component> {
        self.components.get(self.by_nid.get(&nid)?.first()?)
    }

    /// The node of this name (its own name as data, not the pattern's).
    #[must_use]
    pub fn component_by_name(&self, name: &str) -> Option<&Component> {
        self.components.get(self.by_name.get(name)?)
    }

    /// The labels of the groups a component is in, in order.
    pub fn groups_of<'a>(&'a self, id: &Xname) -> impl Iterator<Item = &'a str> + use<'a> {
        self.member_of.get(id).into_iter().flatten().map(String::as_str)
    }

    /// The controller of a node: the one that lists it, else the one its xname stands in.
    #[must_use]
    pub fn controller_of(&self, node: &Xname) -> Option<&Endpoint> {
        let by_list = self.controller_of.get(node).and_then(|it| self.endpoints.get(it));
        by_list.or_else(|| self.endpoints.get(&node.parent()?))
    }

    /// What a node is called: its name, else the pattern filled with its number, else its xname.
    #[must_use]
    pub fn name_of(&self, component: &Component, pattern: &str) -> String {
        match (&component.name, component.nid) {
            (Some(name), _) => name.clone(),
            (None, Some(nid)) if component.id.is_node() => nid.name(pattern),
            _ => component.id.to_string(),
        }
    }

    /// The component that a word names: an xname, a node's name, or a name made by the pattern.
    #[must_use]
    pub fn find(&self, word: &str, pattern: &str) -> Option<&Component> {
        if let Some(found) = self.component_by_name(word) {
            return Some(found);
        }
        if let Some(found) = word.parse().ok().and_then(|it: Xname| self.components.get(&it)) {
            return Some(found);
        }
        let digits: String = word.chars().rev().take_while(char::is_ascii_digit).collect();
        let nid = digits.chars().rev().collect::<String>().parse().ok()?;
        let found = self.component_by_nid(nid)?;
        (self.name_of(found, pattern) == word).then_some(found)
    }

    fn set_component(&mut self, id: &Xname, row: Option<Component>) {
        if let Some(old) = self.components.remove(id) {
            if let Some(nid) = old.nid {
                remove_from(&mut self.by_nid, &nid, id);
            }
            if let Some(name) = old.name.filter(|it| self.by_name.get(it) == Some(id)) {
                self.by_name.remove(&name);
            }
        }
        if let Some(new) = row {
            if let Some(nid) = new.nid {
                self.by_nid.entry(nid).or_default().insert(id.clone());
            }
            if let Some(name) = &new.name {
                self.by_name.insert(name.clone(), id.clone());
            }
            self.components.insert(id.clone(), new);
        }
    }

    fn set_interface(&mut self, id: &str, row: Option<Interface>) {
        let key = id.to_owned();
        if let Some(old) = self.interfaces.remove(id) {
            self.by_mac.remove(&old.mac);
            for ip in ips(&old) {
                remove_from(&mut self.by_ip, &ip, &key);
            }
            if let Some(component) = &old.component {
                remove_from(&mut self.by_component, component, &key);
            }
        }
        if let Some(new) = row {
            self.by_mac.insert(new.mac, key.clone());
            for ip in ips(&new) {
                self.by_ip.entry(ip).or_default().insert(key.clone());
            }
            if let Some(component) = &new.component {
                self.by_component.entry(component.clone()).or_default().insert(key.clone());
            }
            self.interfaces.insert(key, new);
        }
    }

    fn set_endpoint(&mut self, id: &Xname, row: Option<Endpoint>) {
        if let Some(old) = self.endpoints.remove(id) {
            for node in old.nodes {
                if self.controller_of.get(&node) == Some(id) {
                    self.controller_of.remove(&node);
                }
            }
        }
        if let Some(new) = row {
            for node in &new.nodes {
                self.controller_of.insert(node.clone(), id.clone());
            }
            self.endpoints.insert(id.clone(), new);
        }
    }

    fn set_group(&mut self, label: &str, row: Option<Group>) {
        let label = label.to_owned();
        for member in self.groups.remove(&label).into_iter().flat_map(|it| it.members) {
            remove_from(&mut self.member_of, &member, &label);
        }
        if let Some(new) = row {
            for member in &new.members {
                self.member_of.entry(member.clone()).or_default().insert(label.clone());
            }
            self.groups.insert(label, new);
        }
    }
}

impl Interface {
    /// The addresses that are addresses.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        ips(self)
    }
}

fn ips(interface: &Interface) -> impl Iterator<Item = IpAddr> {
    interface.addresses.iter().filter_map(|it| it.address.parse().ok())
}

fn remove_from<K: std::hash::Hash + Eq, V: Ord>(index: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = index.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::Inventory;
    use crate::feed::{Change, View};

    #[test]
    fn every_index_follows_a_change_and_a_deletion() {
        let mut view = Inventory::default();
        let node = "x1000c1s7b1n0";
        let mut apply = |kind: &str, id: &str, row| view.apply(&Change::put(kind, id, row)).unwrap();
        apply("component", node, json!({"id": node, "nid": 1, "name": "login1"}));
        let interface = json!({"id": "ece7a705a1fc", "mac": "ec:e7:a7:05:a1:fc", "component": node,
            "addresses": [{"address": "172.16.0.1"}, {"address": "no address"}]});
        apply("interface", "ece7a705a1fc", interface);
        apply("group", "compute", json!({"label": "compute", "members": [node]}));
        apply("endpoint", "x1000c1s7b1", json!({"id": "x1000c1s7b1", "address": "172.16.0.101"}));
        let id = node.parse().unwrap();
        assert_eq!(view.interface_by_ip("172.16.0.1".parse().unwrap()).unwrap().component, Some(id));
        let id = node.parse().unwrap();
        assert_eq!(view.find("login1", "nid{nid:03}").unwrap().id, id);
        assert_eq!(view.groups_of(&id).collect::<Vec<_>>(), ["compute"]);
        assert_eq!(view.controller_of(&id).unwrap().id.as_str(), "x1000c1s7b1");
        view.apply(&Change::put("component", node, json!({"id": node, "nid": 2}))).unwrap();
        assert!(view.find("login1", "nid{nid:03}").is_none());
        assert_eq!(view.find("nid002", "nid{nid:03}").unwrap().id, id);
        assert!(view.find("nid2", "nid{nid:03}").is_none());
        view.apply(&Change::delete("interface", "ece7a705a1fc")).unwrap();
        assert!(view.interface_by_mac("ec:e7:a7:05:a1:fc".parse().unwrap()).is_none());
        assert_eq!(view.interfaces_of(&id).count(), 0);
    }
}
