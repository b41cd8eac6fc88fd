//! Components: how a body becomes one, what may change it, and how it is shown.

use domain::inventory::Component;
use domain::{Nid, Xname};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::words;

/// A component as a client writes it. `Type` is not read: it follows from the xname.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ComponentBody {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    state: Option<String>,
    flag: Option<String>,
    enabled: Option<bool>,
    software_status: Option<String>,
    role: Option<String>,
    sub_role: Option<String>,
    #[serde(rename = "NID", deserialize_with = "number")]
    pub(crate) nid: Option<i64>,
    net_type: Option<String>,
    arch: Option<String>,
    class: Option<String>,
}

/// A whole number, or the digits of one in a string.
pub(crate) fn number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    use serde::de::Error as _;
    let wrong = |it: &dyn std::fmt::Display| D::Error::custom(format!("{it} is no whole number"));
    match Value::deserialize(input)? {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => text.parse().map(Some).map_err(|_| wrong(&text)),
        Value::Number(number) => number.as_i64().map(Some).ok_or_else(|| wrong(&number)),
        other => Err(wrong(&other)),
    }
}

/// Text that says something.
pub(crate) fn given(text: Option<String>) -> Option<String> {
    text.filter(|it| !it.is_empty())
}

impl ComponentBody {
    /// The component, or the recorded sentence on what is wrong (`smd-components-073` to `-077`).
    pub(crate) fn parse(self) -> Result<Component, String> {
        let id: Xname = self.id.parse().map_err(|_| format!("xname ID '{}' is invalid", self.id))?;
        let word = |words: &words::Words, name: &str, text: Option<String>| match given(text) {
            None => Ok(None),
            Some(text) => match words.find(&text) {
                Some(word) => Ok(Some(word.to_owned())),
                None => Err(format!("{name} '{text}' is invalid")),
            },
        };
        let node = id.is_node();
        let state = word(&words::STATE, "state", self.state)?.ok_or("state '' is invalid")?;
        let flag = word(&words::FLAG, "flag", self.flag)?.unwrap_or_else(|| "OK".to_owned());
        let role = word(&words::ROLE, "role", self.role)?;
        Ok(Component {
            state: Some(state),
            flag: Some(flag),
            enabled: Some(self.enabled.unwrap_or(true)),
            software_status: given(self.software_status),
            role: role.or_else(|| node.then(|| "Compute".to_owned())),
            sub_role: word(&words::SUB_ROLE, "subRole", self.sub_role)?,
            nid: self.nid.map(Nid).or_else(|| node.then(|| computed_nid(&id))),
            net_type: word(&words::NET_TYPE, "netType", self.net_type)?,
            arch: word(&words::ARCH, "arch", self.arch)?,
            class: word(&words::CLASS, "class", self.class)?,
            name: None,
            lock: None,
            id,
        })
    }
}

/// A component that nothing is known of but that it is there.
pub(crate) fn bare(id: Xname) -> Component {
    Component {
        id,
        state: None,
        flag: Some("OK".to_owned()),
        enabled: Some(true),
        software_status: None,
        role: None,
        sub_role: None,
        nid: None,
        net_type: None,
        arch: None,
        class: None,
        name: None,
        lock: None,
    }
}

/// The number of a node that was given none: places in cabinets of 8 chassis of 64 slots of 8 controllers of
/// 4 nodes, as recorded (`smd-components-014`).
pub(crate) fn computed_nid(id: &Xname) -> Nid {
    let mut numbers = id.numbers().map(|it| i64::try_from(it).unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (cabinet, chassis, slot, controller, node) = (next(), next(), next(), next(), next());
    Nid((cabinet + 1) * 16384 + chassis * 2048 + slot * 32 + controller * 4 + node)
}

/// What a forced POST or PUT changes of a component that is there: never NID, roles, Enabled or
/// SoftwareStatus.
pub(crate) fn force(old: &Component, new: Component) -> Component {
    Component {
        state: new.state,
        flag: new.flag,
        net_type: new.net_type.or_else(|| old.net_type.clone()),
        arch: new.arch.or_else(|| old.arch.clone()),
        class: new.class.or_else(|| old.class.clone()),
        ..old.clone()
    }
}

/// Which of the PATCH paths.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PatchKind {
    State,
    Flag,
    Enabled,
    Software,
    Role,
    Nid,
}

impl PatchKind {
    /// Every kind with the last part of its path.
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("StateData", Self::State),
        ("FlagOnly", Self::Flag),
        ("Enabled", Self::Enabled),
        ("SoftwareStatus", Self::Software),
        ("Role", Self::Role),
        ("NID", Self::Nid),
    ];
}

/// The body of a PATCH, of one component or of many.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PatchBody {
    #[serde(rename = "ID")]
    pub(crate) id: Option<String>,
    #[serde(rename = "ComponentIDs")]
    pub(crate) ids: Vec<String>,
    state: Option<String>,
    flag: Option<String>,
    enabled: Option<bool>,
    software_status: Option<String>,
    role: Option<String>,
    sub_role: Option<String>,
    #[serde(rename = "NID", deserialize_with = "number")]
    nid: Option<i64>,
    force: bool,
}

