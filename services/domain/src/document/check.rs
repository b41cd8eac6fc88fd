//! What serde cannot say of a document: names, uniqueness, what fits together.

use std::collections::HashSet;

use super::logs::TARGETS_MAX;
use super::{Document, LinkKind, Plane, PlaneKind, VERSION, is_account, is_label, is_ssh_key};
use crate::MacAddr;

/// What does not hold; the path leads to the wrong value, by keys and indexes.
pub(super) struct Wrong {
    pub(super) path: Vec<String>,
    pub(super) message: String,
}

fn wrong(path: &[&str], message: impl Into<String>) -> Wrong {
    Wrong { path: path.iter().map(|it| (*it).to_owned()).collect(), message: message.into() }
}

pub(super) fn check(document: &Document) -> Result<(), Wrong> {
    if document.version != VERSION {
        let message = format!("this head reads version {VERSION} of the document alone");
        return Err(wrong(&["version"], message));
    }
    check_cluster(document)?;
    check_links(document)?;
    for index in 0..document.network.planes.len() {
        check_plane(document, index)?;
    }
    check_freezes(document)?;
    check_logs(document)?;
    if let Some((path, message)) = document.health.wrong() {
        return Err(Wrong { path: [vec!["health".to_owned()], path].concat(), message });
    }
    check_admins(document)
}

fn check_freezes(document: &Document) -> Result<(), Wrong> {
    let backward = document.freeze.iter().position(|it| it.from >= it.until);
    backward.map_or(Ok(()), |index| {
        let hint = "a freeze ends after it begins; write from and until as \"2026-12-20T00:00:00Z\"";
        Err(wrong(&["freeze", &index.to_string(), "until"], hint))
    })
}

fn check_logs(document: &Document) -> Result<(), Wrong> {
    let targets = &document.logs.targets;
    if targets.len() > TARGETS_MAX {
        return Err(wrong(&["logs", "targets"], format!("there are at most {TARGETS_MAX} syslog servers")));
    }
    for (index, target) in targets.iter().enumerate() {
        let index = index.to_string();
        let at = |key: &str, hint: &str| wrong(&["logs", "targets", &index, key], hint);
        let named = target.host.to_ascii_lowercase().split('.').all(is_label);
        if !named && target.host.parse::<std::net::IpAddr>().is_err() {
            return Err(at("host", "write a name or an address, as syslog.site.example or 10.0.0.5"));
        }
        if target.port == Some(0) {
            return Err(at("port", "a port is 1 to 65535"));
        }
        let is_pem = |it: &String| it.trim().starts_with("-----BEGIN CERTIFICATE-----");
        if target.ca.as_ref().is_some_and(|it| !target.tls || !is_pem(it)) {
            return Err(at("ca", "it holds certificates in PEM, and goes with tls = true"));
        }
        if !(1 << 20..=1 << 40).contains(&target.queue.0) {
            return Err(at("queue", "a queue is 1MiB to 1024GiB"));
        }
    }
    Ok(())
}

fn check_cluster(document: &Document) -> Result<(), Wrong> {
    let cluster = &document.cluster;
    if !is_label(&cluster.name) {
        return Err(wrong(&["cluster", "name"], label_hint(&cluster.name)));
    }
    if cluster.domain.is_empty() || !cluster.domain.split('.').all(is_label) {
        let hint = format!("{:?} is no domain name; write cluster.example", cluster.domain);
        return Err(wrong(&["cluster", "domain"], hint));
    }
    if let Some(head) = cluster.head.as_ref().filter(|it| !is_label(it)) {
        return Err(wrong(&["cluster", "head"], label_hint(head)));
    }
    if !is_label(&cluster.short_name) {
        return Err(wrong(&["cluster", "short_name"], label_hint(&cluster.short_name)));
    }
    if !is_label(&crate::Nid(1).name(&cluster.host_pattern)) || !cluster.host_pattern.contains("{nid") {
        let hint = "write a name with the node's number in it, as nid{nid:03}";
        return Err(wrong(&["cluster", "host_pattern"], hint));
    }
    let sound = |it: &str| it.split('/').all(|it| !it.is_empty() && it != ".." && is_zone_word(it));
    if !sound(&cluster.timezone) {
        return Err(wrong(&["cluster", "timezone"], "write a time zone as Europe/Berlin or UTC"));
    }
    Ok(())
}

