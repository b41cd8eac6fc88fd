//! A node as an operator sees it: what the SMD API spreads over five resources.

use domain::inventory::{Component, Inventory};

use crate::client::{Node, NodeBmc, NodeInterface};

/// The node of a component.
pub(crate) fn show(inventory: &Inventory, it: &Component, pattern: &str) -> Node {
    let interfaces = inventory.interfaces_of(&it.id).map(|interface| NodeInterface {
        mac: interface.mac,
        ips: interface.addresses.iter().map(|it| it.address.clone()).collect(),
    });
    let bmc = inventory.controller_of(&it.id);
    Node {
        xname: it.id.clone(),
        name: inventory.name_of(it, pattern),
        nid: it.nid,
        groups: inventory.groups_of(&it.id).map(str::to_owned).collect(),
        interfaces: interfaces.collect(),
        bmc: bmc.map(|it| NodeBmc { xname: it.id.clone(), address: it.address.clone() }),
        state: it.state.clone(),
        enabled: it.enabled.unwrap_or(false),
        lock: it.lock.clone(),
    }
}
