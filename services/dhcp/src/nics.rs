//! The NICs that carry the document's planes: link, speed, MTU; and whether the kernel's table of neighbours is large
//! enough for the machines of the inventory. What is wrong is raised as health issues.

mod neighbours;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Issue, Severity};
use domain::Document;
use domain::document::PlaneKind;
use domain::event::{self, Event};
use domain::inventory::Inventory;
use serde_json::{Value, json};

use crate::client::Nic;
use crate::state::State;

/// The NICs are looked at so often: a few small files of the kernel.
const LOOK: Duration = Duration::from_secs(2);
/// Where the kernel shows them.
const NET: &str = "/sys/class/net";

/// Looks until the context's stop.
pub(crate) async fn watch(context: daemon::Context, state: Arc<State>) -> anyhow::Result<()> {
    let mut raised: BTreeMap<String, Issue> = BTreeMap::new();
    let mut before = Vec::new();
    let mut needed = (None, 0);
    let mut first = true;
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            _ = tick.tick() => {}
        }
        let nics = find(&context.document, Path::new(NET));
        let mut found = check_nics(&nics, state.config.table.link_mbps);
        // A link that is down for a moment is being switched, or a bond tries its other leg.
        found.retain(|it| !it.id.starts_with("link-down/") || before.contains(&it.id));
        before = check_nics(&nics, 0).into_iter().map(|it| it.id).collect();
        let seq = state.inventory.seq();
        if needed.0 != Some(seq) {
            needed = (Some(seq), state.inventory.read(|it| count_neighbours(it, &context.document)));
        }
        match neighbours::limit() {
            Ok(limit) => found.extend(check_neighbours(needed.1, limit)),
            Err(error) => tracing::debug!(%error, "the kernel does not tell the size of its neighbour table"),
        }
        let found: BTreeMap<_, _> = found.into_iter().map(|it| (it.id.clone(), it)).collect();
        for id in raised.keys().filter(|it| !found.contains_key(*it)) {
            context.issues().clear(id);
        }
        for (id, issue) in &found {
            if !raised.contains_key(id) {
                tell(issue);
            }
            context.issues().raise(issue.clone());
        }
        raised = found;
        if first {
            // An earlier process may have ended while a link was down.
            context.issues().renew();
            first = false;
        }
    }
}

fn tell(issue: &Issue) {
    let (summary, suggestion) = (&issue.summary, &issue.suggestion);
    if issue.message_id == event::NEIGHBOURS_SHORT.id {
        daemon::event!(event::NEIGHBOURS_SHORT, "{summary}; {suggestion}");
    } else {
        daemon::event!(event::LINK_TROUBLE, "{summary}; {suggestion}");
    }
}

/// The NICs of the planes that the head is on, as the kernel shows them in this folder.
pub(crate) fn find(document: &Document, folder: &Path) -> Vec<Nic> {
    let on = document.network.planes.iter().filter_map(|plane| Some((plane, plane.interface.as_deref()?)));
    let nic = |(plane, interface): (&domain::document::Plane, &str)| {
        let name = name_of(folder, interface);
        let place = folder.join(name.as_deref().unwrap_or(interface));
        let read = |file: &str| fs::read_to_string(place.join(file)).ok().map(|it| it.trim().to_owned());
        // -1, or no answer: it does not know, or is down.
        let mbps = read("speed").and_then(|it| it.parse::<u32>().ok()).filter(|it| *it > 0);
        Nic {
            plane: plane.name.clone(),
            site: plane.kind == PlaneKind::Site,
            shared: plane.shared,
            interface: name.clone().unwrap_or_else(|| interface.to_owned()),
            there: name.is_some(),
            carrier: read("carrier").as_deref() == Some("1"),
            mbps: mbps.filter(|it| *it != u32::MAX),
            half_duplex: read("duplex").as_deref() == Some("half"),
            mtu: read("mtu").and_then(|it| it.parse().ok()),
            subnet_mtu: plane.subnets.iter().filter_map(|it| it.mtu).max(),
            servers: Vec::new(),
            bridges: Vec::new(),
        }
    };
    on.map(nic).collect()
}

