//! systemd-networkd's files: one for each NIC, VLAN or bond, with the addresses of all planes on it.

use domain::document::{Link, LinkKind, Network, Plane, PlaneKind};
use domain::{Document, MacAddr};

use super::{HEADER, Output};

/// A NIC or link, and what is on it.
pub(super) struct Port<'a> {
    /// As the document names it: a NIC's name or MAC address, or a link's name.
    name: &'a str,
    /// What it is made as, if it is no NIC.
    link: Option<&'a Link>,
    /// The VLANs on it.
    vlans: Vec<&'a str>,
    /// The bond it belongs to.
    bond: Option<&'a str>,
    /// The planes it carries.
    pub(super) planes: Vec<&'a Plane>,
}

impl Port<'_> {
    fn carries(&self, kind: PlaneKind) -> bool {
        self.planes.iter().any(|it| it.kind == kind)
    }

    /// The kernel's name of it, if the machine has it.
    pub(super) fn interface(&self, nic_of: super::NicOf<'_>) -> Option<String> {
        match self.name.parse::<MacAddr>() {
            Ok(mac) => nic_of(mac),
            Err(_) => Some(self.name.to_owned()),
        }
    }
}

/// Everything the document connects the head with, in the order of its first mention.
pub(super) fn ports(network: &Network) -> Vec<Port<'_>> {
    let of_planes = network.planes.iter().filter_map(|it| it.interface.as_deref());
    let of_links = network.links.iter().flat_map(|it| {
        let beneath = it.parent.as_deref().into_iter().chain(it.members.iter().map(String::as_str));
        std::iter::once(it.name.as_str()).chain(beneath)
    });
    let mut ports: Vec<Port<'_>> = Vec::new();
    for name in of_planes.chain(of_links) {
        if ports.iter().any(|it| it.name == name) {
            continue;
        }
        let vlans =
            network.links.iter().filter(|it| it.kind == LinkKind::Vlan && it.parent.as_deref() == Some(name));
        let bonds = network.links.iter().filter(|it| it.kind == LinkKind::Bond);
        ports.push(Port {
            name,
            link: network.link(name),
            vlans: vlans.map(|it| it.name.as_str()).collect(),
            bond: bonds.filter(|it| it.members.iter().any(|it| it == name)).map(|it| it.name.as_str()).next(),
            planes: network.planes.iter().filter(|it| it.interface.as_deref() == Some(name)).collect(),
        });
    }
    ports
}

/// The files.
pub(super) fn files(document: &Document) -> Vec<Output> {
    let ports = ports(&document.network);
    let mut outputs = Vec::new();
    for port in &ports {
        let path = format!("/etc/systemd/network/50-ph-{}", port.name.replace(':', "-").to_ascii_lowercase());
        if let Some(link) = port.link {
            outputs.push(Output::file(format!("{path}.netdev"), 0o644, netdev(link)));
        }
        outputs.push(Output::file(format!("{path}.network"), 0o644, network_file(document, port, &ports)));
    }
    outputs
}

fn netdev(link: &Link) -> String {
    let (kind, settings) = match link.kind {
        LinkKind::Vlan => ("vlan", format!("[VLAN]\nId={}\n", link.id.unwrap_or_default())),
        LinkKind::Bond => {
            let mode = link.mode.as_deref().unwrap_or("active-backup");
            // Without monitoring a bond would not see that a cable is out.
            ("bond", format!("[Bond]\nMode={mode}\nMIIMonitorSec=100ms\n"))
        }
    };
    format!("{HEADER}[NetDev]\nName={}\nKind={kind}\n\n{settings}", link.name)
}

