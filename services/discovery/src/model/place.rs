//! Where BMCs and their nodes belong, and what the nodes are called.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use domain::inventory::{Component, Inventory};
use domain::{MacAddr, Nid, Xname};

use super::rule::Rule;
use crate::client::{Bmc, Interface, Node, Request, System};

/// Where BMCs are put of which nobody says where they belong; they count up from 1.
const MADE_UP: &str = "x1000c0s0b";
/// The group of nodes of which nobody says another.
const GROUP: &str = "compute";

/// What is wanted, read.
pub(crate) struct Wish<'a> {
    pub(crate) request: &'a Request,
    pub(crate) rule: Option<&'a Rule>,
    /// The nodes' addresses in their order.
    pub(crate) ips: &'a [IpAddr],
    /// How nodes without a name are called.
    pub(crate) pattern: &'a str,
}

/// Puts BMCs, which are in the order of the targets, and their nodes in their places; and what is to be looked at.
pub(crate) fn place(bmcs: &mut [Bmc], wish: &Wish<'_>, inventory: &Inventory) -> (Vec<Node>, Vec<String>) {
    let mut placer = Placer::new(wish, inventory);
    for (at, bmc) in bmcs.iter_mut().enumerate() {
        bmc.xname = placer.place_of(at, bmc);
    }
    for bmc in bmcs.iter() {
        placer.nodes_of(bmc);
    }
    placer.look_at_names();
    if !wish.ips.is_empty() && wish.ips.len() < placer.nodes.len() {
        let (given, wanted) = (wish.ips.len(), placer.nodes.len());
        placer
            .warnings
            .push(format!("{wanted} nodes were found, but --ip has {given} addresses: the rest has none"));
    }
    (placer.nodes, placer.warnings)
}

struct Placer<'a> {
    wish: &'a Wish<'a>,
    inventory: &'a Inventory,
    by_address: HashMap<&'a str, &'a Xname>,
    taken: HashSet<Xname>,
    /// The next number that is free.
    next: i64,
    made_up: u32,
    nodes: Vec<Node>,
    warnings: Vec<String>,
}

impl<'a> Placer<'a> {
    fn new(wish: &'a Wish<'a>, inventory: &'a Inventory) -> Self {
        let by_address =
            inventory.endpoints().filter_map(|it| Some((it.address.as_deref()?, &it.id))).collect();
        let highest = inventory.components().filter(|it| it.id.is_node()).filter_map(|it| it.nid).max();
        let next = highest.map_or(1, |it| it.0.saturating_add(1)).max(1);
        let (nodes, warnings) = (Vec::new(), Vec::new());
        Self { wish, inventory, by_address, taken: HashSet::new(), next, made_up: 1, nodes, warnings }
    }

    fn place_of(&mut self, at: usize, bmc: &Bmc) -> Option<Xname> {
        let known = self.known(bmc);
        let place = match self.wish.rule {
            Some(rule) => {
                let place = rule.bmc(at as u64);
                if place.is_none() {
                    let (rule, count) = (rule.text(), rule.count());
                    self.warnings.push(format!(
                        "{}: the rule {rule} has {count} places and none for it; it is left out",
                        bmc.target
                    ));
                }
                if let (Some(place), Some(known)) = (&place, known.filter(|it| place.as_ref() != Some(it))) {
                    let target = &bmc.target;
                    self.warnings
                        .push(format!("{target} is {known} in the inventory, and {place} by the rule"));
                }
                place
            }
            None => known.or_else(|| Some(self.make_up(bmc))),
        };
        let place = place?;
        if self.taken.insert(place.clone()) {
            return Some(place);
        }
        let target = &bmc.target;
        self.warnings
            .push(format!("{target} would be {place}, which another one is already; it is left out"));
        None
    }

    /// Where the inventory has it: by its MAC address, by its nodes' ones, by its address.
    fn known(&self, bmc: &Bmc) -> Option<Xname> {
        let holder = |mac: MacAddr| self.inventory.interface_by_mac(mac)?.component.clone();
        let by_mac = || bmc.mac.and_then(holder).filter(Xname::is_controller);
        let nics = || bmc.systems.iter().flat_map(|it| &it.nics);
        let by_nic = || nics().filter_map(|it| holder(it.mac)).find(Xname::is_node)?.parent();
        let address = bmc.address.map(|it| it.to_string());
        let by_address = || {
            let address = address.as_deref().and_then(|it| self.by_address.get(it));
            address.or_else(|| self.by_address.get(bmc.target.as_str())).map(|it| (*it).clone())
        };
        by_mac().or_else(by_nic).or_else(by_address)
    }

