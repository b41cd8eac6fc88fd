//! The bytes: iPXE scripts, and BSS' bodies with the error texts of the recorded service.

use domain::inventory::Component;
use domain::{MacAddr, Nid, Xname};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::model::{Asked, Edit, Host, Settings, Target};

/// How long a machine without a script waits, seconds (recording `bss-script-019`).
const WAIT_S: u32 = 10;
/// How long after a failed boot (recording `bss-script-010`).
const RETRY_S: u32 = 30;
/// What stays as it is in a query of ours; all else is percent-encoded, so that a value is no command.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b':').remove(b'.').remove(b'-').remove(b'_');

/// By which way the machine reaches the head.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Scheme, host and port, `http://172.16.0.254:8081`.
    pub(crate) base: String,
    /// What `ds=nocloud-net;s=` names, with a slash at the end.
    pub(crate) cloud_init: String,
}

impl Origin {
    fn script_url(&self, key: &str, value: &str, rest: &str) -> String {
        let value = utf8_percent_encode(value, PLAIN);
        format!("{}/apis/bss/boot/v1/bootscript?{key}={value}{rest}", self.base)
    }
}

/// The kernel's command line: BSS' words are added where the parameters do not have them (recording `-030`),
/// and an `initrd…` word of theirs is cut out (recording `-032`).
pub(crate) fn command_line(settings: &Settings, node: Option<&Component>, origin: &Origin) -> String {
    let words: Vec<&str> =
        settings.params().split(' ').map(|it| if it.starts_with("initrd") { "" } else { it }).collect();
    let has = |key: &str| words.iter().any(|it| it.starts_with(key));
    let mut line = words.join(" ");
    let mut add = |key: &str, value: String| {
        if !has(key) {
            let blank = if line.is_empty() { "" } else { " " };
            line.push_str(&format!("{blank}{key}{value}"));
        }
    };
    if let Some(node) = node {
        add("xname=", node.id.to_string());
        if let Some(nid) = node.nid {
            add("nid=", nid.to_string());
        }
    }
    add("ds=", format!("nocloud-net;s={}", origin.cloud_init));
    if settings.initrd().is_empty() { line } else { format!("initrd=initrd {line}") }
}

/// The script that boots. A failure comes back by MAC if one is known, as BSS does.
pub(crate) fn boot_script(
    settings: &Settings,
    node: Option<&Component>,
    again: &Asked,
    retry: u32,
    origin: &Origin,
) -> String {
    let line = command_line(settings, node, origin);
    let mut script =
        format!("#!ipxe\nkernel --name kernel {} {line} || goto boot_retry\n", settings.kernel());
    if !settings.initrd().is_empty() {
        script.push_str(&format!("initrd --name initrd {} || goto boot_retry\n", settings.initrd()));
    }
    let rest = format!("&retry={}", retry.saturating_add(1));
    let url = origin.script_url(again.key(), &again.value(), &rest);
    script + &format!("boot || goto boot_retry\n:boot_retry\nsleep {RETRY_S}\nchain {url}\n\n")
}

/// The script of a machine that has nothing to boot yet: it waits and says its architecture.
pub(crate) fn wait_script(asked: &Asked, epoch: i64, origin: &Origin) -> String {
    let rest = format!("&arch=${{buildarch}}&ts={epoch}");
    let url = origin.script_url(asked.key(), &asked.value(), &rest);
    format!("#!ipxe\nsleep {WAIT_S}\nchain {url}\n\n")
}

/// The script of a machine that said its architecture and still has nothing to boot. It stays here until it
/// has: `--replace` because each nested `chain` would take some of iPXE's stack, and the loop in case the
/// head is down. `dhcp` first, because a machine that was added meanwhile has an address of its own now.
pub(crate) fn retry_script(asked: &Asked, arch: &str, retry: u32, origin: &Origin) -> String {
    let arch = utf8_percent_encode(arch, PLAIN);
    let rest = format!("&arch={arch}&retry={}", retry.saturating_add(1));
    let url = origin.script_url(asked.key(), &asked.value(), &rest);
    format!("#!ipxe\n:again\nsleep {WAIT_S}\ndhcp || goto again\nchain --replace {url} || goto again\n\n")
}

/// An entry of the API: targets and what they boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Host words: xnames, node names, group labels, `Default`, `Unknown-<arch>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// MAC addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// Node numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nids: Vec<i64>,
    /// The kernel's command line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub params: String,
    /// The kernel's URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// The initrd's URL; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub initrd: String,
}

impl Entry {
    pub(crate) fn of(targets: &[&Target], settings: &Settings) -> Self {
        let mut entry = Self {
            params: settings.params().to_owned(),
            kernel: settings.kernel().to_owned(),
            initrd: settings.initrd().to_owned(),
            ..Self::default()
        };
        for target in targets {
            match target {
                Target::Mac(mac) => entry.macs.push(mac.to_string()),
                Target::Host(host) => entry.hosts.push(host.to_string()),
                Target::Nid(Nid(nid)) => entry.nids.push(*nid),
            }
        }
        entry
    }

    /// The entry with the member `cloud-init`, which is always empty (recording `bss-script-048`).
    pub(crate) fn shown(&self) -> Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        let keys = json!({"pub_key_dsa": "", "pub_key_rsa": "", "pub_key_ecdsa": "",
            "instance_id": "", "hostname": "", "fqdn": ""});
        shown["cloud-init"] = json!({"meta-data": null, "user-data": null, "phone-home": keys});
        shown
    }
}

