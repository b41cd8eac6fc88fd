//! `nodes.yaml`: its shapes, and what makes a file wrong as a whole.
//!
//! Flat entries (`mac`, `ipaddr`, `bmc_ipaddr`, `group`), entries with `interfaces`, `bmc_mac` and `bmc_ip`,
//! and the newer ones with `bmc` and `groups` beside a list of `bmcs`; all may stand in one file.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use domain::{MacAddr, Nid, Xname};
use serde::Deserialize;
use serde_saphyr::{Options, Spanned};

use super::group::parse_label;
use super::redfish::is_label;

/// So many faults are told at once; whoever mends them imports again.
const FAULTS_MAX: usize = 20;
/// Nodes of the YAML tree: 10,000 machines of the longest shape are about 400,000.
const TREE_MAX: usize = 2_000_000;
/// The deepest shape is 7 levels.
const DEPTH_MAX: usize = 16;

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: u64,
    pub(crate) text: String,
}

/// A node of the file.
#[derive(Clone, Debug)]
pub(crate) struct FileNode {
    pub(crate) line: u64,
    pub(crate) xname: Xname,
    pub(crate) name: Option<String>,
    pub(crate) nid: Option<Nid>,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) interfaces: Vec<(MacAddr, Vec<IpAddr>)>,
    pub(crate) bmc: Option<FileBmc>,
}

