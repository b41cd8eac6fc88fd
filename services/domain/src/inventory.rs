//! The inventory as one view: what every service that meets nodes looks things up in.
//!
//! The rows are those of inventory's change feed (kinds `component`, `interface`, `endpoint`, `group`,
//! `partition`).

mod few;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::feed::{Change, View};
use crate::{MacAddr, Nid, Xname};

use few::Few;

pub use rows::{Component, Endpoint, Group, Interface, InterfaceAddress, Lock, Partition};

/// The whole inventory, indexed for what booting nodes ask. Every data-plane service holds one, so that it is kept
/// small: ids are shared, rows stand beside the trees, sets of one take no room for more.
#[derive(Debug, Default)]
pub struct Inventory {
    components: BTreeMap<Xname, Box<Component>>,
    interfaces: BTreeMap<Arc<str>, Box<Interface>>,
    endpoints: BTreeMap<Xname, Box<Endpoint>>,
    groups: BTreeMap<Arc<str>, Group>,
    partitions: BTreeMap<Arc<str>, Partition>,
    by_mac: HashMap<MacAddr, Arc<str>>,
    /// InfiniBand ports.
    by_guid: HashMap<[u8; 8], Arc<str>>,
    by_ip: HashMap<IpAddr, Few<Arc<str>>>,
    by_component: HashMap<Xname, Few<Arc<str>>>,
    by_nid: HashMap<Nid, Few<Xname>>,
    by_name: HashMap<String, Xname>,
    member_of: HashMap<Xname, Few<Arc<str>>>,
    partition_of: HashMap<Xname, Arc<str>>,
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
            "partition" => {
                let row = if gone { None } else { Some(Partition::deserialize(&change.row)?) };
                self.set_partition(&change.id, row);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Inventory {
    /// Every component in order of xname.
    pub fn components(&self) -> impl ExactSizeIterator<Item = &Component> {
        self.components.values().map(Box::as_ref)
    }

    /// Every interface in order of id.
    pub fn interfaces(&self) -> impl ExactSizeIterator<Item = &Interface> {
        self.interfaces.values().map(Box::as_ref)
    }

    /// Every controller in order of xname.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &Endpoint> {
        self.endpoints.values().map(Box::as_ref)
    }

    /// Every group in order of label.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.groups.values()
    }

