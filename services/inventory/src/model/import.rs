//! What an import of `nodes.yaml` changes: worked out whole before anything is stored.
//!
//! Nodes that the file does not name stay as they are. Interfaces and memberships that an earlier import (or
//! an endpoint) made and the file no longer says go; those made by hand stay, unless their address moves to
//! another card.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use domain::inventory::{Component, Group, Interface, InterfaceAddress};
use domain::{MacAddr, Nid, Xname};
use time::OffsetDateTime;

use super::catalog::Catalog;
use super::component::{bare, computed_nid};
use super::interface::{build, set_addresses};
use super::nodes_file::{Fault, FileBmc, FileNode};
use super::redfish::{ComponentEndpoint, DetailBody, EndpointBody, NicBody, RedfishEndpoint, bare_endpoint};
use crate::client::{ChangedNode, FieldChange, Imported};

/// What the tables know and the feed does not: what may be taken away again.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Interfaces that were not made by hand.
    pub(crate) interfaces: HashSet<String>,
    /// Memberships that an import made.
    pub(crate) memberships: HashSet<(String, Xname)>,
}

/// Everything an import stores.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) components: Vec<Component>,
    pub(crate) endpoints: Vec<RedfishEndpoint>,
    pub(crate) component_endpoints: Vec<ComponentEndpoint>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) dropped_interfaces: Vec<String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) joins: Vec<(String, Xname)>,
    pub(crate) leaves: Vec<(String, Xname)>,
    pub(crate) report: Imported,
}

struct Planner<'a> {
    catalog: &'a Catalog,
    origins: &'a Origins,
    now: OffsetDateTime,
    nodes: HashMap<&'a Xname, &'a FileNode>,
    bmcs: BTreeMap<&'a Xname, (&'a FileBmc, Vec<&'a FileNode>)>,
    /// Every MAC address of the file.
    macs: HashSet<MacAddr>,
    plan: Plan,
}

/// Works out an import; refused whole if the file and the rest of the inventory do not go together.
pub(crate) fn plan(
    catalog: &Catalog,
    origins: &Origins,
    file: &[FileNode],
    now: OffsetDateTime,
) -> Result<Plan, Vec<Fault>> {
    let mut bmcs: BTreeMap<&Xname, (&FileBmc, Vec<&FileNode>)> = BTreeMap::new();
    for node in file {
        if let Some(bmc) = &node.bmc {
            // The last entry of a controller knows all that the entries before it said.
            let known = bmcs.entry(&bmc.xname).or_insert((bmc, Vec::new()));
            known.0 = bmc;
            known.1.push(node);
        }
    }
    let nodes = file.iter().map(|it| (&it.xname, it)).collect();
    let macs = file.iter().flat_map(|it| it.interfaces.iter().map(|it| it.0));
    let macs = macs.chain(file.iter().filter_map(|it| it.bmc.as_ref()?.mac)).collect();
    let mut planner = Planner { catalog, origins, now, nodes, bmcs, macs, plan: Plan::default() };
    let faults: Vec<Fault> = file.iter().flat_map(|it| planner.conflicts(it)).take(20).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    for node in file {
        planner.node(node);
    }
    for (bmc, nodes) in std::mem::take(&mut planner.bmcs).into_values() {
        planner.bmc(bmc, &nodes);
    }
    planner.new_groups(file);
    Ok(planner.plan)
}

