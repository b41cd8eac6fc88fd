//! The head's own wires: links, other DHCP servers, spanning tree, and whether packets of full size get through.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use dhcp::client::Nic;
use domain::Document;
use domain::inventory::Endpoint;
use tokio::process::Command;

use super::{Check, Finding};

const PING: &str = "/usr/bin/ping";
/// Three pings that wait a second each.
const PING_MAX: Duration = Duration::from_secs(8);
/// Of a plane's machines so many are asked whether they get large packets.
const PEERS_MAX: usize = 3;
/// The headers of IPv4 and ICMP.
const HEADERS: u32 = 28;

pub(super) async fn look(nics: &[Nic], document: &Document, controllers: &[Endpoint]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for nic in nics {
        let found = decide(nic);
        let usable = nic.there && nic.carrier;
        if found.is_empty() {
            findings.push(Finding::well(Check::Wires, format!("{} ({})", nic.interface, nic.plane)));
        }
        findings.extend(found);
        let full = nic.subnet_mtu.map(u32::from).into_iter().chain(nic.mtu).min();
        if let Some(full) = full.filter(|_| usable) {
            for peer in peers(nic, document, controllers) {
                findings.extend(look_at_size(nic, peer, full).await);
            }
        }
    }
    findings
}

/// What is wrong with a wire, by what was heard on it.
fn decide(nic: &Nic) -> Vec<Finding> {
    let (name, plane) = (&nic.interface, &nic.plane);
    let bad = |problem: String, next: String| {
        Finding::bad(Check::Wires, format!("{name} ({plane})"), problem, next)
    };
    if !nic.there {
        let next = "see which there are: ip -br link; then correct network.planes of the document";
        return vec![bad("there is no such NIC".to_owned(), next.to_owned())];
    }
    if !nic.carrier {
        let next = format!("look at the cable and the switch's port: sudo ethtool {name}");
        return vec![bad("it has no link".to_owned(), next)];
    }
    let mut findings = Vec::new();
    for server in nic.servers.iter().filter(|_| !nic.shared && !nic.site) {
        findings.push(bad(
            format!("another DHCP server answers: {} at {}", server.server, server.mac),
            format!(
                "switch it off (find {} in the switch's table of MACs), or mark the plane shared = true",
                server.mac
            ),
        ));
    }
    // Every node's port counts, not the head's: a bridge that speaks here does so there.
    if let Some(bridge) = nic.bridges.iter().max_by_key(|it| it.forward_delay_s).filter(|_| !nic.site) {
        let wait = 2 * bridge.forward_delay_s;
        findings.push(bad(
            format!(
                "the switch ({}) speaks {}: a port that is no edge port holds frames for {wait} s after link up",
                bridge.mac,
                bridge.protocol.to_uppercase()
            ),
            "make the nodes' ports edge ports (portfast): network boot gives up before that".to_owned(),
        ));
    }
    if let (Some(mtu), Some(wanted)) = (nic.mtu, nic.subnet_mtu.map(u32::from))
        && mtu < wanted
    {
        let problem = format!("machines are told to send packets of {wanted} bytes, and it takes {mtu}");
        let next = "make them equal: mtu of network.planes.subnets in the document, or the NIC's own";
        findings.push(bad(problem, next.to_owned()));
    }
    if nic.half_duplex {
        let next = format!("let both ends negotiate: sudo ethtool -s {name} autoneg on, and at the switch");
        findings.push(bad("it runs at half duplex".to_owned(), next));
    }
    findings
}

/// Who may be asked on a plane: its routers, and some controllers.
fn peers(nic: &Nic, document: &Document, controllers: &[Endpoint]) -> Vec<Ipv4Addr> {
    let Some(plane) = document.network.planes.iter().find(|it| it.name == nic.plane) else {
        return Vec::new();
    };
    let nets: Vec<_> = plane.networks().collect();
    let near = |ip: &Ipv4Addr| nets.iter().any(|it| it.contains(ip));
    let routers = plane.subnets.iter().filter_map(|it| it.router);
    let own = |ip: &Ipv4Addr| plane.addresses.iter().any(|it| it.addr() == *ip);
    let addresses = controllers.iter().filter_map(|it| it.address.as_ref()?.parse().ok());
    routers.chain(addresses).filter(|it| near(it) && !own(it)).take(PEERS_MAX).collect()
}

