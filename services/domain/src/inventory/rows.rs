//! The rows of the inventory, as its change feed has them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{MacAddr, Nid, Xname};

/// A component: SMD's fields, and the node's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its xname; the kind follows from it.
    pub id: Xname,
    /// `On`, `Off`, `Ready` …; none is left out in answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `OK`, `Warning`, `Alert`, `Locked`, `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// Whether it takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_status: Option<String>,
    /// `Compute`, `Service` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `Master`, `Worker`, `Storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_role: Option<String>,
    /// The node's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nid: Option<Nid>,
    /// `Sling`, `Infiniband`, `Ethernet` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_type: Option<String>,
    /// `X86`, `ARM` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// `River`, `Mountain`, `Hill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The node's name as data; a node without one is called by the document's pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who wants the node left alone, and why: power commands and boot changes that name it are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
}

/// Why a node is to be left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who locked it.
    pub by: String,
    /// Their reason, one line.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, reason, since } = self;
        write!(f, "locked by {by} since {since}: {reason}")
    }
}

/// An Ethernet interface of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// SMD's id, the MAC's digits.
    pub id: String,
    /// Its address.
    pub mac: MacAddr,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Xname>,
    /// SMD's `Type`: of the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// IP addresses in order; SMD takes any text, so what does not parse serves nobody.
    #[serde(default)]
    pub addresses: Vec<InterfaceAddress>,
    /// When the addresses changed, RFC 3339 with microseconds.
    #[serde(default)]
    pub last_update: String,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// As it was given.
    pub address: String,
    /// The network's name, often empty.
    #[serde(default)]
    pub network: String,
}

/// A controller: how to reach it, what it controls. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The controller's xname.
    pub id: Xname,
    /// Host name or address; none if it is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `ipmi`, `redfish` or `auto`.
    #[serde(default = "auto")]
    pub protocol: String,
    /// UDP port of IPMI; none: 623.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Cipher suites in order; none: 17, then 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<u8>>,
    /// FreeIPMI's names of what to work around.
    #[serde(default)]
    pub workarounds: Vec<String>,
    /// A site's word for machines alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The nodes it controls.
    #[serde(default)]
    pub nodes: Vec<Xname>,
    /// Counts up when its credential changes, so that clients read it again.
    #[serde(default)]
    pub credential_version: i64,
}

fn auto() -> String {
    "auto".to_owned()
}

/// A labelled set of components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Lower case.
    pub label: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Free words.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The set of groups of which a component may be in one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive_group: Option<String>,
    /// Its members in order of xname.
    #[serde(default)]
    pub members: BTreeSet<Xname>,
}

/// A part of the machine that is run by itself: `p1`, or `p1.2` within it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Free words.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its members in order of xname; each is in one partition at most.
    #[serde(default)]
    pub members: BTreeSet<Xname>,
}

impl Interface {
    /// The addresses that are addresses.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter_map(|it| it.address.parse().ok())
    }
}
