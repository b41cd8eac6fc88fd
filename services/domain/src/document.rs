//! The configuration document, `/etc/pilothouse/pilothouse.toml`: the one place where a site says what it wants.
//!
//! [`Document`] types what the whole head shares; each service's own table is opaque here and checked by
//! `pilothouse <service> --check`. An answer file is a document with a `[secrets]` table beside it.

mod answer;
mod check;
mod freeze;
mod health;
mod logs;
mod network;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{Role, Service};

pub use answer::{Answer, BmcSecret, Secrets};
pub use freeze::Freeze;
pub use health::{Health, Least, Mail};
pub use logs::{LogTarget, Logs};
pub use network::{Link, LinkKind, Network, Plane, PlaneKind, Pool, Subnet};
pub use words::{is_account, is_label, is_ssh_key};

/// The only version of the document there has been.
pub const VERSION: u32 = 1;

/// The whole document. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Always [`VERSION`].
    pub version: u32,
    /// Names.
    pub cluster: Cluster,
    /// Planes, name servers, time servers.
    #[serde(default)]
    pub network: Network,
    /// Where PostgreSQL is.
    #[serde(default)]
    pub database: Database,
    /// Who is told when something is wrong.
    #[serde(default, skip_serializing_if = "Health::is_silent")]
    pub health: Health,
    /// The named administrators, by account.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub admins: BTreeMap<String, Admin>,
    /// Times in which nothing is to be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Freeze>,
    /// Where logs go.
    #[serde(default, skip_serializing_if = "is_default")]
    pub logs: Logs,
    /// What inventory is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub inventory: Table,
    /// What boot is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub boot: Table,
    /// What cloud-init is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub cloud_init: Table,
    /// What images is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub images: Table,
    /// What dhcp is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub dhcp: Table,
    /// What auth is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub auth: Table,
    /// What ca is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub ca: Table,
    /// What gateway is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub gateway: Table,
    /// What power is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub power: Table,
    /// What console is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub console: Table,
    /// What join is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub join: Table,
    /// What timeline is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub timeline: Table,
    /// What discovery is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub discovery: Table,
}

/// The cluster's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The cluster's name, a DNS label: `demo`.
    pub name: String,
    /// The DNS domain of head and nodes: `openchami.cluster`.
    pub domain: String,
    /// The head's host name; `<name>-head` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The nodes' short name, for the DNS label before their number: `nid`.
    #[serde(default = "short_name")]
    pub short_name: String,
    /// How a node without a name is called.
    #[serde(default = "host_pattern")]
    pub host_pattern: String,
    /// The head's time zone, as in /usr/share/zoneinfo.
    #[serde(default = "timezone")]
    pub timezone: String,
}

/// Where PostgreSQL is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// The folder of the server's UNIX socket.
    #[serde(default = "database_socket")]
    pub socket: PathBuf,
    /// The port that names the socket.
    #[serde(default = "database_port")]
    pub port: u16,
}

/// A named administrator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Public keys in OpenSSH's form, at least one.
    pub ssh_keys: Vec<String>,
    /// What they may do.
    #[serde(default = "admin_role")]
    pub role: Role,
}

/// A document that does not hold: where and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct DocumentError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
fn short_name() -> String {
    "nid".to_owned()
}
fn host_pattern() -> String {
    "nid{nid:03}".to_owned()
}
fn admin_role() -> Role {
    Role::Admin
}
fn timezone() -> String {
    "UTC".to_owned()
}
fn database_socket() -> PathBuf {
    "/run/postgresql".into()
}
fn database_port() -> u16 {
    5432
}

impl Default for Database {
    fn default() -> Self {
        Self { socket: database_socket(), port: database_port() }
    }
}

impl Cluster {
    /// The head's host name.
    #[must_use]
    pub fn head_name(&self) -> String {
        self.head.clone().unwrap_or_else(|| format!("{}-head", self.name))
    }

    /// The name the APIs are reached by: `demo.openchami.cluster`.
    #[must_use]
    pub fn service_name(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

impl Document {
    /// Reads and checks a document.
    ///
    /// # Errors
    ///
    /// The first thing that does not hold, with its line and column.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let document: Self = toml::from_str(text).map_err(|error| syntax_error(text, &error))?;
        check::check(&document).map_err(|check::Wrong { path, message }| {
            let (line, column) = locate(text, &path);
            DocumentError { line, column, message }
        })?;
        Ok(document)
    }

    /// A service's own table.
    #[must_use]
    pub fn table(&self, service: Service) -> &Table {
        match service {
            Service::Inventory => &self.inventory,
            Service::Boot => &self.boot,
            Service::CloudInit => &self.cloud_init,
            Service::Images => &self.images,
            Service::Dhcp => &self.dhcp,
            Service::Auth => &self.auth,
            Service::Ca => &self.ca,
            Service::Gateway => &self.gateway,
            Service::Power => &self.power,
            Service::Console => &self.console,
            Service::Join => &self.join,
            Service::Timeline => &self.timeline,
            Service::Discovery => &self.discovery,
        }
    }
}

fn syntax_error(text: &str, error: &toml::de::Error) -> DocumentError {
    let (line, column) = position(text, error.span().map_or(0, |it| it.start));
    DocumentError { line, column, message: error.message().to_owned() }
}

/// The place of the value that a path of keys and indexes leads to, or of the deepest part that is there.
fn locate(text: &str, path: &[String]) -> (usize, usize) {
    use toml::de::{DeTable, DeValue};
    let Ok(table) = DeTable::parse(text) else { return (1, 1) };
    let mut offset = table.span().start;
    let mut value = DeValue::Table(table.into_inner());
    for key in path {
        let next = match value {
            DeValue::Table(mut it) => it.remove(key.as_str()),
            DeValue::Array(it) => key.parse().ok().and_then(|index: usize| it.into_iter().nth(index)),
            _ => None,
        };
        let Some(next) = next else { break };
        offset = next.span().start;
        value = next.into_inner();
    }
    position(text, offset)
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests;