/// A NIC by its name, or by its MAC: of several with one (VLANs share it), that which was there first.
fn name_of(folder: &Path, interface: &str) -> Option<String> {
    if !interface.contains(['/', ':']) {
        return folder.join(interface).exists().then(|| interface.to_owned());
    }
    let wanted = interface.to_lowercase().replace('-', ":");
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let read = |path: &Path, file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
    let same = entries.filter(|it| read(&it.path(), "address").trim() == wanted);
    let first = same.min_by_key(|it| read(&it.path(), "ifindex").trim().parse::<u32>().unwrap_or(u32::MAX));
    first?.file_name().into_string().ok()
}

/// What is wrong with them; nodes' planes run at `link_mbps` at least.
fn check_nics(nics: &[Nic], link_mbps: u32) -> Vec<Issue> {
    nics.iter().flat_map(|it| check_nic(it, link_mbps)).collect()
}

fn check_nic(nic: &Nic, link_mbps: u32) -> Vec<Issue> {
    let (name, plane) = (&nic.interface, &nic.plane);
    let about = json!({"interface": name, "plane": plane, "mbps": nic.mbps, "mtu": nic.mtu});
    let raise = |kind: &str, severity, summary: String, suggestion: String| {
        let id = format!("{kind}/{name}");
        issue(id, severity, event::LINK_TROUBLE, about.clone(), (summary, suggestion))
    };
    if !nic.there {
        let summary = format!("the NIC {name} of the plane {plane:?} is not there");
        let suggestion = "see which there are: ip -br link; then correct network.planes of the document";
        return vec![raise("link-missing", Severity::Error, summary, suggestion.to_owned())];
    }
    if !nic.carrier {
        let summary = format!("the NIC {name} of the plane {plane:?} has no link");
        let suggestion = format!("look at the cable and the switch's port; then: sudo ethtool {name}");
        return vec![raise("link-down", Severity::Error, summary, suggestion)];
    }
    let mut issues = Vec::new();
    let slow = nic.mbps.filter(|it| !nic.site && *it < link_mbps);
    if let Some(mbps) = slow {
        let summary =
            format!("the NIC {name} of the plane {plane:?} runs at {mbps} Mbit/s, not at {link_mbps}");
        let suggestion = format!(
            "look at the cable (all four pairs) and the port's setting: sudo ethtool {name}; \
             if it has to be so: dhcp.link_mbps of the document"
        );
        issues.push(raise("link-slow", Severity::Warning, summary, suggestion));
    }
    if nic.half_duplex {
        let summary = format!("the NIC {name} of the plane {plane:?} runs at half duplex");
        let suggestion =
            format!("let both ends negotiate: sudo ethtool -s {name} autoneg on, and at the switch");
        issues.push(raise("link-half-duplex", Severity::Warning, summary, suggestion));
    }
    if let (Some(mtu), Some(wanted)) = (nic.mtu, nic.subnet_mtu)
        && mtu < u32::from(wanted)
    {
        let summary = format!(
            "machines on the plane {plane:?} are told to send packets of {wanted} bytes, and {name} takes {mtu}"
        );
        let suggestion = "make them equal: mtu of network.planes.subnets in the document, or the NIC's own";
        issues.push(raise("mtu-mismatch", Severity::Error, summary, suggestion.to_owned()));
    }
    issues
}

/// The machines of the inventory that are neighbours of the head: those with an address in a network of a plane that
/// the head is on.
fn count_neighbours(inventory: &Inventory, document: &Document) -> usize {
    let local = document.network.planes.iter().filter(|it| it.interface.is_some());
    let nets: Vec<_> = local.flat_map(|it| it.networks().collect::<Vec<_>>()).collect();
    let near = |ip: Ipv4Addr| nets.iter().any(|it| it.contains(&ip));
    let cards = inventory.interfaces().flat_map(|it| it.ips().collect::<Vec<_>>());
    let cards = cards.filter(|it| matches!(it, IpAddr::V4(ip) if near(*ip))).count();
    let controllers = inventory.endpoints().filter_map(|it| it.address.as_ref()?.parse().ok());
    cards + controllers.filter(|it| near(*it)).count()
}

fn check_neighbours(needed: usize, limit: u32) -> Option<Issue> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Some are neighbours that no inventory has: switches, PDUs, the site.
    let wanted = needed + needed / 4;
    if wanted <= limit {
        return None;
    }
    let severity = if needed > limit { Severity::Error } else { Severity::Warning };
    let summary = format!(
        "the kernel keeps {limit} neighbours at most, and the inventory has {needed} on the head's wires"
    );
    let suggestion = format!(
        "write net.ipv4.neigh.default.gc_thresh3 = {} into /etc/sysctl.d/60-neighbours.conf, then: \
         sudo sysctl --system",
        (wanted * 2).next_power_of_two()
    );
    let about = json!({"needed": needed, "limit": limit});
    Some(issue(
        "neighbours-short".to_owned(),
        severity,
        event::NEIGHBOURS_SHORT,
        about,
        (summary, suggestion),
    ))
}