    /// Every partition in order of name.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &Partition> {
        self.partitions.values()
    }

    /// A partition by its name in lower case.
    #[must_use]
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions.get(name)
    }

    /// The name of the partition a component is in.
    #[must_use]
    pub fn partition_of(&self, id: &Xname) -> Option<&str> {
        self.partition_of.get(id).map(AsRef::as_ref)
    }

    /// Why a component is to be left alone.
    #[must_use]
    pub fn lock_of(&self, id: &Xname) -> Option<&Lock> {
        self.components.get(id)?.lock.as_ref()
    }

    /// A component.
    #[must_use]
    pub fn component(&self, id: &Xname) -> Option<&Component> {
        self.components.get(id).map(Box::as_ref)
    }

    /// An interface by SMD's id.
    #[must_use]
    pub fn interface(&self, id: &str) -> Option<&Interface> {
        self.interfaces.get(id).map(Box::as_ref)
    }

    /// A controller.
    #[must_use]
    pub fn endpoint(&self, id: &Xname) -> Option<&Endpoint> {
        self.endpoints.get(id).map(Box::as_ref)
    }

    /// A group by its label in lower case.
    #[must_use]
    pub fn group(&self, label: &str) -> Option<&Group> {
        self.groups.get(label)
    }

    /// The interface with this MAC.
    #[must_use]
    pub fn interface_by_mac(&self, mac: MacAddr) -> Option<&Interface> {
        self.interface(self.by_mac.get(&mac)?)
    }

    /// The interface of the NIC that says it has this MAC: of InfiniBand its port counts, whichever queue pair it uses.
    #[must_use]
    pub fn interface_of(&self, mac: MacAddr) -> Option<&Interface> {
        self.interface_by_mac(mac).or_else(|| self.interface_by_guid(mac.guid()?))
    }

    /// The InfiniBand interface of a port.
    #[must_use]
    pub fn interface_by_guid(&self, guid: [u8; 8]) -> Option<&Interface> {
        self.interface(self.by_guid.get(&guid)?)
    }

    /// The interface with this address; of several, the first by id.
    #[must_use]
    pub fn interface_by_ip(&self, ip: IpAddr) -> Option<&Interface> {
        self.interface(self.by_ip.get(&ip)?.first())
    }

    /// The interfaces of a component in order of id.
    pub fn interfaces_of<'a>(&'a self, id: &Xname) -> impl Iterator<Item = &'a Interface> + use<'a> {
        self.by_component.get(id).into_iter().flat_map(Few::iter).filter_map(|it| self.interface(it))
    }

    /// The node with this number; of several, the first by xname.
    #[must_use]
    pub fn component_by_nid(&self, nid: Nid) -> Option<&Component> {
        self.component(self.by_nid.get(&nid)?.first())
    }

    /// The node of this name (its own name as data, not the pattern's).
    #[must_use]
    pub fn component_by_name(&self, name: &str) -> Option<&Component> {
        self.component(self.by_name.get(name)?)
    }

    /// The labels of the groups a component is in, in order.
    pub fn groups_of<'a>(&'a self, id: &Xname) -> impl Iterator<Item = &'a str> + use<'a> {
        self.member_of.get(id).into_iter().flat_map(Few::iter).map(AsRef::as_ref)
    }

    /// The controller of a node: the one that lists it, else the one its xname stands in.
    #[must_use]
    pub fn controller_of(&self, node: &Xname) -> Option<&Endpoint> {
        let by_list = self.controller_of.get(node).and_then(|it| self.endpoint(it));
        by_list.or_else(|| self.endpoint(&node.parent()?))
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
        if let Some(found) = word.parse().ok().and_then(|it: Xname| self.component(&it)) {
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
                insert_into(&mut self.by_nid, nid, id.clone());
            }
            if let Some(name) = &new.name {
                self.by_name.insert(name.clone(), id.clone());
            }
            self.components.insert(id.clone(), new.into());
        }
    }

    fn set_interface(&mut self, id: &str, row: Option<Interface>) {
        // The id that is there already, if it is.
        let old = self.interfaces.remove_entry(id);
        let key: Arc<str> = old.as_ref().map_or_else(|| id.into(), |(key, _)| Arc::clone(key));
        if let Some((_, old)) = old {
            self.by_mac.remove(&old.mac);
            if let Some(guid) = old.mac.guid().filter(|it| self.by_guid.get(it) == Some(&key)) {
                self.by_guid.remove(&guid);
            }
            for ip in old.ips() {
                remove_from(&mut self.by_ip, &ip, &key);
            }
            if let Some(component) = &old.component {
                remove_from(&mut self.by_component, component, &key);
            }
        }
        if let Some(new) = row {
            self.by_mac.insert(new.mac, Arc::clone(&key));
            if let Some(guid) = new.mac.guid() {
                self.by_guid.insert(guid, Arc::clone(&key));
            }
            for ip in new.ips() {
                insert_into(&mut self.by_ip, ip, Arc::clone(&key));
            }
            if let Some(component) = &new.component {
                insert_into(&mut self.by_component, component.clone(), Arc::clone(&key));
            }
            self.interfaces.insert(key, new.into());
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
            self.endpoints.insert(id.clone(), new.into());
        }
    }

    fn set_group(&mut self, label: &str, row: Option<Group>) {
        let label: Arc<str> = label.into();
        for member in self.groups.remove(&label).into_iter().flat_map(|it| it.members) {
            remove_from(&mut self.member_of, &member, &label);
        }
        if let Some(new) = row {
            for member in &new.members {
                insert_into(&mut self.member_of, member.clone(), Arc::clone(&label));
            }
            self.groups.insert(label, new);
        }
    }

    fn set_partition(&mut self, name: &str, row: Option<Partition>) {
        for member in self.partitions.remove(name).into_iter().flat_map(|it| it.members) {
            // It may have been moved to another one within the same transaction.
            if self.partition_of.get(&member).is_some_and(|it| **it == *name) {
                self.partition_of.remove(&member);
            }
        }
        if let Some(new) = row {
            let name: Arc<str> = name.into();
            for member in &new.members {
                self.partition_of.insert(member.clone(), Arc::clone(&name));
            }
            self.partitions.insert(name, new);
        }
    }
}

fn insert_into<K: Hash + Eq, V: Ord>(index: &mut HashMap<K, Few<V>>, key: K, value: V) {
    match index.get_mut(&key) {
        Some(few) => few.insert(value),
        None => {
            index.insert(key, Few::new(value));
        }
    }
}

fn remove_from<K: Hash + Eq, V: Ord>(index: &mut HashMap<K, Few<V>>, key: &K, value: &V) {
    if index.get_mut(key).is_some_and(|it| it.remove(value)) {
        index.remove(key);
    }
}

#[cfg(test)]
mod tests;