impl Planner<'_> {
    /// Whether the file describes this component, so that what it holds now is settled by the file.
    fn in_file(&self, id: &Xname) -> bool {
        self.nodes.contains_key(id) || self.bmcs.contains_key(id)
    }

    /// What a node of the file wants and a component outside the file has.
    fn conflicts(&self, node: &FileNode) -> Vec<Fault> {
        let inventory = &self.catalog.inventory;
        let mut faults = Vec::new();
        let mut check = |what: &str, value: String, holder: &Xname| {
            if !self.in_file(holder) {
                let text = format!(
                    "the {what} {value} of {} is that of {holder} in the inventory; remove it there first",
                    node.xname
                );
                faults.push(Fault { line: node.line, text });
            }
        };
        let own = node.interfaces.iter().map(|(mac, ips)| (Some(*mac), ips.clone()));
        let bmc = node.bmc.iter().map(|it| (it.mac, it.address.into_iter().collect()));
        for (mac, ips) in own.chain(bmc) {
            let by_mac = mac.and_then(|it| inventory.interface_by_mac(it));
            if let Some(holder) = by_mac.and_then(|it| it.component.as_ref()) {
                check("MAC address", mac.map(|it| it.to_string()).unwrap_or_default(), holder);
            }
            for ip in ips {
                let by_ip = inventory.interface_by_ip(ip);
                if let Some(holder) = by_ip.and_then(|it| it.component.as_ref()) {
                    check("IP address", ip.to_string(), holder);
                }
            }
        }
        if let Some(holder) = node.nid.and_then(|it| inventory.component_by_nid(it)) {
            check("NID", holder.nid.map(|it| it.to_string()).unwrap_or_default(), &holder.id);
        }
        if let Some(holder) = node.name.as_ref().and_then(|it| inventory.component_by_name(it)) {
            check("name", holder.name.clone().unwrap_or_default(), &holder.id);
        }
        faults
    }

    fn node(&mut self, node: &FileNode) {
        let inventory = &self.catalog.inventory;
        let old = inventory.component(&node.xname);
        let mut fields = Vec::new();
        let nid = |it: Option<Nid>| it.map(|it| it.to_string());
        let new = match old {
            Some(old) => Component {
                nid: node.nid.or(old.nid),
                name: node.name.clone().or_else(|| old.name.clone()),
                role: old.role.clone().or_else(|| Some("Compute".to_owned())),
                ..old.clone()
            },
            None => Component {
                state: Some("On".to_owned()),
                role: Some("Compute".to_owned()),
                nid: Some(node.nid.unwrap_or_else(|| computed_nid(&node.xname))),
                name: node.name.clone(),
                ..bare(node.xname.clone())
            },
        };
        note(&mut fields, "name", old.and_then(|it| it.name.clone()), new.name.clone());
        note(&mut fields, "nid", nid(old.and_then(|it| it.nid)), nid(new.nid));
        let label = new.name.clone().unwrap_or_else(|| node.xname.to_string());
        self.interfaces(&node.xname, &node.interfaces, &mut fields, |at| {
            format!("Interface {at} for {label}")
        });
        self.memberships(node, &mut fields);
        let bmc = |it: Option<(&Xname, Option<String>)>| {
            it.map(|(id, address)| address.map_or_else(|| id.to_string(), |it| format!("{id} {it}")))
        };
        if let Some(known) = node.bmc.as_ref().and_then(|it| self.bmcs.get(&it.xname)) {
            let before = inventory.controller_of(&node.xname).map(|it| (&it.id, it.address.clone()));
            let kept = before.clone().and_then(|it| it.1);
            let after = (&known.0.xname, known.0.address.map(|it| it.to_string()).or(kept));
            note(&mut fields, "bmc", bmc(before), bmc(Some(after)));
        }
        match old {
            None => self.plan.report.added.push(node.xname.clone()),
            Some(_) if fields.is_empty() => self.plan.report.unchanged += 1,
            Some(_) => {
                self.plan.report.changed.push(ChangedNode { xname: node.xname.clone(), fields });
            }
        }
        if old != Some(&new) {
            self.plan.components.push(new);
        }
    }

    /// Makes the interfaces of a component what the file says.
    fn interfaces(
        &mut self,
        id: &Xname,
        wanted: &[(MacAddr, Vec<IpAddr>)],
        fields: &mut Vec<FieldChange>,
        describe: impl Fn(usize) -> String,
    ) {
        let inventory = &self.catalog.inventory;
        let mut after = BTreeMap::new();
        for (at, (mac, ips)) in wanted.iter().enumerate() {
            let address = |it: &IpAddr| InterfaceAddress { address: it.to_string(), network: String::new() };
            let addresses: Vec<_> = ips.iter().map(address).collect();
            let fresh = || build(*mac, Some(id.clone()), describe(at), Vec::new(), self.now);
            let old = inventory.interface_by_mac(*mac);
            let mut new = old.cloned().unwrap_or_else(fresh);
            (new.component, new.kind) = (Some(id.clone()), Some(id.kind().name().to_owned()));
            let known: Vec<_> = new.addresses.iter().map(|it| it.address.clone()).collect();
            if known != addresses.iter().map(|it| it.address.clone()).collect::<Vec<_>>() {
                set_addresses(&mut new, addresses, self.now);
            }
            after.insert(new.id.clone(), shown(&new));
            if old != Some(&new) {
                self.plan.interfaces.push(new);
            }
        }
        let taken: BTreeSet<IpAddr> = wanted.iter().flat_map(|it| it.1.iter().copied()).collect();
        let mut before = BTreeMap::new();
        for old in inventory.interfaces_of(id) {
            before.insert(old.id.clone(), shown(old));
            if after.contains_key(&old.id) {
                continue;
            }
            if self.origins.interfaces.contains(&old.id) || old.ips().any(|it| taken.contains(&it)) {
                // Another component of the file may take it over.
                if !self.macs.contains(&old.mac) {
                    self.plan.dropped_interfaces.push(old.id.clone());
                }
            } else {
                after.insert(old.id.clone(), shown(old));
            }
        }
        let text = |it: BTreeMap<String, String>| {
            (!it.is_empty()).then(|| it.into_values().collect::<Vec<_>>().join(", "))
        };
        note(fields, "interfaces", text(before), text(after));
    }

    fn memberships(&mut self, node: &FileNode, fields: &mut Vec<FieldChange>) {
        let before: BTreeSet<String> =
            self.catalog.inventory.groups_of(&node.xname).map(str::to_owned).collect();
        let mut after = before.clone();
        for label in &before {
            let key = (label.clone(), node.xname.clone());
            if !node.groups.contains(label) && self.origins.memberships.contains(&key) {
                after.remove(label);
                self.plan.leaves.push(key);
            }
        }
        for label in node.groups.difference(&before) {
            after.insert(label.clone());
            self.plan.joins.push((label.clone(), node.xname.clone()));
        }
        let text =
            |it: BTreeSet<String>| (!it.is_empty()).then(|| it.into_iter().collect::<Vec<_>>().join(", "));
        note(fields, "groups", text(before), text(after));
    }

    fn new_groups(&mut self, file: &[FileNode]) {
        let labels: BTreeSet<&String> = file.iter().flat_map(|it| &it.groups).collect();
        for label in labels.into_iter().filter(|it| self.catalog.inventory.group(it).is_none()) {
            self.plan.groups.push(Group {
                label: label.clone(),
                description: format!("The {label} group"),
                tags: Vec::new(),
                exclusive_group: None,
                members: BTreeSet::new(),
            });
        }
    }

    /// Makes a controller and what it says of its nodes, as `ochami discover static` would.
    fn bmc(&mut self, bmc: &FileBmc, nodes: &[&FileNode]) {
        let inventory = &self.catalog.inventory;
        if inventory.component(&bmc.xname).is_none() {
            self.plan.components.push(Component { flag: None, ..bare(bmc.xname.clone()) });
        }
        let old = self.catalog.endpoint(&bmc.xname);
        let mut new = old.clone().unwrap_or_else(|| bare_endpoint(bmc.xname.clone()));
        new.ip_address = bmc.address.map(|it| it.to_string()).or(new.ip_address);
        new.mac = bmc.mac.or(new.mac);
        new.name = new.name.or_else(|| nodes.first().and_then(|it| it.name.clone()));
        let wanted: Vec<_> = bmc.mac.iter().map(|mac| (*mac, bmc.address.into_iter().collect())).collect();
        if !wanted.is_empty() {
            let id = bmc.xname.clone();
            self.interfaces(&bmc.xname, &wanted, &mut Vec::new(), |_| format!("Interface for BMC {id}"));
        }
        for part in described(bmc, nodes).derive(&new, self.now).component_endpoints {
            let known = self.catalog.component_endpoint(&part.id);
            let same = known.as_ref().is_some_and(|it| it.endpoint == part.endpoint && it.nics == part.nics);
            if !same {
                let known = known.unwrap_or_else(|| part.clone());
                let merged = ComponentEndpoint { endpoint: part.endpoint, nics: part.nics, ..known };
                self.plan.component_endpoints.push(merged);
            }
        }
        if old.as_ref() != Some(&new) {
            self.plan.endpoints.push(new);
        }
    }
}

