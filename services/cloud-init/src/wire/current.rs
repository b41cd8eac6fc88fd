//! Bodies of the present API, taken as Go's decoder takes them: names in any case, null for nothing, unknown
//! members left out, and its words for what does not fit.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{BodyError, check_label, go_kind, has_zero, syntax};
use crate::model::{ClusterDefaults, Group, GroupFile, InstanceInfo, NID_LENGTH_MAX};

const GROUP_MEMBERS: [&str; 5] = ["name", "description", "meta-data", "file", "versions"];
const FILE_MEMBERS: [&str; 3] = ["content", "filename", "encoding"];
const DEFAULTS_MEMBERS: [&str; 8] = [
    "cloud_provider",
    "region",
    "availability-zone",
    "cluster-name",
    "public-keys",
    "base-url",
    "short-name",
    "nid-length",
];
const INSTANCE_MEMBERS: [&str; 11] = [
    "id",
    "instance-id",
    "local-hostname",
    "hostname",
    "cluster-name",
    "region",
    "availability-zone",
    "cloud-provider",
    "instance-type",
    "cloud-init-base-url",
    "public-keys",
];

/// Parses a group; a name that is given stands for the body's.
pub(crate) fn parse_group(body: &[u8], called: Option<&str>) -> Result<Group, BodyError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| syntax(body, &error))?;
    if has_zero(&value) {
        return Err(BodyError::Zero("the group"));
    }
    let members = match value {
        Value::Null if called.is_none() => Map::new(),
        Value::Object(members) => members,
        other => {
            let what = "value of type cistore.GroupData";
            return Err(BodyError::Type { found: go_kind(&other), what });
        }
    };
    let mut group = Group::default();
    for (name, value) in known(members, &GROUP_MEMBERS) {
        match name {
            "name" => group.name = text(value, "struct field GroupData.name of type string")?,
            "description" => {
                group.description = text(value, "struct field GroupData.description of type string")?;
            }
            "meta-data" => {
                let what = "struct field GroupData.meta-data of type map[string]interface {}";
                group.meta_data = map(value, what)?.into_iter().collect();
            }
            "versions" => {
                let what = "struct field GroupData.versions of type string";
                let versions = map(value, "struct field GroupData.versions of type map[string]string")?;
                let versions = versions.into_iter().map(|(key, value)| Ok((key, text(value, what)?)));
                group.versions = versions.collect::<Result<_, BodyError>>()?;
            }
            _ => group.file = parse_file(value)?,
        }
    }
    if let Some(name) = called {
        name.clone_into(&mut group.name);
    }
    if group.name.is_empty() {
        return Err(BodyError::NoName);
    }
    check_label(&group.name)?;
    group.file.decode().map_err(BodyError::Encoding)?;
    Ok(group)
}

fn parse_file(value: Value) -> Result<GroupFile, BodyError> {
    let what = "struct field GroupData.file of type \
        struct { Content string \"json:\\\"content\\\"\"; *cistore.Alias }";
    let mut file = GroupFile::default();
    for (name, value) in known(map(value, what)?, &FILE_MEMBERS) {
        match name {
            "content" => file.content = text(value, "struct field GroupData.file.content of type string")?,
            "filename" => {
                file.filename = text(value, "struct field GroupData.file.filename of type string")?;
            }
            _ => file.encoding = text(value, "struct field GroupData.file.encoding of type string")?,
        }
    }
    Ok(file)
}

/// Parses cluster defaults; None for what they are not.
pub(crate) fn parse_defaults(body: &[u8]) -> Option<ClusterDefaults> {
    let defaults: ClusterDefaults = parse(body, &DEFAULTS_MEMBERS)?;
    (0..=NID_LENGTH_MAX).contains(&defaults.nid_length).then_some(defaults)
}

/// Parses what is set for a node; None for what it is not.
pub(crate) fn parse_instance(body: &[u8]) -> Option<InstanceInfo> {
    parse(body, &INSTANCE_MEMBERS)
}

