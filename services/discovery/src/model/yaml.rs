//! A discovery as a `nodes.yaml` to edit.

use std::fmt::Write as _;

use domain::MacAddr;

use super::tidy;
use crate::client::{Discovery, Node};

/// The nodes as `pilotctl nodes import` and the bootcamp's playbook take them, with a comment for whatever somebody
/// should know before.
#[must_use]
pub fn nodes_yaml(discovery: &Discovery) -> String {
    let summary = &discovery.summary;
    let mut text = format!(
        "# {} of {} BMCs told of {} nodes ({}).\n# Edit this, then: pilotctl nodes import nodes.yaml\n",
        summary.answered,
        discovery.bmcs.len(),
        discovery.nodes.len(),
        tidy(&summary.began),
    );
    for warning in &discovery.warnings {
        text.push_str(&format!("# warning: {}\n", comment(warning)));
    }
    if discovery.nodes.is_empty() {
        text.push_str("nodes: []\n");
        return text;
    }
    text.push_str("nodes:\n");
    discovery.nodes.iter().for_each(|it| node(&mut text, it, true));
    text
}

/// The same of those nodes alone whose BMC told all and whose network cards are known, without what is made up;
/// none, if there is no such node.
#[must_use]
pub fn import_yaml(discovery: &Discovery) -> Option<String> {
    let told = |target: &str| discovery.bmcs.iter().any(|it| it.target == target && it.is_whole());
    let told: Vec<&Node> = discovery.nodes.iter().filter(|it| !it.is_made_up() && told(&it.target)).collect();
    let mut text = String::from("nodes:\n");
    told.iter().for_each(|it| node(&mut text, it, false));
    (!told.is_empty()).then_some(text)
}

fn node(text: &mut String, node: &Node, is_whole: bool) {
    let Node { xname, name, nid, .. } = node;
    let groups = match node.groups.as_slice() {
        [one] => format!("group: {}", quoted(one)),
        several => {
            format!("groups: [{}]", several.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", "))
        }
    };
    let mut lines = format!("- name: {}\n  xname: {xname}\n  nid: {nid}\n  {groups}\n", quoted(name));
    let note = if node.is_bmc_mac_made_up { "  # made up; put the BMC's own address here" } else { "" };
    if is_whole || !node.is_bmc_mac_made_up {
        lines.push_str(&format!("  bmc_mac: {}{note}\n", mac(node.bmc_mac)));
    }
    if let Some(ip) = node.bmc_ip {
        lines.push_str(&format!("  bmc_ip: {}\n", quoted(&ip.to_string())));
    }
    lines.push_str("  interfaces:\n");
    for interface in &node.interfaces {
        lines.push_str(&format!("  - mac_addr: {}  # {}\n", mac(interface.mac), comment(&interface.note)));
        if let Some(ip) = interface.ip {
            let ip = quoted(&ip.to_string());
            lines.push_str(&format!("    ip_addrs:\n    - name: management\n      ip_addr: {ip}\n"));
        }
    }
    // Writing to a String cannot fail.
    let written = text.write_str(&lines);
    debug_assert!(written.is_ok());
}

/// Digits with colons between them are a number of base 60 to YAML 1.1.
fn mac(mac: MacAddr) -> String {
    let text = mac.to_string();
    let is_plain = text.bytes().any(|it| it.is_ascii_alphabetic());
    if is_plain { text } else { format!("'{text}'") }
}

/// Plain where YAML reads it as text whatever its version, else in quotes.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|it: char| it.is_ascii_alphabetic())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    let is_ipv4 = text.parse::<std::net::Ipv4Addr>().is_ok();
    if is_plain || is_ipv4 { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn comment(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::{mac, quoted};
    use domain::MacAddr;

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        assert_eq!(mac(MacAddr::new([0x10, 0x20, 0x30, 0x40, 0x50, 0])), "'10:20:30:40:50:00'");
        assert_eq!(mac(MacAddr::new([0xec, 0x20, 0x30, 0x40, 0x50, 0])), "ec:20:30:40:50:00");
        assert_eq!(mac(MacAddr::new([0xac, 0x20, 0x30, 0x40, 0x50, 0])), "ac:20:30:40:50:00");
        assert_eq!(quoted("nid001"), "nid001");
        assert_eq!(quoted("no"), "'no'");
        assert_eq!(quoted("172.16.0.1"), "172.16.0.1");
        assert_eq!(quoted("fd00::1"), "'fd00::1'");
    }
}
