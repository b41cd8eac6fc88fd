//! Where pilotctl and others ask for discoveries.

use std::net::IpAddr;

use axum::http::Method;
use domain::{MacAddr, Nid, Xname};
use serde::{Deserialize, Serialize};
use web::{Client, ClientError, Lines};

pub use crate::model::body::endpoint_body;
pub use crate::model::yaml::{import_yaml, nodes_yaml};

/// What is asked. It names accounts by their scope: no secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Ranges, subnets, addresses, host names, or `unknown`: whoever asked dhcp and is in no inventory.
    pub targets: Vec<String>,
    /// Where the n-th BMC's node belongs: `x1000c1s7b{1-9}n0`. None: where the inventory has it, else a place made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xname: Option<String>,
    /// How nodes are called: `nid{nid:03}`. None: as the inventory has it, else as the document's pattern says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The first node's number; the others count up. None: as the inventory has it, else the next one that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nid: Option<i64>,
    /// The nodes' addresses in their order: `172.16.0.1-9`. None: as the inventory has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The group of nodes that are in none; none: `compute`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The card that nodes boot from: its MAC address, its name, or its number from 1. None: what the BMC tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nic: Option<String>,
    /// The site's word for machines alike: BMCs without an account of their own have this class' one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Where Redfish listens; none: 443.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redfish_port: Option<u16>,
    /// Where IPMI listens; none: 623.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipmi_port: Option<u16>,
}

/// How far a discovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// BMCs are being asked.
    #[default]
    Running,
    /// Each was asked.
    Done,
    /// Somebody ended it; those that were asked by then are in it.
    Cancelled,
}

/// A discovery in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Its number.
    pub id: u64,
    /// How far it is.
    pub phase: Phase,
    /// Who asked for it.
    pub by: String,
    /// Since when, RFC 3339.
    pub began: String,
    /// Until when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How many are to be asked.
    pub targets: usize,
    /// How many have been asked.
    pub asked: usize,
    /// How many of them told something.
    pub answered: usize,
}

/// A line of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// How far it is.
    pub summary: Summary,
    /// What became of one BMC; none: time passed, or it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmc: Option<Told>,
}

/// What became of one BMC, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// As it was asked for.
    pub target: String,
    /// Whether it told something.
    pub ok: bool,
    /// What it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<Protocol>,
    /// Maker, model and serial number, as far as it tells.
    pub what: String,
    /// How many systems are behind it.
    pub systems: usize,
    /// How many network cards they have.
    pub nics: usize,
    /// Why not, with what to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a BMC speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Redfish.
    Redfish,
    /// IPMI 2.0.
    Ipmi,
}

/// A discovery: what BMCs told, where their nodes belong, and how that differs from the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Discovery {
    /// How far it is.
    pub summary: Summary,
    /// What was asked.
    pub request: Request,
    /// The BMCs in the order of the targets. Of subnets only those that answer.
    pub bmcs: Vec<Bmc>,
    /// Their nodes, when all have been asked.
    pub nodes: Vec<Node>,
    /// How they differ from the inventory, when all have been asked.
    pub changes: Vec<Change>,
    /// How many nodes are in the inventory just so.
    pub unchanged: usize,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

/// What a BMC told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bmc {
    /// As it was asked for.
    pub target: String,
    /// Where it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its port, if that is not the protocol's usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where it belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xname: Option<Xname>,
    /// What it speaks; none: it told nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<Protocol>,
    /// Why it told nothing or not all, with what to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The SHA-256 of the certificate that it showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its own MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The path of its manager.
    pub path: String,
    /// Its manager's UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Who made it.
    pub maker: String,
    /// Its firmware.
    pub firmware: String,
    /// The computers behind it.
    pub systems: Vec<System>,
}

/// A computer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// Its path.
    pub path: String,
    /// What the BMC calls it.
    pub name: String,
    /// Its UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Who made it.
    pub maker: String,
    /// Which model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Whether it is on, in the BMC's words.
    pub power: String,
    /// The resets that it allows.
    pub resets: Vec<String>,
    /// Its network cards.
    pub nics: Vec<Nic>,
    /// Which of them it boots from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Choice>,
}

