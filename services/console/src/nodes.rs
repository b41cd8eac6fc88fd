//! What consoles need of the inventory, its nodes and BMCs, and which of the nodes changed since somebody looked: a
//! change of one node is no reason to look at ten thousand.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use domain::Xname;
use domain::feed::{Change, View};
use domain::inventory::Inventory;
use serde_json::json;

/// More changes than this are as good as all.
const CHANGED_MAX: usize = 1000;
/// Nodes of a BMC that it does not list are found by its name, up to this number.
const NODES_OF_BMC: u32 = 16;

/// The nodes by number and name, and the BMCs.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    inventory: Inventory,
    changed: Mutex<Changed>,
}

/// Which nodes may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Any.
    #[default]
    All,
    /// These.
    These(BTreeSet<Xname>),
}

impl Nodes {
    /// What changed since the last call.
    pub(crate) fn take_changed(&self) -> Changed {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *changed, Changed::These(BTreeSet::new()))
    }

    /// The nodes that a BMC has, or may have.
    fn nodes_of(&self, bmc: &Xname) -> Vec<Xname> {
        let listed = self.inventory.endpoint(bmc).map(|it| it.nodes.clone()).unwrap_or_default();
        let named = (0..NODES_OF_BMC).filter_map(|it| format!("{bmc}n{it}").parse().ok());
        listed.into_iter().chain(named.filter(|it| self.inventory.component(it).is_some())).collect()
    }

    fn note(&mut self, nodes: Vec<Xname>) {
        let changed = self.changed.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Changed::These(set) = changed {
            set.extend(nodes);
            if set.len() > CHANGED_MAX {
                *changed = Changed::All;
            }
        }
    }
}

impl Deref for Nodes {
    type Target = Inventory;
    fn deref(&self) -> &Inventory {
        &self.inventory
    }
}

impl View for Nodes {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let id: Option<Xname> = change.id.parse().ok();
        match (change.kind.as_str(), id) {
            ("component", Some(id)) if id.is_node() => {
                self.inventory.apply(&named(change))?;
                self.note(vec![id]);
            }
            ("endpoint", Some(id)) => {
                // Those that it had before, too.
                let mut nodes = self.nodes_of(&id);
                self.inventory.apply(change)?;
                nodes.extend(self.nodes_of(&id));
                self.note(nodes);
            }
            // Interfaces and groups are most of an inventory, and nothing to a console.
            _ => {}
        }
        Ok(())
    }
}

/// The row of a node without what says nothing of its name.
fn named(change: &Change) -> Change {
    let mut change = change.clone();
    if !change.row.is_null() {
        let row = &change.row;
        change.row = json!({"id": row["id"], "nid": row["nid"], "name": row["name"]});
    }
    change
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::feed::{Change, View};
    use serde_json::json;

    use super::{CHANGED_MAX, Changed, Nodes};

    fn these(nodes: &[&str]) -> Changed {
        Changed::These(nodes.iter().map(|it| it.parse().unwrap()).collect())
    }

    #[test]
    fn a_change_of_one_bmc_is_one_of_its_nodes_alone() {
        let mut nodes = Nodes::default();
        let component = |id: &str| Change::put("component", id, json!({"id": id}));
        let endpoint = |id: &str, nodes: &[&str]| {
            Change::put("endpoint", id, json!({"id": id, "address": "127.0.0.1", "nodes": nodes}))
        };
        assert_eq!(nodes.take_changed(), Changed::All, "nobody has looked yet");
        for id in ["x0c0s1b0n0", "x0c0s2b0n0", "x0c0s3b0n0"] {
            nodes.apply(&component(id)).unwrap();
        }
        assert_eq!(nodes.take_changed(), these(&["x0c0s1b0n0", "x0c0s2b0n0", "x0c0s3b0n0"]));
        assert_eq!(nodes.take_changed(), these(&[]));
        nodes.apply(&endpoint("x0c0s1b0", &[])).unwrap();
        assert_eq!(nodes.take_changed(), these(&["x0c0s1b0n0"]), "by its name");
        nodes.apply(&endpoint("x0c0s2b0", &["x0c0s3b0n0"])).unwrap();
        assert_eq!(nodes.take_changed(), these(&["x0c0s2b0n0", "x0c0s3b0n0"]), "by its list");
        nodes.apply(&Change::delete("endpoint", "x0c0s2b0")).unwrap();
        assert_eq!(nodes.take_changed(), these(&["x0c0s2b0n0", "x0c0s3b0n0"]), "those it had");
        nodes.apply(&Change::delete("component", "x0c0s1b0n0")).unwrap();
        assert_eq!(nodes.take_changed(), these(&["x0c0s1b0n0"]));
    }

    #[test]
    fn what_says_nothing_of_consoles_is_not_kept() {
        let mut nodes = Nodes::default();
        let row =
            json!({"id": "x0c0s1b0n0", "nid": 7, "name": "login1", "state": "Ready", "role": "Service"});
        nodes.apply(&Change::put("component", "x0c0s1b0n0", row)).unwrap();
        nodes.apply(&Change::put("component", "x0c0s1b0", json!({"id": "x0c0s1b0"}))).unwrap();
        let interface = json!({"id": "ece7a705a1fc", "mac": "ec:e7:a7:05:a1:fc", "component": "x0c0s1b0n0"});
        nodes.apply(&Change::put("interface", "ece7a705a1fc", interface)).unwrap();
        assert_eq!((nodes.components().len(), nodes.interfaces().len()), (1, 0));
        let node = nodes.find("login1", "nid{nid:03}").unwrap();
        assert_eq!((node.nid.map(|it| it.to_string()), &node.state), (Some("7".to_owned()), &None));
        nodes.apply(&Change::delete("component", "x0c0s1b0n0")).unwrap();
        assert!(nodes.find("login1", "nid{nid:03}").is_none());
    }

    #[test]
    fn too_many_changes_are_all() {
        let mut nodes = Nodes::default();
        nodes.take_changed();
        for number in 0..=CHANGED_MAX {
            let id = format!("x{}c0s{}b0n0", number / 64, number % 64);
            nodes.apply(&Change::put("component", id.clone(), json!({"id": id}))).unwrap();
        }
        assert_eq!(nodes.take_changed(), Changed::All);
    }
}
