//! The file of a static discovery, of today's shape and of the bootcamp's, and what is made of it.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ochami::error::Stop;
use crate::ochami::log;

/// What a node that is switched by Redfish can be told.
const ACTIONS: [&str; 12] = [
    "On",
    "ForceOff",
    "GracefulShutdown",
    "GracefulRestart",
    "ForceRestart",
    "Nmi",
    "ForceOn",
    "PushPowerButton",
    "PowerCycle",
    "Suspend",
    "Pause",
    "Resume",
];

/// What is put into the inventory.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) components: Vec<Value>,
    pub(super) endpoints: Vec<Value>,
    pub(super) interfaces: Vec<Value>,
    pub(super) groups: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    bmcs: Vec<Bmc>,
    #[serde(default)]
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Bmc {
    #[serde(default)]
    name: String,
    xname: String,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    fqdn: String,
}

#[derive(Debug, Deserialize)]
struct Node {
    #[serde(default)]
    name: String,
    nid: Option<i64>,
    xname: String,
    #[serde(default)]
    bmc: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    bmc_mac: Option<String>,
    #[serde(default)]
    bmc_ip: Option<String>,
    #[serde(default)]
    bmc_fqdn: Option<String>,
    #[serde(default)]
    interfaces: Vec<Interface>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    mac_addr: String,
    #[serde(default)]
    ip_addrs: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    #[serde(default, alias = "network")]
    name: String,
    ip_addr: String,
}

/// What a file says. `base` is where the inventory is: Redfish data name a host.
pub(super) fn read(data: Value, base: &http::Uri) -> Result<Found, Stop> {
    let data = if data.is_array() { json!({"nodes": data}) } else { data };
    let File { mut bmcs, mut nodes } = serde_json::from_value(data)
        .map_err(|it| Stop::failed("the file is no list of nodes").because(it))?;
    if nodes.iter().any(|it| it.bmc_mac.is_some() || it.bmc_ip.is_some()) {
        log::warning("the nodes are in the older shape; bmcs: is the present one");
        bmcs.extend(own_bmcs(&mut nodes));
    }
    let host = base.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let root = format!("{}://{host}/redfish/v1", base.scheme_str().unwrap_or("https"));
    let mut found = Found::default();
    let mut bmcs_seen = BTreeSet::new();
    for bmc in &bmcs {
        if bmcs_seen.insert(&bmc.xname) {
            found.endpoints.push(endpoint(bmc, &root));
        }
    }
    let mut seen = BTreeSet::new();
    for node in &nodes {
        if !seen.insert(&node.xname) {
            log::warning(format!("{} is in the file twice; the first one counts", node.xname));
            continue;
        }
        let mut component = json!({"ID": node.xname, "Type": "Node", "State": "On", "Enabled": true});
        if let Some(nid) = node.nid {
            component["NID"] = json!(nid);
        }
        found.components.push(component);
        found
            .interfaces
            .extend(node.interfaces.iter().enumerate().map(|(index, it)| interface(node, index, it)));
        let bmc = bmcs.iter().find(|it| it.is(node));
        let endpoint =
            bmc.and_then(|bmc| found.endpoints.iter_mut().find(|it| it["ID"] == bmc.xname.as_str()));
        match endpoint.and_then(|it| it["Systems"].as_array_mut()) {
            Some(systems) => systems.push(system(node, &root)),
            None => log::error(&Stop::failed(format!(
                "the file has no management controller of {}: its interfaces stay unknown",
                node.xname
            ))),
        }
        for label in node.group.iter().chain(node.groups.iter().flatten()).filter(|it| !it.is_empty()) {
            join(&mut found.groups, label, &node.xname);
        }
    }
    Ok(found)
}

/// The controllers that nodes of the older shape carry: one for all nodes with its MAC address.
fn own_bmcs(nodes: &mut [Node]) -> Vec<Bmc> {
    let mut bmcs: Vec<Bmc> = Vec::new();
    for node in nodes {
        let mac = node.bmc_mac.take().unwrap_or_default();
        let known = bmcs.iter().find(|it| it.mac == mac && !mac.is_empty());
        let xname = match known {
            Some(bmc) => bmc.xname.clone(),
            None => {
                let xname = above(&node.xname).unwrap_or(&node.xname).to_owned();
                bmcs.push(Bmc {
                    name: node.name.clone(),
                    xname: xname.clone(),
                    mac,
                    ip: node.bmc_ip.take().unwrap_or_default(),
                    fqdn: node.bmc_fqdn.take().unwrap_or_default(),
                });
                xname
            }
        };
        node.bmc = xname;
    }
    bmcs
}

/// The controller of a node by its place: x1000c1s7b1n0 is below x1000c1s7b1.
fn above(xname: &str) -> Option<&str> {
    let (bmc, number) = xname.rsplit_once('n')?;
    let is_number = !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
    (is_number && bmc.contains('b')).then_some(bmc)
}

impl Bmc {
    /// Whether it is the one that a node names, by xname, name or MAC address, or that has its place.
    fn is(&self, node: &Node) -> bool {
        match node.bmc.trim() {
            "" => above(&node.xname) == Some(self.xname.as_str()),
            named => self.xname == named || self.mac == named || self.name == named,
        }
    }
}