fn parse<T: DeserializeOwned>(body: &[u8], names: &[&'static str]) -> Option<T> {
    let value: Value = serde_json::from_slice(body).ok()?;
    if has_zero(&value) {
        return None;
    }
    match value {
        Value::Object(members) => {
            let given = known(members, names).filter(|it| !it.1.is_null());
            let members: Map<String, Value> = given.map(|(name, it)| (name.to_owned(), whole(it))).collect();
            serde_json::from_value(Value::Object(members)).ok()
        }
        _ => None,
    }
}

/// A whole number that is written as a fraction, 3.0.
fn whole(value: Value) -> Value {
    let number = value.as_f64().filter(|it| it.fract() == 0.0 && it.abs() < 1e9 && !value.is_i64());
    match number.and_then(|it| format!("{it:.0}").parse::<i64>().ok()) {
        Some(number) => number.into(),
        None => value,
    }
}

/// The members of these names, written in whatever case.
fn known<'a>(
    members: Map<String, Value>,
    names: &'a [&'static str],
) -> impl Iterator<Item = (&'static str, Value)> + use<'a> {
    members.into_iter().filter_map(move |(name, value)| {
        let known = names.iter().find(|it| it.eq_ignore_ascii_case(&name))?;
        Some((*known, value))
    })
}

fn text(value: Value, what: &'static str) -> Result<String, BodyError> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        other => Err(BodyError::Type { found: go_kind(&other), what }),
    }
}

fn map(value: Value, what: &'static str) -> Result<Map<String, Value>, BodyError> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(members) => Ok(members),
        other => Err(BodyError::Type { found: go_kind(&other), what }),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::{parse_defaults, parse_group, parse_instance};

    #[test]
    fn a_group_is_taken_as_it_is_written() {
        let body = json!({"name": "compute", "description": null, "meta-data": {"a": [1]}, "more": 1,
            "File": {"content": "#cloud-config", "encoding": "plain"}});
        let group = parse_group(body.to_string().as_bytes(), None).unwrap();
        let file = json!({"content": "#cloud-config", "filename": "", "encoding": "plain"});
        let called = parse_group(b"{}", Some("zeta")).unwrap();
        assert_eq!(called.name, "zeta");
        assert_eq!(json!(group), json!({"name": "compute", "meta-data": {"a": [1]}, "file": file}));
    }

    #[test]
    fn a_group_that_cannot_be_taken_is_refused_with_the_recorded_text() {
        for (body, text) in [
            ("[", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            ("{}", "name is required"),
            ("null", "name is required"),
            ("[]", "json: cannot unmarshal array into Go value of type cistore.GroupData"),
            (
                r#"{"name":1}"#,
                "json: cannot unmarshal number into Go struct field GroupData.name of type string",
            ),
            (
                r#"{"name":"a","meta-data":"b"}"#,
                "json: cannot unmarshal string into Go struct field GroupData.meta-data of type \
                 map[string]interface {}",
            ),
            (
                r#"{"name":"a","file":{"encoding":"base64","content":"I2N*"}}"#,
                "failed to base64-decode cloud-config: illegal base64 data at input byte 3",
            ),
        ] {
            assert_eq!(parse_group(body.as_bytes(), None).unwrap_err().to_string(), text, "{body}");
        }
        for body in [r#"{"name":"a/b"}"#, r#"{"name":"a\nb"}"#, r#"{"name":"a","description":"\u0000"}"#] {
            assert!(parse_group(body.as_bytes(), None).is_err(), "{body}");
        }
    }

    #[test]
    fn defaults_and_instances_are_taken_or_not() {
        let defaults = parse_defaults(br#"{"Nid-Length":3,"region":null,"boot-subnet":"x"}"#).unwrap();
        assert_eq!(json!(defaults), json!({"nid-length": 3}));
        assert_eq!(parse_defaults(br#"{"nid-length":3.0}"#), Some(defaults));
        for body in
            ["{", "[]", "null", r#"{"nid-length":"3"}"#, r#"{"nid-length":-1}"#, r#"{"nid-length":1e9}"#]
        {
            assert!(parse_defaults(body.as_bytes()).is_none(), "{body}");
        }
        let info = parse_instance(br#"{"id":"x","instance-id":"","local-hostname":"a"}"#).unwrap();
        assert_eq!(json!(info), json!({"id": "x", "instance-id": "", "local-hostname": "a"}));
        assert!(parse_instance(br#"{"public-keys":"k"}"#).is_none());
    }
}
