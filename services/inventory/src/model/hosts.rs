//! The hosts file: every node and every BMC by name, as libc on the head reads it (hosts(5)).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use domain::document::Cluster;
use domain::inventory::Inventory;

use super::redfish::is_label;

/// The file: the head itself, then nodes, then BMCs, each in order of xname.
pub(crate) fn render(inventory: &Inventory, cluster: &Cluster, head: Option<Ipv4Addr>) -> String {
    let mut text = String::with_capacity(inventory.interfaces().len() * 64 + 512);
    text.push_str("# Written by pilothouse-inventory after each change of the inventory.\n");
    text.push_str("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    let (head_name, domain) = (cluster.head_name(), &cluster.domain);
    if let Some(head) = head {
        line(&mut text, &head, &[&cluster.service_name(), &head_name, &format!("{head_name}.{domain}")]);
    } else {
        line(&mut text, &"127.0.1.1", &[&cluster.service_name(), &head_name]);
    }
    for node in inventory.components().filter(|it| it.id.is_node()) {
        let name = inventory.name_of(node, &cluster.host_pattern);
        for interface in inventory.interfaces_of(&node.id) {
            for address in interface.ips() {
                named(&mut text, &address, &name, domain, node.id.as_str());
            }
        }
    }
    for endpoint in inventory.endpoints() {
        let mut addresses: BTreeSet<IpAddr> =
            inventory.interfaces_of(&endpoint.id).flat_map(|it| it.ips()).collect();
        addresses.extend(endpoint.address.as_ref().and_then(|it| it.parse::<IpAddr>().ok()));
        let node = endpoint.nodes.iter().find_map(|it| inventory.component(it));
        let name = node.map(|it| bmc_name(&inventory.name_of(it, &cluster.host_pattern)));
        let name = name.unwrap_or_else(|| endpoint.id.to_string());
        for address in addresses {
            named(&mut text, &address, &name, domain, endpoint.id.as_str());
        }
    }
    text
}

/// A BMC's name: its node's with `-bmc` before the number.
pub(crate) fn bmc_name(node: &str) -> String {
    let stem = node.trim_end_matches(|it: char| it.is_ascii_digit());
    format!("{stem}-bmc{}", &node[stem.len()..])
}

fn named(text: &mut String, address: &IpAddr, name: &str, domain: &str, xname: &str) {
    // What is no host name must not become a line of this file; the xname always is one.
    if is_label(name) && name != xname {
        line(text, address, &[name, &format!("{name}.{domain}"), xname]);
    } else {
        line(text, address, &[xname]);
    }
}

fn line(text: &mut String, address: &impl std::fmt::Display, names: &[&str]) {
    // Writing to a String cannot fail.
    if write!(text, "{address}").is_ok() {
        for name in names {
            text.push(' ');
            text.push_str(name);
        }
        text.push('\n');
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::feed::{Change, View};
    use domain::inventory::Inventory;
    use serde_json::json;

    use super::{bmc_name, render};

    #[test]
    fn a_bmc_is_called_after_its_node() {
        assert_eq!(bmc_name("nid001"), "nid-bmc001");
        assert_eq!(bmc_name("login"), "login-bmc");
    }

    #[test]
    fn nodes_and_bmcs_have_name_domain_and_xname() {
        let mut inventory = Inventory::default();
        let mut put = |kind: &str, id: &str, row| inventory.apply(&Change::put(kind, id, row)).unwrap();
        put("component", "x1c0s0b0n0", json!({"id": "x1c0s0b0n0", "nid": 1}));
        let nic = json!({"id": "ece7a705a1fc", "mac": "ec:e7:a7:05:a1:fc", "component": "x1c0s0b0n0",
            "addresses": [{"address": "172.16.0.1"}]});
        put("interface", "ece7a705a1fc", nic);
        let bmc = json!({"id": "x1c0s0b0", "address": "172.16.0.101", "nodes": ["x1c0s0b0n0"]});
        put("endpoint", "x1c0s0b0", bmc);
        let cluster = toml_cluster();
        let text = render(&inventory, &cluster, Some([172, 16, 0, 254].into()));
        let lines: Vec<_> = text.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                "172.16.0.254 demo.openchami.cluster demo-head demo-head.openchami.cluster",
                "172.16.0.1 nid001 nid001.openchami.cluster x1c0s0b0n0",
                "172.16.0.101 nid-bmc001 nid-bmc001.openchami.cluster x1c0s0b0",
            ]
        );
    }

    fn toml_cluster() -> domain::document::Cluster {
        let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n";
        domain::Document::parse(text).unwrap().cluster
    }
}
