//! What a discovery found otherwise than the inventory has it.

use std::collections::HashSet;

use domain::inventory::Inventory;
use domain::{MacAddr, Xname};

use crate::client::{Bmc, Change, Node, Sign};

/// The differences in the order of the nodes, and how many nodes have none. Of BMCs that told nothing nothing is said.
pub(crate) fn compare(
    bmcs: &[Bmc],
    nodes: &[Node],
    inventory: &Inventory,
    pattern: &str,
) -> (Vec<Change>, usize) {
    let (mut changes, mut same) = (Vec::new(), 0);
    let told: HashSet<&Xname> =
        bmcs.iter().filter(|it| it.speaks.is_some()).filter_map(|it| it.xname.as_ref()).collect();
    // Of those who told nothing only the place is known.
    let is_told = |it: &&Node| told.contains(&it.bmc) || inventory.component(&it.xname).is_none();
    for node in nodes.iter().filter(is_told) {
        let before = changes.len();
        compare_node(node, inventory, pattern, &mut changes);
        same += usize::from(before == changes.len());
    }
    let found: HashSet<&Xname> = nodes.iter().map(|it| &it.xname).collect();
    for bmc in bmcs.iter().filter_map(|it| it.xname.as_ref()).filter(|it| told.contains(it)) {
        let listed = inventory.endpoint(bmc).into_iter().flat_map(|it| &it.nodes);
        let gone = listed.filter(|it| !found.contains(it) && inventory.component(it).is_some());
        changes.extend(gone.map(|it| change(Sign::Gone, it, "node", None, None)));
    }
    (changes, same)
}

fn compare_node(node: &Node, inventory: &Inventory, pattern: &str, changes: &mut Vec<Change>) {
    let id = &node.xname;
    let bmc_ip = node.bmc_ip.map(|it| it.to_string());
    let Some(old) = inventory.component(id) else {
        let mac = node.interfaces.first().map(|it| it.mac.to_string()).unwrap_or_default();
        let bmc = format!("BMC {} {}", node.bmc, bmc_ip.unwrap_or_default());
        let what = format!("{}, {mac}, {}", node.name, bmc.trim_end());
        changes.push(change(Sign::New, id, "node", None, Some(what)));
        return;
    };
    let mut note = |id: &Xname, field: &str, from: Option<String>, to: Option<String>| {
        if from != to {
            changes.push(change(Sign::Other, id, field, from, to));
        }
    };
    note(id, "name", Some(inventory.name_of(old, pattern)), Some(node.name.clone()));
    note(id, "nid", old.nid.map(|it| it.to_string()), Some(node.nid.to_string()));
    let controller = inventory.controller_of(id);
    note(id, "bmc", controller.map(|it| it.id.to_string()), Some(node.bmc.to_string()));
    if let Some(known) = controller.filter(|it| it.id == node.bmc) {
        // A host name is kept; where it leads is the site's business.
        let from =
            known.address.clone().filter(|it| it.parse::<std::net::IpAddr>().is_ok() || *it != node.target);
        if from.is_some() && bmc_ip.is_some() {
            note(&node.bmc, "bmc address", from, bmc_ip);
        }
        let mac = inventory.interfaces_of(&node.bmc).next().map(|it| it.mac.to_string());
        if !node.is_bmc_mac_made_up {
            note(&node.bmc, "bmc mac", mac, Some(node.bmc_mac.to_string()));
        }
    }
    if !node.is_made_up() {
        compare_interfaces(node, inventory, changes);
    }
}

fn compare_interfaces(node: &Node, inventory: &Inventory, changes: &mut Vec<Change>) {
    let id = &node.xname;
    let shown = |mac: MacAddr, ips: &str| format!("{mac} {ips}").trim_end().to_owned();
    let ips = |mac: MacAddr| -> Vec<String> {
        inventory
            .interface_by_mac(mac)
            .map(|it| it.ips().map(|it| it.to_string()).collect())
            .unwrap_or_default()
    };
    let old: HashSet<MacAddr> = inventory.interfaces_of(id).map(|it| it.mac).collect();
    for interface in &node.interfaces {
        let ip = interface.ip.map(|it| it.to_string());
        if !old.contains(&interface.mac) {
            let what = shown(interface.mac, ip.as_deref().unwrap_or_default());
            changes.push(change(Sign::New, id, "interface", None, Some(what)));
        } else if let Some(ip) = ip.filter(|it| !ips(interface.mac).contains(it)) {
            let from = ips(interface.mac).join(" ");
            let from = (!from.is_empty()).then_some(from);
            changes.push(change(Sign::Other, id, "address", from, Some(ip)));
        }
    }
    let new: HashSet<MacAddr> = node.interfaces.iter().map(|it| it.mac).collect();
    let gone = inventory.interfaces_of(id).filter(|it| !new.contains(&it.mac));
    let what = gone.map(|it| shown(it.mac, &ips(it.mac).join(" ")));
    changes.extend(what.map(|it| change(Sign::Gone, id, "interface", Some(it), None)));
}

fn change(sign: Sign, xname: &Xname, field: &str, from: Option<String>, to: Option<String>) -> Change {
    Change { sign, xname: xname.clone(), field: field.to_owned(), from, to }
}