fn check_links(document: &Document) -> Result<(), Wrong> {
    let mut names = HashSet::new();
    for (index, link) in document.network.links.iter().enumerate() {
        let index = index.to_string();
        let at = |key: &str, message: String| wrong(&["network", "links", &index, key], message);
        if !is_interface(&link.name) || link.name.parse::<MacAddr>().is_ok() {
            return Err(at("name", format!("{:?} is no interface name", link.name)));
        }
        if !names.insert(&link.name) {
            return Err(at("name", format!("the link {:?} is there twice", link.name)));
        }
        match link.kind {
            LinkKind::Vlan if !link.parent.as_deref().is_some_and(is_interface) => {
                return Err(at("kind", "a VLAN needs the NIC beneath it in `parent`".to_owned()));
            }
            LinkKind::Vlan if !link.id.is_some_and(|it| (1..=4094).contains(&it)) => {
                return Err(at("id", "a VLAN needs an `id` of 1 to 4094".to_owned()));
            }
            LinkKind::Bond if link.members.is_empty() || !link.members.iter().all(|it| is_interface(it)) => {
                return Err(at("kind", "a bond needs its NICs in `members`".to_owned()));
            }
            _ => {}
        }
        let word = |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        if let Some(mode) = link.mode.as_ref().filter(|it| !word(it)) {
            return Err(at("mode", format!("{mode:?} is no mode; write active-backup or 802.3ad")));
        }
    }
    Ok(())
}

fn check_plane(document: &Document, index: usize) -> Result<(), Wrong> {
    let (before, plane) = (&document.network.planes[..index], &document.network.planes[index]);
    let number = index.to_string();
    let at = |key: &str, message: String| wrong(&["network", "planes", &number, key], message);
    if !is_label(&plane.name) {
        return Err(at("name", label_hint(&plane.name)));
    }
    if before.iter().any(|it| it.name == plane.name) {
        return Err(at("name", format!("the plane {:?} is there twice", plane.name)));
    }
    if let Some(interface) = plane.interface.as_ref().filter(|it| !is_interface(it)) {
        return Err(at("interface", format!("{interface:?} is no interface name and no MAC address")));
    }
    if plane.addresses.is_empty() && plane.kind != PlaneKind::Site && plane.interface.is_some() {
        let hint = format!("the plane {:?} needs the head's address, as [\"172.16.0.254/24\"]", plane.name);
        return Err(at("kind", hint));
    }
    for net in &plane.addresses {
        if net.prefix_len() < 31 && (net.addr() == net.network() || net.addr() == net.broadcast()) {
            return Err(at("addresses", format!("{net} is the network's own address, not a machine's")));
        }
        let meets = |other: &Plane| {
            let nets =
                other.addresses.iter().find(|it| it.contains(&net.network()) || net.contains(&it.network()));
            nets.filter(|it| it.addr() != net.addr()).map(|it| (other.name.clone(), *it))
        };
        if let Some((name, other)) = before.iter().find_map(meets) {
            return Err(at("addresses", format!("{net} overlaps {other} of the plane {name:?}")));
        }
    }
    for (index, subnet) in plane.subnets.iter().enumerate() {
        let position = index.to_string();
        let path = ["network", "planes", number.as_str(), "subnets", position.as_str()];
        let at = |key: &str, message: String| wrong(&[&path[..], &[key]].concat(), message);
        let net = subnet.cidr.trunc();
        if let Some(router) = subnet.router.filter(|it| !net.contains(it)) {
            return Err(at("router", format!("the router {router} is not in {net}")));
        }
        let Some(range) = subnet.range else { continue };
        if !net.contains(&range.first) || !net.contains(&range.last) {
            return Err(at("range", format!("the range is not in {net}")));
        }
        if let Some(own) = plane.addresses.iter().find(|it| range.contains(it.addr())) {
            return Err(at("range", format!("the range holds the head's own address {}", own.addr())));
        }
    }
    Ok(())
}

fn check_admins(document: &Document) -> Result<(), Wrong> {
    for (name, admin) in &document.admins {
        if !is_account(name) {
            let hint = format!("{name:?} is no account name; small letters, digits, - and _");
            return Err(wrong(&["admins", name], hint));
        }
        if admin.ssh_keys.is_empty() {
            return Err(wrong(&["admins", name], format!("the administrator {name:?} needs an SSH key")));
        }
        if let Some(key) = admin.ssh_keys.iter().find(|it| !is_ssh_key(it)) {
            let start: String = key.chars().take(24).collect();
            let hint = format!("{start:?}… is no OpenSSH public key; copy the line of ~/.ssh/id_ed25519.pub");
            return Err(wrong(&["admins", name, "ssh_keys"], hint));
        }
    }
    Ok(())
}

fn label_hint(text: &str) -> String {
    format!("{text:?} is no DNS label; small letters, digits and -, at most 63")
}

fn is_zone_word(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'+'))
}

fn is_interface(text: &str) -> bool {
    let word = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_');
    text.parse::<MacAddr>().is_ok() || ((1..=15).contains(&text.len()) && text.bytes().all(word))
}