    fn make_up(&mut self, bmc: &Bmc) -> Xname {
        loop {
            let made: Option<Xname> = format!("{MADE_UP}{}", self.made_up).parse().ok();
            self.made_up += 1;
            let Some(made) = made else { continue };
            let is_there =
                self.inventory.endpoint(&made).is_some() || self.inventory.component(&made).is_some();
            if !is_there && !self.taken.contains(&made) {
                let target = &bmc.target;
                self.warnings
                    .push(format!("{target} was put at {made}, which is made up; --xname says where it is"));
                return made;
            }
        }
    }

    fn nodes_of(&mut self, bmc: &Bmc) {
        let Some(place) = &bmc.xname else { return };
        let silent = [System::default()];
        let systems = if bmc.systems.is_empty() { &silent[..] } else { &bmc.systems };
        for (at, system) in systems.iter().enumerate() {
            let Some(xname) = u32::try_from(at).ok().and_then(|it| place.child('n', it).ok()) else {
                let target = &bmc.target;
                self.warnings.push(format!("{target}: system {} has no place behind {place}", at + 1));
                continue;
            };
            let known = self.inventory.component(&xname);
            let nid = self.nid_of(known);
            let name = self.name_of(known, nid);
            let mut groups: Vec<String> = self.inventory.groups_of(&xname).map(str::to_owned).collect();
            if groups.is_empty() {
                groups.push(self.wish.request.group.clone().unwrap_or_else(|| GROUP.to_owned()));
            }
            let interfaces = self.interfaces_of(bmc, system, &xname);
            let bmc_mac = bmc.mac.or_else(|| self.inventory.interfaces_of(place).next().map(|it| it.mac));
            self.nodes.push(Node {
                name,
                nid,
                groups,
                bmc: place.clone(),
                target: bmc.target.clone(),
                bmc_ip: bmc.address,
                bmc_mac: bmc_mac.unwrap_or_else(|| made_up_mac(place)),
                is_bmc_mac_made_up: bmc_mac.is_none(),
                interfaces,
                xname,
            });
        }
    }

    fn nid_of(&mut self, known: Option<&Component>) -> Nid {
        if let Some(first) = self.wish.request.nid {
            return Nid(first.saturating_add(i64::try_from(self.nodes.len()).unwrap_or(0)));
        }
        known.and_then(|it| it.nid).unwrap_or_else(|| {
            let nid = Nid(self.next);
            self.next = self.next.saturating_add(1);
            nid
        })
    }

    fn name_of(&self, known: Option<&Component>, nid: Nid) -> String {
        let asked = self.wish.request.name.as_ref().map(|it| nid.name(it));
        let known = || known.and_then(|it| it.name.clone());
        asked.or_else(known).unwrap_or_else(|| nid.name(self.wish.pattern))
    }

    /// The node's cards, the one that it boots from first: as the BMC tells, else as the inventory has them, else one
    /// that is made up.
    fn interfaces_of(&mut self, bmc: &Bmc, system: &System, node: &Xname) -> Vec<Interface> {
        let wanted = self.wish.ips.get(self.nodes.len()).copied();
        let mut cards: Vec<(MacAddr, String)> = Vec::new();
        if let Some(choice) = &system.boot {
            let boot = system.nics.get(choice.nic).into_iter();
            cards.extend(boot.map(|it| (it.mac, format!("{}; boots: {}", describe(it), choice.why))));
            let rest = system.nics.iter().enumerate().filter(|it| it.0 != choice.nic && !it.1.internal);
            cards.extend(rest.map(|it| (it.1.mac, describe(it.1))));
        }
        let why = bmc.error.as_deref().unwrap_or("its BMC does not tell them");
        if cards.is_empty() {
            let note = || "as the inventory has it".to_owned();
            let mut known: Vec<_> = self.inventory.interfaces_of(node).collect();
            // The one with an address is the one it boots from.
            known.sort_by_key(|it| it.ips().next().is_none());
            cards.extend(known.iter().map(|it| (it.mac, note())));
        }
        let (is_made_up, target) = (cards.is_empty(), &bmc.target);
        if is_made_up {
            cards.push((made_up_mac(node), "made up; put the card's own address here".to_owned()));
            self.warnings.push(format!("{node} behind {target}: its network cards are not known: {why}"));
        }
        let ip = |mac: MacAddr| self.inventory.interface_by_mac(mac).and_then(|it| it.ips().next());
        let old = || self.inventory.interfaces_of(node).find_map(|it| it.ips().next());
        let first = wanted.or_else(|| cards.first().and_then(|it| ip(it.0))).or_else(old);
        let interface = |(at, (mac, note)): (usize, (MacAddr, String))| {
            // What another card had is the first one's now.
            let own = if at == 0 { first } else { ip(mac).filter(|it| Some(*it) != first) };
            Interface { mac, is_made_up, ip: own, note }
        };
        cards.into_iter().enumerate().map(interface).collect()
    }