fn issue(
    id: String,
    severity: Severity,
    event: Event,
    context: Value,
    (summary, suggestion): (String, String),
) -> Issue {
    Issue {
        kind: id.split('/').next().unwrap_or(&id).to_owned(),
        id,
        context,
        severity,
        since: String::new(),
        summary,
        suggestion,
        fix: None,
        message_id: event.id.to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use daemon::Severity;
    use domain::Document;

    use super::{check_neighbours, check_nics, find};
    use crate::client::Nic;

    fn nic() -> Nic {
        Nic {
            plane: "nodes".into(),
            interface: "eth1".into(),
            there: true,
            carrier: true,
            mbps: Some(10_000),
            mtu: Some(1500),
            ..Nic::default()
        }
    }

    fn ids(nic: Nic) -> Vec<String> {
        check_nics(&[nic], 1000).into_iter().map(|it| it.id).collect()
    }

    #[test]
    fn a_poor_link_is_told_by_what_is_poor_about_it() {
        assert!(ids(nic()).is_empty());
        assert!(ids(Nic { mbps: None, mtu: None, ..nic() }).is_empty(), "what nobody knows is no issue");
        assert_eq!(ids(Nic { there: false, carrier: false, ..nic() }), ["link-missing/eth1"]);
        assert_eq!(ids(Nic { carrier: false, mbps: Some(10), ..nic() }), ["link-down/eth1"]);
        let poor = Nic { mbps: Some(100), half_duplex: true, ..nic() };
        assert_eq!(ids(poor.clone()), ["link-slow/eth1", "link-half-duplex/eth1"]);
        assert_eq!(
            ids(Nic { site: true, half_duplex: false, ..poor }),
            [""; 0],
            "the site is as fast as it is"
        );
        assert_eq!(ids(Nic { subnet_mtu: Some(9000), ..nic() }), ["mtu-mismatch/eth1"]);
        assert!(ids(Nic { subnet_mtu: Some(1400), ..nic() }).is_empty());
    }

    #[test]
    fn the_table_of_neighbours_has_room_for_a_quarter_more() {
        assert!(check_neighbours(800, 1024).is_none());
        assert_eq!(check_neighbours(900, 1024).unwrap().severity, Severity::Warning);
        let short = check_neighbours(10_000, 1024).unwrap();
        assert_eq!(short.severity, Severity::Error);
        assert!(short.suggestion.contains("gc_thresh3 = 32768"), "{}", short.suggestion);
    }

    #[test]
    fn nics_are_read_by_name_and_by_mac() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            for (file, text) in files {
                std::fs::write(place.join(file), format!("{text}\n")).unwrap();
            }
        };
        make(
            "eth0",
            &[("address", "02:00:00:00:00:01"), ("ifindex", "2"), ("carrier", "1"), ("speed", "100")],
        );
        make("eth0.7", &[("address", "02:00:00:00:00:01"), ("ifindex", "5"), ("carrier", "1")]);
        make("eth1", &[("carrier", "0"), ("speed", "-1"), ("duplex", "half"), ("mtu", "1500")]);
        let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n\
            [[network.planes]]\nname = \"site\"\nkind = \"site\"\ninterface = \"02:00:00:00:00:01\"\n\
            [[network.planes]]\nname = \"nodes\"\nkind = \"nodes\"\ninterface = \"eth1\"\n\
            addresses = [\"172.16.0.254/24\"]\n\
            [[network.planes.subnets]]\ncidr = \"172.16.0.0/24\"\nmtu = 9000\n";
        let nics = find(&Document::parse(text).unwrap(), folder.path());
        assert_eq!((nics[0].interface.as_str(), nics[0].mbps, nics[0].carrier), ("eth0", Some(100), true));
        assert!(nics[0].site && !nics[1].site);
        let second = &nics[1];
        assert_eq!((second.carrier, second.mbps, second.mtu), (false, None, Some(1500)));
        assert_eq!((second.half_duplex, second.subnet_mtu), (true, Some(9000)));
    }
}