/// The controller as a client would have posted it.
fn described(bmc: &FileBmc, nodes: &[&FileNode]) -> EndpointBody {
    let nic = |mac: MacAddr, ip: Option<&IpAddr>, name: &Xname, description: String| NicBody {
        mac: mac.to_string(),
        ip: ip.map(|it| it.to_string()).unwrap_or_default(),
        name: name.to_string(),
        description,
        enabled: false,
    };
    let system = |node: &&FileNode| {
        let name = node.name.clone().unwrap_or_else(|| node.xname.to_string());
        let nics = node.interfaces.iter().enumerate();
        let nics = nics.map(|(at, (mac, ips))| {
            nic(*mac, ips.first(), &node.xname, format!("Interface {at} for {name}"))
        });
        DetailBody {
            uri: Some(format!("/redfish/v1/Systems/{}", node.xname)),
            ethernet_interfaces: Some(nics.collect()),
            name: Some(name),
            ..DetailBody::default()
        }
    };
    let own = bmc
        .mac
        .map(|mac| nic(mac, bmc.address.as_ref(), &bmc.xname, format!("Interface for BMC {}", bmc.xname)));
    let manager = DetailBody {
        uri: Some(format!("/redfish/v1/Managers/{}", bmc.xname)),
        name: Some(bmc.xname.to_string()),
        ethernet_interfaces: Some(own.into_iter().collect()),
        ..DetailBody::default()
    };
    EndpointBody {
        schema_version: Some(1),
        systems: Some(nodes.iter().map(system).collect()),
        managers: Some(vec![manager]),
        ..EndpointBody::default()
    }
}

fn shown(it: &Interface) -> String {
    let addresses = it.addresses.iter().map(|it| it.address.as_str()).collect::<Vec<_>>().join(" ");
    format!("{} {addresses}", it.mac).trim_end().to_owned()
}

fn note(fields: &mut Vec<FieldChange>, field: &str, from: Option<String>, to: Option<String>) {
    if from != to {
        fields.push(FieldChange { field: field.to_owned(), from, to });
    }
}
