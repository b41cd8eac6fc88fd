//! The configuration document, `/etc/pilothouse/pilothouse.toml`: the one place where a site says what it wants.
//!
//! [`Document`] types what the whole head shares; each service's own table is opaque here and checked by
//! `pilothouse <service> --check`. An answer file is a document with a `[secrets]` table beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{Role, Service};

mod check;

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
    /// The named administrators, by account.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub admins: BTreeMap<String, Admin>,
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

/// The networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// VLANs and bonds on the NICs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The networks the head serves or uses.
    #[serde(default)]
    pub planes: Vec<Plane>,
    /// Name servers that nodes and the head are given; empty: the head's address for nodes.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Time servers of the head; empty: its own clock serves the cluster.
    #[serde(default)]
    pub ntp: Vec<String>,
}

/// What a plane carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaneKind {
    /// Towards the site.
    Site,
    /// Booting nodes.
    Nodes,
    /// Management controllers.
    Bmc,
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// A VLAN (IEEE 802.1Q) on a parent.
    Vlan,
    /// Several NICs as one.
    Bond,
}

/// A network link that is made of NICs. A NIC is named by its name or its MAC address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The link's name, at most 15 characters.
    pub name: String,
    /// VLAN or bond.
    pub kind: LinkKind,
    /// vlan: the NIC or bond beneath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// vlan: 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// bond: the NICs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// bond: systemd.netdev(5), `Mode=`; `active-backup` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A network the head serves or uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plane {
    /// A word for logs and messages, unique.
    pub name: String,
    /// What it carries.
    pub kind: PlaneKind,
    /// The NIC, by name or MAC address, or a link; none for subnets that are only reached through a relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The head's addresses with their prefix, `172.16.0.254/24`; none (site alone): by DHCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Ipv4Net>,
    /// Whether another DHCP server may be on this wire; then nobody is refused and no unknown machine answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What is known of the networks on this wire beyond the head's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Subnet>,
}

/// A network on a plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Which, `172.16.0.0/24`.
    pub cidr: Ipv4Net,
    /// Addresses for machines that are in no inventory; none: they get no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Pool>,
    /// The router that machines (site: the head) use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
}

/// A run of addresses, `172.16.0.200-172.16.0.250`, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool {
    /// The first address.
    pub first: Ipv4Addr,
    /// The last address, not below the first.
    pub last: Ipv4Addr,
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

/// What an answer file may hold beside the document; it never enters the document.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// The account of the BMCs.
    #[serde(default)]
    pub bmc: Option<BmcSecret>,
    /// crypt(5) hashes by administrator, for log-in on a tty.
    #[serde(default)]
    pub password_hashes: BTreeMap<String, String>,
}

/// The account that opens the BMCs by default.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BmcSecret {
    /// The user's name.
    pub user: String,
    /// The password, at most 20 bytes (IPMI 2.0 section 22.30).
    pub password: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// An answer file taken apart.
#[derive(Debug)]
pub struct Answer {
    /// The document.
    pub document: Document,
    /// The document's text, without the secrets, comments and order kept where nothing was taken out.
    pub text: String,
    /// The secrets.
    pub secrets: Secrets,
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

impl Network {
    /// The first plane of a kind that has a local address.
    #[must_use]
    pub fn first(&self, kind: PlaneKind) -> Option<(&Plane, Ipv4Net)> {
        self.planes.iter().filter(|it| it.kind == kind).find_map(|it| Some((it, it.address()?)))
    }

    /// The plane whose network holds this address.
    #[must_use]
    pub fn plane_of(&self, address: Ipv4Addr) -> Option<&Plane> {
        self.planes.iter().find(|it| it.networks().any(|net| net.contains(&address)))
    }

    /// The link of this name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|it| it.name == name)
    }
}

impl Plane {
    /// The head's first address on this plane.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Net> {
        self.addresses.first().copied()
    }

    /// The networks on this plane: those of the head's addresses, then those that are only named.
    pub fn networks(&self) -> impl Iterator<Item = Ipv4Net> {
        self.addresses.iter().map(Ipv4Net::trunc).chain(self.subnets.iter().map(|it| it.cidr.trunc()))
    }

    /// The router of the network of the head's first address.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.first_subnet()?.router
    }

    /// The addresses for unknown machines in the network of the head's first address.
    #[must_use]
    pub fn range(&self) -> Option<Pool> {
        self.first_subnet()?.range
    }

    fn first_subnet(&self) -> Option<&Subnet> {
        let net = self.address()?.trunc();
        self.subnets.iter().find(|it| it.cidr.trunc() == net)
    }
}

impl Pool {
    /// Whether the pool holds this address.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl FromStr for Pool {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("{text:?} is no run of addresses; write 172.16.0.200-172.16.0.250");
        let (first, last) = text.split_once('-').ok_or_else(fail)?;
        let first: Ipv4Addr = first.trim().parse().map_err(|_| fail())?;
        let last = last.trim().parse().map_err(|_| fail())?;
        if first > last { Err(fail()) } else { Ok(Self { first, last }) }
    }
}

impl TryFrom<String> for Pool {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        format!("{}-{}", pool.first, pool.last)
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
        }
    }
}