/// A controller of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileBmc {
    pub(crate) xname: Xname,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) address: Option<IpAddr>,
}

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBody {
    nodes: Vec<Spanned<NodeBody>>,
    #[serde(default)]
    bmcs: Vec<BmcBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeBody {
    xname: Text,
    name: Option<Text>,
    nid: Option<Spanned<i64>>,
    group: Option<Text>,
    groups: Option<Vec<Text>>,
    mac: Option<Text>,
    ipaddr: Option<Text>,
    bmc_ipaddr: Option<Text>,
    bmc_mac: Option<Text>,
    bmc_ip: Option<Text>,
    bmc: Option<Text>,
    interfaces: Option<Vec<InterfaceBody>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceBody {
    mac_addr: Text,
    #[serde(default)]
    ip_addrs: Option<Vec<AddressBody>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressBody {
    #[serde(default, rename = "name")]
    _name: Option<String>,
    ip_addr: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BmcBody {
    xname: Text,
    mac: Option<Text>,
    ip: Option<Text>,
}

/// Reads a file and refuses it whole if anything in it is wrong.
pub(crate) fn parse(text: &str) -> Result<Vec<FileNode>, Vec<Fault>> {
    let file = read(text).map_err(|it| vec![it])?;
    let mut reader = Reader::default();
    for bmc in &file.bmcs {
        reader.bmc_entry(bmc);
    }
    let nodes: Vec<FileNode> = file.nodes.iter().filter_map(|it| reader.node(it)).collect();
    reader.faults.sort_by_key(|it| it.line);
    reader.faults.truncate(FAULTS_MAX);
    if reader.faults.is_empty() { Ok(nodes) } else { Err(reader.faults) }
}

fn read(text: &str) -> Result<FileBody, Fault> {
    let budget = serde_saphyr::budget! {
        max_nodes: TREE_MAX,
        max_events: 2 * TREE_MAX,
        max_depth: DEPTH_MAX,
        max_documents: 1,
    };
    let options: Options = serde_saphyr::options! { budget: budget, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        Fault { line: error.location().map_or(1, |it| it.line()), text: error.to_string() }
    })
}

/// What has been seen so far: which entry holds it, and in which line.
#[derive(Default)]
struct Reader {
    faults: Vec<Fault>,
    seen: HashMap<(&'static str, String), (Xname, u64)>,
    bmcs: HashMap<Xname, (FileBmc, u64)>,
}

impl Reader {
    fn fault(&mut self, line: u64, text: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { line, text });
        }
    }

    fn value<T: FromStr<Err: Display>>(&mut self, text: &Text, what: &str) -> Option<T> {
        match text.value.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.to_string();
                let named = error.contains(text.value.trim());
                let detail = if named { error } else { format!("{:?} is no {what}: {error}", text.value) };
                self.fault(text.referenced.line(), detail);
                None
            }
        }
    }

    /// Notes that an entry holds a value; a second holder is a fault that names both.
    fn claim(&mut self, what: &'static str, value: String, holder: &Xname, line: u64) {
        let first = self.seen.get(&(what, value.clone())).cloned();
        match first {
            None => {
                self.seen.insert((what, value), (holder.clone(), line));
            }
            Some((other, first)) if other == *holder && what == "xname" => {
                self.fault(line, format!("{holder} is there twice: in line {first} and here"));
            }
            Some((other, first)) => {
                let detail =
                    format!("the {what} {value} of {holder} is that of {other} in line {first} already");
                self.fault(line, detail);
            }
        }
    }

    fn bmc_entry(&mut self, body: &BmcBody) {
        let line = body.xname.referenced.line();
        let Some(xname) = self.value(&body.xname, "xname") else { return };
        let mac = body.mac.as_ref().and_then(|it| self.value(it, "MAC address"));
        let address = body.ip.as_ref().and_then(|it| self.value(it, "IP address"));
        self.claim("xname", xname_text(&xname), &xname, line);
        self.bmc(FileBmc { xname, mac, address }, line);
    }

    /// Notes a controller; nodes that share one must agree on it.
    fn bmc(&mut self, bmc: FileBmc, line: u64) {
        if !bmc.xname.is_controller() {
            self.fault(line, format!("{} is no controller; a node's BMC looks like x1000c1s7b1", bmc.xname));
            return;
        }
        let Some((known, first)) = self.bmcs.get(&bmc.xname).cloned() else {
            if let Some(mac) = bmc.mac {
                self.claim("MAC address", mac.to_string(), &bmc.xname, line);
            }
            if let Some(address) = bmc.address {
                self.claim("IP address", address.to_string(), &bmc.xname, line);
            }
            self.bmcs.insert(bmc.xname.clone(), (bmc, line));
            return;
        };
        let differs = |a: Option<String>, b: Option<String>| a.is_some() && b.is_some() && a != b;
        let text = |it: Option<IpAddr>| it.map(|it| it.to_string());
        if differs(text(known.address), text(bmc.address))
            || differs(known.mac.map(|it| it.to_string()), bmc.mac.map(|it| it.to_string()))
        {
            self.fault(line, format!("the BMC {} is described otherwise in line {first}", bmc.xname));
        }
        let merged = FileBmc {
            mac: known.mac.or(bmc.mac),
            address: known.address.or(bmc.address),
            xname: known.xname,
        };
        self.bmcs.insert(bmc.xname, (merged, first));
    }

    fn node(&mut self, entry: &Spanned<NodeBody>) -> Option<FileNode> {
        let body = &entry.value;
        let line = body.xname.referenced.line();
        let xname: Xname = self.value(&body.xname, "xname")?;
        if !xname.is_node() {
            self.fault(line, format!("{xname} is no node; a node's xname looks like x1000c1s7b1n0"));
            return None;
        }
        self.claim("xname", xname_text(&xname), &xname, line);
        if let Some(name) = &body.name {
            if !is_label(&name.value) {
                let detail = format!("{:?} is no host name; write letters, digits and -", name.value);
                self.fault(name.referenced.line(), detail);
            }
            self.claim("name", name.value.clone(), &xname, name.referenced.line());
        }
        if let Some(nid) = &body.nid {
            self.claim("NID", nid.value.to_string(), &xname, nid.referenced.line());
        }
        let interfaces = self.interfaces(body, &xname);
        let bmc = self.node_bmc(body, &xname);
        Some(FileNode {
            line,
            name: body.name.as_ref().map(|it| it.value.clone()),
            nid: body.nid.as_ref().map(|it| Nid(it.value)),
            groups: self.groups(body),
            interfaces,
            bmc,
            xname,
        })
    }

    fn groups(&mut self, body: &NodeBody) -> BTreeSet<String> {
        let mut labels = BTreeSet::new();
        for text in body.group.iter().chain(body.groups.iter().flatten()) {
            match parse_label(text.value.trim()) {
                Some(label) => drop(labels.insert(label)),
                None => {
                    let detail = format!("{:?} is no group; write letters, digits and _ . : -", text.value);
                    self.fault(text.referenced.line(), detail);
                }
            }
        }
        labels
    }

    fn interfaces(&mut self, body: &NodeBody, xname: &Xname) -> Vec<(MacAddr, Vec<IpAddr>)> {
        let mut found = Vec::new();
        let flat = body.mac.iter().map(|mac| (mac, body.ipaddr.iter().collect::<Vec<_>>()));
        let nested =
            body.interfaces.iter().flatten().map(|it| {
                (&it.mac_addr, it.ip_addrs.iter().flatten().map(|it| &it.ip_addr).collect::<Vec<_>>())
            });
        if let (None, Some(address)) = (&body.mac, &body.ipaddr) {
            self.fault(address.referenced.line(), format!("{xname} has an ipaddr without a mac"));
        }
        for (mac, addresses) in flat.chain(nested) {
            let line = mac.referenced.line();
            let Some(mac) = self.value::<MacAddr>(mac, "MAC address") else { continue };
            self.claim("MAC address", mac.to_string(), xname, line);
            let mut list = Vec::new();
            for text in addresses {
                let Some(address) = self.value::<IpAddr>(text, "IP address") else { continue };
                self.claim("IP address", address.to_string(), xname, text.referenced.line());
                list.push(address);
            }
            found.push((mac, list));
        }
        found
    }

    fn node_bmc(&mut self, body: &NodeBody, xname: &Xname) -> Option<FileBmc> {
        let address = body.bmc_ip.as_ref().or(body.bmc_ipaddr.as_ref());
        let first = body.bmc.as_ref().or(address).or(body.bmc_mac.as_ref())?;
        let line = first.referenced.line();
        let id = match &body.bmc {
            Some(text) => self.value(text, "xname")?,
            None => xname.parent()?,
        };
        let mac = body.bmc_mac.as_ref().and_then(|it| self.value(it, "MAC address"));
        let address = address.and_then(|it| self.value(it, "IP address"));
        self.bmc(FileBmc { xname: id.clone(), mac, address }, line);
        self.bmcs.get(&id).map(|it| it.0.clone())
    }
}