/// A body that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("EOF")]
    Empty,
    #[error("unexpected EOF")]
    Cut,
    #[error("{0}")]
    Syntax(String),
    #[error("json: cannot unmarshal {found} into Go struct field BootParams.{member} of type {expected}")]
    Type { found: &'static str, member: &'static str, expected: &'static str },
    #[error("invalid MAC address format: {0}\n")]
    Mac(String),
    #[error("invalid xname: {0}")]
    Xname(String),
    #[error("invalid host: {0}; write an xname, a node's name, a group's label or Default")]
    Host(String),
    /// Refused without a reason (recording `bss-script-047`).
    #[error("Bad Request")]
    Plain,
}

/// A write, taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Write {
    pub(crate) targets: Vec<Target>,
    pub(crate) edit: Edit,
}

/// What a GET asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) macs: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) nids: Vec<Nid>,
}

/// Parses the body of a write. `xnames_only` is POST's rule for hosts.
pub(crate) fn parse_write(body: &[u8], xnames_only: bool) -> Result<Write, BodyError> {
    let members = parse_object(body)?;
    let mut targets = Vec::new();
    for text in strings(&members, "macs")? {
        let mac: MacAddr = text.parse().map_err(|_| BodyError::Mac(text))?;
        targets.push(Target::Mac(mac));
    }
    for text in strings(&members, "hosts")? {
        let host = Host::parse(&text).ok_or_else(|| {
            if xnames_only { BodyError::Xname(text.clone()) } else { BodyError::Host(text.clone()) }
        })?;
        if xnames_only && !host.is_xname() {
            return Err(BodyError::Xname(text));
        }
        targets.push(Target::Host(host));
    }
    targets.extend(numbers(&members, "nids")?.into_iter().map(Target::Nid));
    targets.sort();
    targets.dedup();
    let edit = Edit {
        kernel: text(&members, "kernel")?,
        initrd: text(&members, "initrd")?,
        params: text(&members, "params")?,
    };
    Ok(Write { targets, edit })
}

/// Parses what a GET asks for by its body; what names nothing is left out.
pub(crate) fn parse_selection(body: &[u8]) -> Result<Selection, BodyError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Selection::default());
    }
    let members = parse_object(body)?;
    Ok(Selection {
        macs: strings(&members, "macs")?,
        hosts: strings(&members, "hosts")?,
        nids: numbers(&members, "nids")?,
    })
}

/// A JSON object, with Go's words for what is none.
pub(crate) fn parse_object(body: &[u8]) -> Result<Map<String, Value>, BodyError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(BodyError::Empty);
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(other) => {
            let found = go_kind(&other);
            Err(BodyError::Syntax(format!(
                "json: cannot unmarshal {found} into Go value of type bssTypes.BootParams"
            )))
        }
        Err(error) if error.is_eof() => Err(BodyError::Cut),
        Err(error) => Err(BodyError::Syntax(error.to_string())),
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn text(members: &Map<String, Value>, member: &'static str) -> Result<Option<String>, BodyError> {
    match members.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|it| !it.is_empty())),
        Some(other) => Err(BodyError::Type { found: go_kind(other), member, expected: "string" }),
    }
}

fn elements<'a>(
    members: &'a Map<String, Value>,
    member: &'static str,
    expected: &'static str,
) -> Result<&'a [Value], BodyError> {
    match members.get(member) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(elements)) => Ok(elements),
        Some(other) => Err(BodyError::Type { found: go_kind(other), member, expected }),
    }
}

fn strings(members: &Map<String, Value>, member: &'static str) -> Result<Vec<String>, BodyError> {
    let read = |it: &Value| match it {
        Value::String(text) => Ok(text.clone()),
        other => Err(BodyError::Type { found: go_kind(other), member, expected: "string" }),
    };
    elements(members, member, "[]string")?.iter().map(read).collect()
}

/// NIDs are 32 bits wide in BSS.
fn numbers(members: &Map<String, Value>, member: &'static str) -> Result<Vec<Nid>, BodyError> {
    let read = |it: &Value| match it.as_i64().and_then(|it| i32::try_from(it).ok()) {
        Some(number) => Ok(Nid(number.into())),
        None => Err(BodyError::Type { found: go_kind(it), member, expected: "int32" }),
    };
    elements(members, member, "[]int32")?.iter().map(read).collect()
}

/// A node as `/hosts` shows it. Its MAC addresses stand there twice if a controller is known, once from the
/// endpoint and once from the interfaces (recording `bss-script-007`).
pub(crate) fn host(node: &Component, macs: &[MacAddr], controlled: bool) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(key.to_owned(), value);
        }
    };
    let text = |it: &Option<String>| it.clone().map(Value::from);
    put("ID", Some(Xname::as_str(&node.id).into()));
    put("Type", Some(node.id.kind().name().into()));
    put("State", text(&node.state));
    put("Flag", text(&node.flag));
    put("Enabled", node.enabled.map(Value::from));
    put("SoftwareStatus", text(&node.software_status));
    put("Role", text(&node.role));
    put("SubRole", text(&node.sub_role));
    put("NID", node.nid.map(|it| it.0.into()));
    put("NetType", text(&node.net_type));
    put("Arch", text(&node.arch));
    put("Class", text(&node.class));
    put("FQDN", Some("".into()));
    let times = if controlled { 2 } else { 1 };
    put("MAC", Some(macs.iter().flat_map(|it| std::iter::repeat_n(it.to_string(), times)).collect()));
    put("EndpointEnabled", Some(controlled.into()));
    Value::Object(shown)
}

#[cfg(test)]
mod tests;