/// Nothing, if the peer does not answer small ones either: many are told not to.
async fn look_at_size(nic: &Nic, peer: Ipv4Addr, full: u32) -> Option<Finding> {
    if !ping(peer, 56).await {
        return None;
    }
    let about = format!("{} ({})", nic.interface, nic.plane);
    if ping(peer, full.saturating_sub(HEADERS)).await {
        return Some(Finding::well(Check::Wires, format!("{about}: {full} bytes to {peer}")));
    }
    let problem = format!("packets of {full} bytes do not reach {peer} and come back, small ones do");
    let next =
        "raise the MTU of the switch's ports and of that machine, or lower mtu of network.planes.subnets";
    Some(Finding::bad(Check::Wires, about, problem, next))
}

/// Whether one of three packets that may not be cut up is answered.
async fn ping(peer: Ipv4Addr, size: u32) -> bool {
    let mut command = Command::new(PING);
    command.args(["-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", "-M", "do", "-s", &size.to_string()]);
    command.arg(peer.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true);
    match tokio::time::timeout(PING_MAX, command.status()).await {
        Ok(Ok(status)) => status.success(),
        _ => false,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use dhcp::client::{Bridge, Nic, Server};
    use domain::Document;

    use super::{decide, peers};

    fn nic() -> Nic {
        let (plane, interface) = ("nodes".into(), "eth1".into());
        Nic { plane, interface, there: true, carrier: true, mtu: Some(1500), ..Nic::default() }
    }

    fn says(nic: &Nic, text: &str) {
        let found = decide(nic);
        assert!(found.len() == 1 && found[0].problem.as_ref().unwrap().contains(text), "{found:?}");
        assert!(found[0].next.is_some() && found[0].about == "eth1 (nodes)");
    }

    #[test]
    fn each_trouble_of_a_wire_has_its_sentence() {
        assert!(decide(&nic()).is_empty());
        says(&Nic { there: false, ..nic() }, "no such NIC");
        says(&Nic { carrier: false, ..nic() }, "no link");
        says(&Nic { subnet_mtu: Some(9000), ..nic() }, "packets of 9000 bytes");
        says(&Nic { half_duplex: true, ..nic() }, "half duplex");
        let mac = "02:00:00:00:00:09".parse().unwrap();
        let rogue = Nic { servers: vec![Server { server: [10, 0, 0, 66].into(), mac }], ..nic() };
        says(&rogue, "another DHCP server answers: 10.0.0.66 at 02:00:00:00:00:09");
        assert!(decide(&Nic { shared: true, ..rogue.clone() }).is_empty(), "it is meant to be there");
        assert!(decide(&Nic { site: true, ..rogue }).is_empty());
        let bridge = Bridge { mac, protocol: "stp".into(), forward_delay_s: 15 };
        says(
            &Nic { bridges: vec![bridge], ..nic() },
            "speaks STP: a port that is no edge port holds frames for 30 s",
        );
    }

    #[test]
    fn routers_and_some_controllers_are_asked_for_large_packets() {
        let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n\
            [[network.planes]]\nname = \"nodes\"\nkind = \"nodes\"\ninterface = \"eth1\"\n\
            addresses = [\"172.16.0.254/24\"]\n\
            [[network.planes.subnets]]\ncidr = \"172.16.0.0/24\"\nrouter = \"172.16.0.1\"\n";
        let document = Document::parse(text).unwrap();
        let controller = |ip: &str| {
            let text = format!(r#"{{"id":"x0c0s0b0","address":"{ip}"}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let controllers = ["10.0.0.1", "172.16.0.7", "172.16.0.254", "bmc.example"].map(controller);
        let found: Vec<_> = peers(&nic(), &document, &controllers).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["172.16.0.1", "172.16.0.7"]);
    }
}