fn endpoint(bmc: &Bmc, root: &str) -> Value {
    let uuid = Uuid::new_v4();
    let mut endpoint = json!({"ID": bmc.xname, "Type": "NodeBMC", "Name": bmc.name});
    if !bmc.fqdn.is_empty() {
        endpoint["FQDN"] = json!(bmc.fqdn);
    }
    endpoint["UUID"] = json!(uuid);
    endpoint["MACAddr"] = json!(bmc.mac);
    endpoint["IPAddress"] = json!(bmc.ip);
    endpoint["SchemaVersion"] = json!(1);
    endpoint["Systems"] = json!([]);
    endpoint["Managers"] = json!([{
        "uri": format!("{root}/Managers/{}", bmc.xname),
        "uuid": uuid,
        "name": bmc.xname,
        "ethernet_interfaces": [{
            "mac": bmc.mac,
            "ip": bmc.ip,
            "name": bmc.xname,
            "description": format!("Interface for BMC {}", bmc.xname),
        }],
        "type": "NodeBMC",
    }]);
    endpoint
}

fn system(node: &Node, root: &str) -> Value {
    let interfaces = node.interfaces.iter().enumerate().map(|(index, it)| {
        let mut interface = json!({"mac": it.mac_addr});
        if let Some(first) = it.ip_addrs.first() {
            interface["ip"] = json!(first.ip_addr);
        }
        interface["name"] = json!(node.xname);
        interface["description"] = json!(description(node, index));
        interface
    });
    json!({
        "uri": format!("{root}/Systems/{}", node.xname),
        "uuid": Uuid::new_v4(),
        "name": node.name,
        "ethernet_interfaces": interfaces.collect::<Vec<_>>(),
        "actions": ACTIONS,
    })
}

fn interface(node: &Node, index: usize, interface: &Interface) -> Value {
    let addresses = interface.ip_addrs.iter().map(|it| json!({"IPAddress": it.ip_addr, "Network": it.name}));
    json!({
        "ComponentID": node.xname,
        "Type": "Node",
        "Description": description(node, index),
        "MACAddress": interface.mac_addr,
        "IPAddresses": addresses.collect::<Vec<_>>(),
    })
}

fn description(node: &Node, index: usize) -> String {
    format!("Interface {index} for {}", node.name)
}

fn join(groups: &mut Vec<Value>, label: &str, xname: &str) {
    let place = groups.iter().position(|it| it["label"] == label).unwrap_or_else(|| {
        let description = format!("The {label} group");
        groups.push(json!({"label": label, "description": description, "members": {"ids": []}}));
        groups.len() - 1
    });
    if let Some(ids) = groups[place]["members"]["ids"].as_array_mut()
        && !ids.iter().any(|it| it == xname)
    {
        ids.push(json!(xname));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Found, above, read};

    fn found(text: &str) -> Found {
        let base = http::Uri::from_static("https://demo:8443/hsm/v2");
        read(serde_saphyr::from_str(text).expect("YAML"), &base).expect("nodes")
    }

    const OLDER: &str = "nodes:
- {name: nid001, nid: 1, xname: x1000c1s7b1n0, group: compute, bmc_mac: 'c2:77:05:e2:03:48', bmc_ip: 172.16.0.101,
   interfaces: [{mac_addr: 'ec:e7:a7:05:a1:fc', ip_addrs: [{name: management, ip_addr: 172.16.0.1}]}]}
- {name: nid002, nid: 2, xname: x1000c1s7b1n1, group: compute, bmc_mac: 'c2:77:05:e2:03:48', bmc_ip: 172.16.0.101}
";

    const PRESENT: &str = "bmcs:
- {xname: x1000c1s7b1, mac: 'c2:77:05:e2:03:48', ip: 172.16.0.101}
nodes:
- {name: nid001, nid: 1, xname: x1000c1s7b1n0, bmc: x1000c1s7b1, groups: [compute, slurm],
   interfaces: [{mac_addr: 'ec:e7:a7:05:a1:fc', ip_addrs: [{name: management, ip_addr: 172.16.0.1}]}]}
- {name: nid002, nid: 2, xname: x1000c1s7b1n1, groups: [compute]}
";

    #[test]
    fn both_shapes_say_the_same() {
        for (text, groups, name) in [(OLDER, 1, "nid001"), (PRESENT, 2, "")] {
            let found = found(text);
            assert_eq!(
                found.components[1],
                json!({"ID": "x1000c1s7b1n1", "Type": "Node", "State": "On", "Enabled": true, "NID": 2})
            );
            let [endpoint] = &found.endpoints[..] else { panic!("{:?}", found.endpoints) };
            assert_eq!((&endpoint["ID"], &endpoint["Name"]), (&json!("x1000c1s7b1"), &json!(name)));
            assert_eq!(endpoint["UUID"], endpoint["Managers"][0]["uuid"]);
            let systems = endpoint["Systems"].as_array().expect("systems");
            assert_eq!(systems.len(), 2);
            assert_eq!(systems[0]["uri"], "https://demo:8443/redfish/v1/Systems/x1000c1s7b1n0");
            assert_eq!(
                systems[0]["ethernet_interfaces"],
                json!([{"mac": "ec:e7:a7:05:a1:fc", "ip": "172.16.0.1", "name": "x1000c1s7b1n0",
                    "description": "Interface 0 for nid001"}])
            );
            assert_eq!(
                found.interfaces[0]["IPAddresses"],
                json!([{"IPAddress": "172.16.0.1", "Network": "management"}])
            );
            assert_eq!(found.groups.len(), groups);
            assert_eq!(
                found.groups[0],
                json!({"label": "compute", "description": "The compute group",
                    "members": {"ids": ["x1000c1s7b1n0", "x1000c1s7b1n1"]}})
            );
        }
    }

    #[test]
    fn a_controller_is_above_its_nodes() {
        assert_eq!(above("x1000c1s7b1n0"), Some("x1000c1s7b1"));
        assert_eq!(above("x1000c1s7b1"), None);
        assert_eq!(above("node"), None);
    }
}