fn xname_text(it: &Xname) -> String {
    it.to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::parse;

    const FLAT: &str = "nodes:
  - bmc_ipaddr: 172.16.0.101
    ipaddr: 172.16.0.1
    mac: ec:e7:a7:05:a1:fc
    nid: 1
    xname: x1000c1s7b0n0
    group: compute
    name: nid001
";

    #[test]
    fn every_shape_says_the_same() {
        let nested = "nodes:
  - name: nid001
    nid: 1
    xname: x1000c1s7b0n0
    group: compute
    bmc_ip: 172.16.0.101
    interfaces:
      - mac_addr: EC:E7:A7:05:A1:FC
        ip_addrs:
          - name: internal
            ip_addr: 172.16.0.1
";
        let newer = "bmcs:
  - {xname: x1000c1s7b0, ip: 172.16.0.101}
nodes:
  - name: nid001
    nid: 1
    xname: x1000c1s7b0n0
    groups: [compute]
    bmc: x1000c1s7b0
    interfaces: [{mac_addr: 'ec:e7:a7:05:a1:fc', ip_addrs: [{ip_addr: 172.16.0.1}]}]
";
        let shown = |text: &str| {
            let node = parse(text).unwrap().remove(0);
            format!("{:?}", (node.xname, node.name, node.nid, node.groups, node.interfaces, node.bmc))
        };
        assert_eq!(shown(FLAT), shown(nested));
        assert_eq!(shown(FLAT), shown(newer));
    }

    #[test]
    fn a_value_that_is_there_twice_is_named_with_both_entries() {
        let second = "  - {xname: x1000c1s7b1n0, mac: 'ec:e7:a7:05:a1:fc', ipaddr: 172.16.0.1, nid: 1, \
            name: nid001}\n";
        let faults = parse(&format!("{FLAT}{second}")).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        for fault in &faults {
            assert_eq!(fault.line, 9);
            assert!(
                fault.text.contains("x1000c1s7b1n0") && fault.text.contains("x1000c1s7b0n0"),
                "{fault:?}"
            );
        }
        let twice = parse(&format!("{FLAT}  - xname: x1000c1s7b0n0\n")).unwrap_err();
        assert_eq!(twice[0].text, "x1000c1s7b0n0 is there twice: in line 6 and here");
    }

    #[test]
    fn nodes_of_one_bmc_share_its_address() {
        let node = |n: u8, ip: &str| format!("  - {{xname: x1c0s0b0n{n}, nid: {n}, bmc_ip: {ip}}}\n");
        let file = |second: &str| format!("nodes:\n{}{}", node(0, "10.0.0.1"), node(1, second));
        assert!(parse(&file("10.0.0.1")).is_ok());
        assert_eq!(parse(&file("10.0.0.2")).unwrap_err()[0].line, 3);
    }

    #[test]
    fn what_is_unknown_or_no_value_names_its_line() {
        for (text, line) in [
            (format!("{FLAT}    colour: red\n"), 9),
            (FLAT.replace("172.16.0.1\n", "172.16.0.999\n"), 3),
            (FLAT.replace("nid: 1", "nid: one"), 5),
            (FLAT.replace("x1000c1s7b0n0", "bogus"), 6),
            (FLAT.replace("name: nid001", "name: 'nid 001'"), 8),
            ("nodes: {".to_owned(), 1),
            (String::new(), 1),
        ] {
            let faults = parse(&text).unwrap_err();
            assert_eq!(faults[0].line, line, "{faults:?} {text}");
        }
        let bomb = format!("nodes:\n{}", "- ".repeat(200));
        assert!(parse(&bomb).is_err());
    }
}