/// A change that fits any component.
#[derive(Debug)]
pub(crate) enum Patch {
    State { state: &'static str, flag: &'static str, force: bool },
    Flag(&'static str),
    Enabled(bool),
    Software(Option<String>),
    Role { role: &'static str, sub_role: Option<&'static str> },
    Nid(Option<Nid>),
}

const NO_MATCH: &str = "a required argument did not match any valid input";

impl PatchBody {
    /// The change, or the recorded sentence on what is wrong.
    pub(crate) fn parse(self, kind: PatchKind) -> Result<Patch, &'static str> {
        match kind {
            PatchKind::State => {
                let state = given(self.state).ok_or("Missing State")?;
                let state = words::STATE.find(&state).ok_or("Argument was not a valid HMS State")?;
                let flag = given(self.flag).unwrap_or_else(|| "OK".to_owned());
                let flag = words::FLAG.find(&flag).ok_or("Argument was not a valid HMS Flag")?;
                if !self.force && starts(state).is_empty() {
                    return Err("operation not allowed and not forced.");
                }
                Ok(Patch::State { state, flag, force: self.force })
            }
            PatchKind::Flag => {
                let flag = given(self.flag).ok_or("Missing Flag")?;
                words::FLAG.find(&flag).map(Patch::Flag).ok_or(NO_MATCH)
            }
            PatchKind::Enabled => self.enabled.map(Patch::Enabled).ok_or("Missing Enabled field"),
            PatchKind::Software => match self.software_status {
                None => Err("Missing SoftwareStatus"),
                text => Ok(Patch::Software(given(text))),
            },
            PatchKind::Role => {
                let role = words::ROLE.find(&self.role.ok_or("Missing Role")?).ok_or(NO_MATCH)?;
                let sub_role = given(self.sub_role);
                let sub_role = sub_role.map(|it| words::SUB_ROLE.find(&it).ok_or(NO_MATCH)).transpose()?;
                Ok(Patch::Role { role, sub_role })
            }
            PatchKind::Nid => self.nid.map(|it| Patch::Nid(patched_nid(it))).ok_or("Missing NID"),
        }
    }
}

/// A negative number in a PATCH takes the number away.
pub(crate) fn patched_nid(nid: i64) -> Option<Nid> {
    (nid >= 0).then_some(Nid(nid))
}

/// The states from which a state may be entered without force; none: with force alone.
fn starts(state: &str) -> &'static [&'static str] {
    match state {
        "Off" => &["Off", "On", "Standby", "Halt", "Ready"],
        "On" => &["On", "Off", "Standby", "Halt"],
        "Standby" => &["Standby", "Ready"],
        "Halt" => &["Halt", "Ready"],
        "Ready" => &["Ready", "On", "Off", "Standby", "Halt"],
        _ => &[],
    }
}

impl Patch {
    /// The component after the change; none if it does not change. A forbidden step of state is passed over
    /// silently (`smd-components-060`).
    pub(crate) fn apply(&self, old: &Component) -> Option<Component> {
        let mut new = old.clone();
        match self {
            Self::State { state, flag, force } => {
                let from = old.state.as_deref().unwrap_or_default();
                // A late heartbeat may warn of a node that is Ready, never make one Ready again.
                let late = *state == "Ready" && *flag == "Warning" && from != "Ready";
                if !force && (late || !starts(state).contains(&from)) {
                    return None;
                }
                new.state = Some((*state).to_owned());
                new.flag = Some((*flag).to_owned());
            }
            Self::Flag(flag) => new.flag = Some((*flag).to_owned()),
            Self::Enabled(enabled) => new.enabled = Some(*enabled),
            Self::Software(status) => new.software_status.clone_from(status),
            Self::Role { role, sub_role } => {
                new.role = Some((*role).to_owned());
                new.sub_role = sub_role.map(str::to_owned);
            }
            Self::Nid(nid) => new.nid = *nid,
        }
        (new != *old).then_some(new)
    }
}

/// Which fields a client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fields {
    #[default]
    All,
    State,
    Flag,
    Role,
    Nid,
}

/// A component as the SMD API writes it; what is empty is left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ComponentJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    software_status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_role: Option<&'a str>,
    #[serde(rename = "NID", skip_serializing_if = "Option::is_none")]
    nid: Option<Nid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    net_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
}

/// How a component is shown.
pub(crate) fn show(it: &Component, fields: Fields) -> ComponentJson<'_> {
    let base = ComponentJson { id: it.id.as_str(), kind: it.id.kind().name(), ..ComponentJson::default() };
    let (state, flag) = (it.state.as_deref(), it.flag.as_deref());
    let (role, sub_role) = (it.role.as_deref(), it.sub_role.as_deref());
    match fields {
        Fields::State => ComponentJson { state, flag, ..base },
        Fields::Flag => ComponentJson { flag, ..base },
        Fields::Role => ComponentJson { role, sub_role, ..base },
        Fields::Nid => ComponentJson { nid: it.nid, ..base },
        Fields::All => ComponentJson {
            state,
            flag,
            enabled: it.enabled,
            software_status: it.software_status.as_deref(),
            role,
            sub_role,
            nid: it.nid,
            net_type: it.net_type.as_deref(),
            arch: it.arch.as_deref(),
            class: it.class.as_deref(),
            ..base
        },
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{PatchBody, PatchKind, bare, computed_nid};

    #[test]
    fn a_number_is_computed_from_the_place() {
        assert_eq!(computed_nid(&"x1000c1s7b4n0".parse().unwrap()).0, 16_402_672);
    }

    #[test]
    fn ready_does_not_become_on_without_force() {
        let mut node = bare("x1c0s0b0n0".parse().unwrap());
        node.state = Some("Ready".into());
        let body = |text: &str| serde_json::from_str::<PatchBody>(text).unwrap().parse(PatchKind::State);
        assert!(body(r#"{"State":"On"}"#).unwrap().apply(&node).is_none());
        assert!(body(r#"{"State":"On","Force":true}"#).unwrap().apply(&node).is_some());
        assert!(body(r#"{"State":"off"}"#).unwrap().apply(&node).is_some());
        assert!(body(r#"{"State":"Empty"}"#).is_err());
        assert!(body(r#"{"State":"Bogus"}"#).is_err());
    }
}