fn network_file(document: &Document, port: &Port<'_>, ports: &[Port<'_>]) -> String {
    let mut text = format!("{HEADER}[Match]\n");
    match port.name.parse::<MacAddr>() {
        // A VLAN has its parent's address, but not as its permanent one.
        Ok(mac) => line(&mut text, "PermanentMACAddress", mac),
        Err(_) => line(&mut text, "Name", port.name),
    }
    text += "\n[Network]\n";
    if let Some(bond) = port.bond {
        // All else is the bond's.
        line(&mut text, "Bond", bond);
        return text;
    }
    let site = port.carries(PlaneKind::Site);
    let nodes = port.carries(PlaneKind::Nodes);
    let dhcp = port.planes.iter().any(|it| it.kind == PlaneKind::Site && it.addresses.is_empty());
    for address in port.planes.iter().flat_map(|it| &it.addresses) {
        line(&mut text, "Address", address);
    }
    for vlan in &port.vlans {
        line(&mut text, "VLAN", vlan);
    }
    line(&mut text, "DHCP", if dhcp { "ipv4" } else { "no" });
    line(&mut text, "LinkLocalAddressing", if port.planes.is_empty() { "no" } else { "ipv6" });
    line(&mut text, "IPv6AcceptRA", if site && !nodes { "yes" } else { "no" });
    line(&mut text, "LLDP", "no");
    if !dhcp {
        // Services answer on the address also while no cable is in.
        line(&mut text, "ConfigureWithoutCarrier", "yes");
    }
    let no_site = !ports.iter().any(|it| it.carries(PlaneKind::Site));
    if site || (no_site && !port.planes.is_empty()) {
        for server in &document.network.dns {
            line(&mut text, "DNS", server);
        }
        line(&mut text, "Domains", &document.cluster.domain);
    }
    if nodes {
        line(&mut text, "IPv6SendRA", "yes");
        // Nodes need an answer to their solicitation or they wait for it; the head is no router and gives no
        // prefix.
        text += "\n[IPv6SendRA]\nRouterLifetimeSec=0\nManaged=no\nOtherInformation=no\nEmitDNS=no\nEmitDomains=no\n";
    }
    if dhcp {
        text += "\n[DHCPv4]\nUseNTP=no\nUseHostname=no\nUseTimezone=no\n";
        line(&mut text, "UseDNS", if document.network.dns.is_empty() { "yes" } else { "no" });
    }
    for router in port.planes.iter().filter(|it| it.kind == PlaneKind::Site).filter_map(|it| it.router()) {
        text += "\n[Route]\n";
        line(&mut text, "Gateway", router);
    }
    text
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    text.push_str(&format!("{key}={value}\n"));
}

#[cfg(test)]
mod tests {
    use super::super::tests::text_of;

    const NIC: &str = "/etc/systemd/network/50-ph-52-54-00-00-00-fe.network";

    #[test]
    fn a_nic_with_a_vlan_has_two_files_and_a_device() {
        let parent = text_of(NIC);
        assert!(parent.contains("PermanentMACAddress=52:54:00:00:00:fe\n"), "{parent}");
        assert!(parent.contains("Address=172.16.0.254/24\nVLAN=bmc20\n"), "{parent}");
        let device = text_of("/etc/systemd/network/50-ph-bmc20.netdev");
        assert!(device.contains("Name=bmc20\nKind=vlan\n\n[VLAN]\nId=20\n"), "{device}");
        let vlan = text_of("/etc/systemd/network/50-ph-bmc20.network");
        assert!(vlan.contains("Name=bmc20\n") && vlan.contains("Address=172.16.100.254/24\n"), "{vlan}");
    }

    #[test]
    fn a_bond_is_made_of_its_members() {
        let bond = text_of("/etc/systemd/network/50-ph-bond0.netdev");
        assert!(bond.contains("Kind=bond\n\n[Bond]\nMode=active-backup\n"), "{bond}");
        let member = text_of("/etc/systemd/network/50-ph-ens4.network");
        assert!(member.ends_with("[Match]\nName=ens4\n\n[Network]\nBond=bond0\n"), "{member}");
        assert!(text_of("/etc/systemd/network/50-ph-bond0.network").contains("Address=10.1.0.254/16\n"));
    }

    #[test]
    fn advertisements_go_to_node_planes_alone_and_offer_nothing() {
        let nodes = text_of(NIC);
        assert!(nodes.contains("IPv6SendRA=yes\n") && nodes.contains("RouterLifetimeSec=0\n"), "{nodes}");
        assert!(!nodes.contains("Prefix"), "{nodes}");
        for other in ["ens2", "bmc20", "ens4"] {
            assert!(!text_of(&format!("/etc/systemd/network/50-ph-{other}.network")).contains("SendRA"));
        }
    }

    #[test]
    fn the_site_gives_the_address_and_the_document_the_name_servers() {
        let site = text_of("/etc/systemd/network/50-ph-ens2.network");
        assert!(
            site.contains("Name=ens2\n") && site.contains("DHCP=ipv4\n") && site.contains("UseDNS=no\n"),
            "{site}"
        );
        assert!(site.contains("DNS=192.0.2.53\nDomains=openchami.cluster\n"), "{site}");
        assert!(!text_of(NIC).contains("DNS=192"));
    }
}