    fn look_at_names(&mut self) {
        let mut seen: HashMap<&str, &Xname> = HashMap::new();
        let mut double = Vec::new();
        for node in &self.nodes {
            if let Some(other) = seen.insert(&node.name, &node.xname) {
                double.push(format!("{} and {other} are both called {}", node.xname, node.name));
            }
        }
        self.warnings.append(&mut double);
    }
}

/// A card in a few words.
fn describe(nic: &crate::client::Nic) -> String {
    let name = if nic.name.is_empty() { "a card" } else { &nic.name };
    let link = match (nic.enabled, nic.link) {
        (Some(false), _) => ", switched off",
        (_, Some(true)) => ", link up",
        (_, Some(false)) => ", no link",
        (_, None) => "",
    };
    format!("{name}{link}")
}

/// An address of nobody's, the same each time: locally administered, and its last octets are the place's.
pub(crate) fn made_up_mac(place: &Xname) -> MacAddr {
    // FNV-1a: anything that spreads would do.
    let hash = place
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, it| (hash ^ u64::from(it)).wrapping_mul(0x0100_0000_01b3));
    let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
    MacAddr::new([2, 0, 0, a ^ d, b ^ e, c ^ f])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::feed::{Change, View};
    use domain::inventory::Inventory;
    use serde_json::{Value, json};

    use super::{Wish, made_up_mac, place};
    use crate::client::{Bmc, Choice, Nic, Node, Protocol, Request, System};
    use crate::model::diff::compare;
    use crate::model::rule::Rule;

    fn inventory(rows: &[(&str, &str, Value)]) -> Inventory {
        let mut inventory = Inventory::default();
        for (kind, id, row) in rows {
            let change = json!({"seq": 1, "kind": kind, "id": id, "row": row});
            inventory.apply(&serde_json::from_value::<Change>(change).unwrap()).unwrap();
        }
        inventory
    }

    fn known() -> Inventory {
        inventory(&[
            ("component", "x1c0s0b1n0", json!({"id": "x1c0s0b1n0", "nid": 7, "name": "login7"})),
            (
                "endpoint",
                "x1c0s0b1",
                json!({"id": "x1c0s0b1", "address": "10.0.0.101", "nodes": ["x1c0s0b1n0"]}),
            ),
            (
                "interface",
                "ece7a705a101",
                json!({"id": "ece7a705a101", "mac": "ec:e7:a7:05:a1:01", "component": "x1c0s0b1n0",
                    "addresses": [{"address": "10.0.0.1"}]}),
            ),
        ])
    }

    fn bmc(number: u8, systems: u8) -> Bmc {
        let nic = |at: u8| Nic {
            mac: domain::MacAddr::new([0xec, 0xe7, 0xa7, 5, 0xa1, at]),
            name: format!("NIC{at}"),
            link: Some(true),
            enabled: None,
            boot_mode: None,
            uefi_path: None,
            internal: false,
        };
        let system = |at: u8| System {
            nics: vec![nic(number + 16 * at)],
            boot: Some(Choice { nic: 0, why: "the only one".to_owned() }),
            ..System::default()
        };
        Bmc {
            target: format!("10.0.0.{}", 100 + u16::from(number)),
            address: Some([10, 0, 0, 100 + number].into()),
            speaks: (systems > 0).then_some(Protocol::Redfish),
            systems: (0..systems).map(system).collect(),
            ..Bmc::default()
        }
    }

    fn placed(bmcs: &mut [Bmc], request: &Request, inventory: &Inventory) -> (Vec<Node>, Vec<String>) {
        let rule = request.xname.as_deref().map(|it| Rule::parse(it).unwrap());
        let ips =
            request.ip.as_deref().map(|it| crate::model::target::addresses(it).unwrap()).unwrap_or_default();
        let wish = Wish { request, rule: rule.as_ref(), ips: &ips, pattern: "nid{nid:03}" };
        place(bmcs, &wish, inventory)
    }

    fn request(text: Value) -> Request {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_rule_places_in_the_order_of_the_targets_and_counts_the_nodes_behind_a_bmc() {
        let wish =
            request(json!({"xname": "x1000c1s7b{1-2}n0", "name": "c{nid:02}", "nid": 1, "ip": "10.0.0.1-9"}));
        let mut bmcs = [bmc(1, 1), bmc(2, 2), bmc(3, 1)];
        let (nodes, warnings) = placed(&mut bmcs, &wish, &Inventory::default());
        let shown: Vec<String> = nodes
            .iter()
            .map(|it| format!("{} {} {} {}", it.xname, it.name, it.nid, it.interfaces[0].ip.unwrap()))
            .collect();
        assert_eq!(
            shown,
            ["x1000c1s7b1n0 c01 1 10.0.0.1", "x1000c1s7b2n0 c02 2 10.0.0.2", "x1000c1s7b2n1 c03 3 10.0.0.3"]
        );
        assert!(warnings.len() == 1 && warnings[0].contains("10.0.0.103"), "{warnings:?}");
    }

    #[test]
    fn without_a_rule_what_is_known_stays_and_the_rest_is_made_up() {
        let mut bmcs = [bmc(1, 1), bmc(2, 1)];
        let (nodes, warnings) = placed(&mut bmcs, &Request::default(), &known());
        assert_eq!(
            (nodes[0].xname.as_str(), nodes[0].name.as_str(), nodes[0].nid.0),
            ("x1c0s0b1n0", "login7", 7)
        );
        assert_eq!(nodes[0].interfaces[0].ip, Some([10, 0, 0, 1].into()));
        assert_eq!((nodes[1].xname.as_str(), nodes[1].nid.0), ("x1000c0s0b1n0", 8));
        assert!(warnings.iter().any(|it| it.contains("made up")), "{warnings:?}");
    }

    #[test]
    fn who_is_down_is_as_the_inventory_has_it_else_made_up_with_a_warning() {
        let mut bmcs = [bmc(1, 0), bmc(2, 0)];
        bmcs[1].error = Some("no answer".to_owned());
        let (nodes, warnings) = placed(&mut bmcs, &Request::default(), &known());
        assert_eq!(nodes[0].interfaces[0].mac.to_string(), "ec:e7:a7:05:a1:01");
        assert!(nodes[1].is_made_up() && nodes[1].is_bmc_mac_made_up);
        assert!(nodes[1].interfaces[0].mac.to_string().starts_with("02:00:00:"));
        assert!(warnings.iter().any(|it| it.contains("no answer")), "{warnings:?}");
        assert_eq!(made_up_mac(&nodes[1].xname), nodes[1].interfaces[0].mac, "the same each time");
    }

    #[test]
    fn a_second_run_shows_what_changed() {
        let inventory = known();
        let wish = request(json!({"name": "nid{nid:03}", "ip": "10.0.0.9"}));
        let mut bmcs = [bmc(1, 1), bmc(2, 1)];
        bmcs[0].systems[0].nics[0].mac = domain::MacAddr::new([0xec, 0xe7, 0xa7, 5, 0xa1, 0x77]);
        let (nodes, _) = placed(&mut bmcs, &wish, &inventory);
        let (changes, same) = compare(&bmcs, &nodes, &inventory, "nid{nid:03}");
        let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let expected = [
            "~ x1c0s0b1n0 name login7 -> nid007",
            "+ x1c0s0b1n0 interface ec:e7:a7:05:a1:77 10.0.0.9",
            "- x1c0s0b1n0 interface ec:e7:a7:05:a1:01 10.0.0.1",
            "+ x1000c0s0b1n0 node nid008, ec:e7:a7:05:a1:02, BMC x1000c0s0b1 10.0.0.102",
        ];
        assert_eq!((shown.as_slice(), same), (&expected.map(str::to_owned)[..], 0));
        let (nodes, _) = placed(&mut bmcs[..1], &Request::default(), &inventory);
        assert_eq!(
            compare(&[bmc(1, 1)], &nodes[..0], &inventory, "n{nid}").0.len(),
            0,
            "a BMC without a place"
        );
        let mut same = [bmc(1, 1)];
        let (nodes, _) = placed(&mut same, &Request::default(), &inventory);
        assert_eq!(compare(&same, &nodes, &inventory, "nid{nid:03}"), (Vec::new(), 1));
    }
}