/// A network card's port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its address.
    pub mac: MacAddr,
    /// What the BMC calls it.
    #[serde(default)]
    pub name: String,
    /// Whether it has a link, as far as the BMC tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<bool>,
    /// Whether it is switched on, as far as the BMC tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How it boots: `PXE`, `HTTP`, `Disabled` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    /// Its place in the firmware's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uefi_path: Option<String>,
    /// Whether it only leads to the BMC itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
}

/// Which card a node boots from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Its place among the system's cards, from 0.
    pub nic: usize,
    /// Why that one.
    pub why: String,
}

/// A node in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where it belongs.
    pub xname: Xname,
    /// What it is called.
    pub name: String,
    /// Its number.
    pub nid: Nid,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its BMC.
    pub bmc: Xname,
    /// Its BMC as it was asked for.
    pub target: String,
    /// Where the BMC is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_ip: Option<IpAddr>,
    /// The BMC's MAC address; one made up, if nobody tells it.
    pub bmc_mac: MacAddr,
    /// Whether the BMC's MAC address is made up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_bmc_mac_made_up: bool,
    /// Its network cards; it boots from the first.
    pub interfaces: Vec<Interface>,
}

/// A network card of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its address.
    pub mac: MacAddr,
    /// Whether that is made up: the BMC is down, or does not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_made_up: bool,
    /// Its IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What it is, and why the node boots from it or not.
    pub note: String,
}

/// A difference from the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What kind.
    pub sign: Sign,
    /// Of which node or BMC.
    pub xname: Xname,
    /// Of what: `node`, `name`, `nid`, `interface`, `address`, `bmc`, `bmc address`, `bmc mac`.
    pub field: String,
    /// As the inventory has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// As it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Which kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sign {
    /// It is not in the inventory.
    #[serde(rename = "+")]
    New,
    /// It is in the inventory and was not found.
    #[serde(rename = "-")]
    Gone,
    /// It is otherwise.
    #[serde(rename = "~")]
    Other,
}

/// A line of a difference: `+ x1000c1s7b1n0 interface ec:e7:a7:05:a1:fc`.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sign, xname, field, from, to } = self;
        let sign = match sign {
            Sign::New => '+',
            Sign::Gone => '-',
            Sign::Other => '~',
        };
        write!(f, "{sign} {xname} {field}")?;
        match (from, to) {
            (Some(from), Some(to)) => write!(f, " {from} -> {to}"),
            (Some(one), None) | (None, Some(one)) => write!(f, " {one}"),
            (None, None) => Ok(()),
        }
    }
}

impl Bmc {
    /// Whether it told all it knows; IPMI always leaves something out, which is said in `error`.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.speaks == Some(Protocol::Ipmi) || (self.speaks.is_some() && self.error.is_none())
    }
}

impl Node {
    /// Whether its BMC told nothing of its network cards, and nobody else knows them.
    #[must_use]
    pub fn is_made_up(&self) -> bool {
        self.interfaces.iter().all(|it| it.is_made_up)
    }
}

/// Begins a discovery, which goes on whoever waits for it.
///
/// # Errors
///
/// If the service does not answer or refuses: targets that are none (400), or too many under way (409).
pub async fn begin(client: &Client, request: &Request) -> Result<Summary, ClientError> {
    client.call(Method::POST, "/pilothouse/v1/discoveries", Some(request)).await
}

/// The discoveries since the service was started, the last first.
///
/// # Errors
///
/// If the service does not answer.
pub async fn list(client: &Client) -> Result<Vec<Summary>, ClientError> {
    client.get("/pilothouse/v1/discoveries").await
}

/// One with all it found so far.
///
/// # Errors
///
/// If the service does not answer, or has forgotten it.
pub async fn show(client: &Client, id: u64) -> Result<Discovery, ClientError> {
    client.get(&format!("/pilothouse/v1/discoveries/{id}")).await
}

/// One as it goes on; the last line says that it is over.
///
/// # Errors
///
/// If the service does not answer, or has forgotten it.
pub async fn follow(client: &Client, id: u64) -> Result<Lines<Update>, ClientError> {
    client.lines(Method::GET, &format!("/pilothouse/v1/discoveries/{id}?stream=true"), None::<&()>).await
}

/// Ends one that is under way, and forgets one that is over.
///
/// # Errors
///
/// If the service does not answer, or has forgotten it.
pub async fn cancel(client: &Client, id: u64) -> Result<(), ClientError> {
    client.text(Method::DELETE, &format!("/pilothouse/v1/discoveries/{id}"), None::<&()>).await.map(drop)
}