impl Answer {
    /// Reads an answer file: a document with, perhaps, `[secrets]`.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`]; positions are the answer file's own. No message holds a secret.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let mut table: Table = toml::from_str(text).map_err(|error| syntax_error(text, &error))?;
        let secrets = match table.remove("secrets") {
            None => Secrets::default(),
            Some(value) => Secrets::deserialize(value).map_err(|error| {
                let (line, column) = locate(text, &["secrets".to_owned()]);
                // Of serde's messages, these name a key; the others quote the value.
                let harmless = ["unknown field", "missing field"];
                let message = match error.message() {
                    text if harmless.iter().any(|it| text.starts_with(it)) => text.to_owned(),
                    _ => "a value in [secrets] is of the wrong kind; write strings in quotes".to_owned(),
                };
                DocumentError { line, column, message }
            })?,
        };
        let long = secrets.bmc.as_ref().is_some_and(|it| it.password.len() > 20 || it.user.len() > 16);
        if long || secrets.password_hashes.values().any(|it| !it.starts_with('$') || it.contains([':', '\n']))
        {
            let (line, column) = locate(text, &["secrets".to_owned()]);
            let message =
                "a BMC takes 16 bytes of user and 20 of password; hashes are crypt(5)'s, $y$…".to_owned();
            return Err(DocumentError { line, column, message });
        }
        // The lines stay where they are, so that an error's position is right in the file it came from.
        let text = without_secrets(text);
        let document = Document::parse(&text)?;
        Ok(Self { document, text: text.trim_end().to_owned() + "\n", secrets })
    }
}

/// Blanks the lines from a `[secrets…]` header to the next header of something else.
fn without_secrets(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().map(|line| {
        let header = line.trim_start();
        if header.starts_with('[') {
            let name = header.trim_start_matches('[').trim_start();
            inside = name.strip_prefix("secrets").is_some_and(|it| it.trim_start().starts_with(['.', ']']));
        }
        if inside { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
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

/// Whether the text is a DNS label in lower case (RFC 1123 section 2.1).
#[must_use]
pub fn is_label(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether the text is an account name that useradd(8) would take.
#[must_use]
pub fn is_account(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'_');
    (1..=31).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(|it: char| it.is_ascii_lowercase())
        && !matches!(text, "root" | "postgres" | "nobody" | "daemon" | "bin" | "sys")
        && !text.starts_with("pilothouse")
}

/// Whether the text is a line of an `authorized_keys` file without options: type, base64, comment.
#[must_use]
pub fn is_ssh_key(text: &str) -> bool {
    const TYPES: [&str; 6] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    let mut words = text.split(' ');
    let known = words.next().is_some_and(|it| TYPES.contains(&it));
    let blob = words.next().is_some_and(|it| {
        let base64 = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/' | b'=');
        it.len() >= 40 && it.starts_with("AAAA") && it.bytes().all(base64)
    });
    known && blob && !text.contains(char::is_control)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Answer, Document};

    const GOOD: &str = r#"version = 1

[cluster]
name = "demo"
domain = "openchami.cluster"

[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "ens3"
addresses = ["172.16.0.254/24"]

[[network.planes.subnets]]
cidr = "172.16.0.0/24"
range = "172.16.0.200-172.16.0.250"

[secrets.bmc]
user = "admin"
password = "canary"

[admins.alice]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r alice@site"]

[gateway]
trusted_proxies = ["127.0.0.1"]
"#;

    #[test]
    fn an_answer_gives_up_its_secrets_and_no_other_line() {
        let answer = Answer::parse(GOOD).unwrap();
        assert!(!answer.text.contains("canary") && answer.text.contains("trusted_proxies"));
        assert_eq!(answer.secrets.bmc.unwrap().password, "canary");
        assert_eq!(Document::parse(&answer.text).unwrap(), answer.document);
    }

    #[test]
    fn no_message_holds_a_secret() {
        for bad in ["password = [\"canary\"]", "password = 987654", "pass = \"canary\""] {
            let text = GOOD.replace("password = \"canary\"", bad);
            let error = Answer::parse(&text).unwrap_err().to_string();
            assert!(!error.contains("canary") && !error.contains("987654"), "{error}");
        }
        let error = Answer::parse("version = 1\nsecrets = \"canary\"").unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_column() {
        let cases = [
            ("name = \"demo\"", "name = \"Demo!\"", 4, "DNS label"),
            ("254/24", "254/33", 11, ""),
            ("254/24", "0/24", 11, "network's own"),
            ("172.16.0.250", "172.16.1.250", 15, "not in 172.16.0.0/24"),
            ("kind = \"nodes\"", "kind = \"node\"", 9, "unknown variant"),
            ("ssh-ed25519 AAAA", "ssh-ed25519 BBBB", 22, "OpenSSH"),
            ("interface =", "interfaces =", 10, "unknown field"),
            ("version = 1", "version = 2", 1, "version 1"),
        ];
        for (good, bad, line, word) in cases {
            let error = Answer::parse(&GOOD.replacen(good, bad, 1)).unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(error.message.contains(word) && error.column >= 1, "{error}");
        }
    }
}
