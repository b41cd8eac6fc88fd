//! The bytes: iPXE scripts, and BSS' bodies with the error texts of the recorded service.

mod patience;
mod script;

use std::collections::BTreeMap;

use domain::inventory::Component;
use domain::{MacAddr, Nid, Xname};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::model::{self, Architecture, Edit, Settings, Target, Variant};

pub(crate) use patience::Patience;
pub(crate) use script::{
    LineError, Origin, ask_script, boot_script, command_line, refused_script, renew_script, retry_script,
    wait_script,
};

/// An entry of the API: targets and what they boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    #[schema(value_type = Vec<i32>)]
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
    /// What machines of an architecture boot instead, by iPXE's word: `x86_64`, `arm64` …; BSS has no such member.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub architectures: BTreeMap<Architecture, Variant>,
    /// The image that kernel and initrd are of, with its digest; empty if they were named themselves.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
}

/// An entry as BSS shows it: with the member `cloud-init`, which is always empty (recording `bss-script-048`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ShownEntry {
    #[serde(flatten)]
    entry: Entry,
    #[serde(rename = "cloud-init")]
    cloud_init: EmptyCloudInit,
}

/// No data for cloud-init: it is the service cloud-init's.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EmptyCloudInit {
    #[schema(value_type = Option<Object>)]
    meta_data: (),
    #[schema(value_type = Option<Object>)]
    user_data: (),
    phone_home: EmptyPhoneHome,
}

/// What no node told.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(crate) struct EmptyPhoneHome {
    pub_key_dsa: &'static str,
    pub_key_rsa: &'static str,
    pub_key_ecdsa: &'static str,
    instance_id: &'static str,
    hostname: &'static str,
    fqdn: &'static str,
}

impl Entry {
    pub(crate) fn of(targets: &[&Target], settings: &Settings) -> Self {
        let mut entry = Self {
            params: settings.params().to_owned(),
            kernel: settings.kernel().to_owned(),
            initrd: settings.initrd().to_owned(),
            architectures: settings.architectures().clone(),
            image: settings.reference().to_owned(),
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

    /// The entry as BSS shows it.
    pub(crate) fn shown(self) -> ShownEntry {
        ShownEntry { entry: self, cloud_init: EmptyCloudInit::default() }
    }
}

/// The body of a write, as it is documented; [`parse_write`] reads it, with BSS' words for what is wrong.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the document alone is made from it")]
pub(crate) struct WriteBody {
    /// Host words: xnames; with PUT, PATCH and DELETE also node names, group labels, `Default`, `Unknown-<arch>`
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9._:-]+$")]
    hosts: Option<Vec<String>>,
    /// MAC addresses
    #[schema(pattern = "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$")]
    macs: Option<Vec<String>>,
    /// Node numbers
    nids: Option<Vec<i32>>,
    /// The kernel's command line; without `${`, line breaks, `&&`, `||` and the words `;` and `#…`
    #[schema(max_length = 1792)]
    params: Option<String>,
    /// The kernel's URL
    #[schema(max_length = 1024)]
    kernel: Option<String>,
    /// The initrd's URL
    #[schema(max_length = 1024)]
    initrd: Option<String>,
    /// What machines of an architecture boot instead; null takes it away
    architectures: Option<BTreeMap<Architecture, VariantOrNull>>,
}

/// What machines of an architecture boot, or null.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the document alone is made from it")]
pub(crate) struct VariantOrNull(Option<Variant>);

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
    #[error("architectures: {0}; name the architectures as iPXE does ({known}), each with its kernel", known = known())]
    Architectures(String),
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
        let host = model::Host::parse(&text).ok_or_else(|| {
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
        architectures: architectures(&members)?,
        image: None,
    };
    Ok(Write { targets, edit })
}

/// What machines of an architecture boot; null takes it away.
fn architectures(members: &Map<String, Value>) -> Result<BTreeMap<Architecture, Option<Variant>>, BodyError> {
    let given = members.get("architectures").filter(|it| !it.is_null());
    let read = given.map(BTreeMap::deserialize).transpose();
    Ok(read.map_err(|it| BodyError::Architectures(it.to_string()))?.unwrap_or_default())
}

fn known() -> String {
    Architecture::ALL.map(Architecture::name).join(", ")
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

/// A node as `/hosts` shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Host {
    #[serde(rename = "ID")]
    #[schema(value_type = String)]
    id: Xname,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    software_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_role: Option<String>,
    #[serde(rename = "NID", skip_serializing_if = "Option::is_none")]
    nid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    net_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(rename = "FQDN")]
    fqdn: &'static str,
    /// Each stands there twice if a controller is known, once from the endpoint and once from the interfaces
    /// (recording `bss-script-007`).
    #[serde(rename = "MAC")]
    #[schema(value_type = Vec<String>)]
    macs: Vec<MacAddr>,
    endpoint_enabled: bool,
}

impl Host {
    pub(crate) fn of(node: &Component, macs: &[MacAddr], controlled: bool) -> Self {
        let times = if controlled { 2 } else { 1 };
        Self {
            id: node.id.clone(),
            kind: node.id.kind().name(),
            state: node.state.clone(),
            flag: node.flag.clone(),
            enabled: node.enabled,
            software_status: node.software_status.clone(),
            role: node.role.clone(),
            sub_role: node.sub_role.clone(),
            nid: node.nid.map(|it| it.0),
            net_type: node.net_type.clone(),
            arch: node.arch.clone(),
            class: node.class.clone(),
            fqdn: "",
            macs: macs.iter().flat_map(|it| std::iter::repeat_n(*it, times)).collect(),
            endpoint_enabled: controlled,
        }
    }
}

#[cfg(test)]
mod tests;
