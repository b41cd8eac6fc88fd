//! The bytes: bodies with the recorded service's error texts, and answers as YAML.

mod current;
mod roots;
mod yaml;

use serde_json::{Map, Value};

use crate::model::{Entry, Part};
pub(crate) use current::{parse_defaults, parse_group, parse_instance};
pub(crate) use roots::with_roots;
pub(crate) use yaml::{sorted, to_yaml, to_yaml_in_order};

/// The longest name of an entry.
const NAME_MAX: usize = 256;
/// Names that are paths of their own.
const TAKEN: [&str; 7] =
    ["user-data", "meta-data", "vendor-data", "network-config", "version", "openapi.json", "wg-init"];

/// A body that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("unexpected end of JSON input")]
    Cut,
    #[error("{0}")]
    Syntax(String),
    #[error("json: cannot unmarshal {found} into Go {what}")]
    Type { found: &'static str, what: &'static str },
    #[error("{0:?} cannot be a name here; write a group's label or an xname")]
    Name(String),
    #[error("name is required")]
    NoName,
    #[error("failed to base64-decode cloud-config: illegal base64 data at input byte {0}")]
    Encoding(usize),
    #[error("{0} holds the character U+0000, which cannot be stored")]
    Zero(&'static str),
}

/// user-data: YAML with the header that makes it cloud-config.
pub(crate) fn user_data(part: &Part) -> String {
    format!("#cloud-config\n{}", to_yaml(part))
}

/// Parses `{"name", "cloud-init": {"userdata", "metadata", "vendordata"}}`.
pub(crate) fn parse_entry(body: &[u8]) -> Result<(String, Entry), BodyError> {
    let value = serde_json::from_slice(body).map_err(|error| syntax(body, &error))?;
    let Value::Object(members) = value else {
        return Err(BodyError::Type { found: go_kind(&value), what: "value of type citypes.CI" });
    };
    let name = match members.get("name") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(name)) => name.clone(),
        Some(other) => {
            return Err(BodyError::Type {
                found: go_kind(other),
                what: "struct field CI.name of type string",
            });
        }
    };
    let empty = Map::new();
    let parts = match members.get("cloud-init") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(parts)) => parts,
        Some(other) => {
            let what = "struct field CI.cloud-init of type citypes.CIData";
            return Err(BodyError::Type { found: go_kind(other), what });
        }
    };
    let entry = Entry {
        userdata: part(
            parts,
            "userdata",
            "struct field CIData.cloud-init.userdata of type map[string]interface {}",
        )?,
        metadata: part(
            parts,
            "metadata",
            "struct field CIData.cloud-init.metadata of type map[string]interface {}",
        )?,
        vendordata: part(
            parts,
            "vendordata",
            "struct field CIData.cloud-init.vendordata of type map[string]interface {}",
        )?,
    };
    Ok((name, entry))
}

/// Refuses names that could not be asked for. The empty one is taken, as recorded (`cloud-init-legacy-051`).
pub(crate) fn check_name(name: &str) -> Result<(), BodyError> {
    let bad = name.len() > NAME_MAX
        || name.contains(|it: char| it.is_control() || it == '/')
        || TAKEN.contains(&name);
    if bad { Err(BodyError::Name(name.chars().take(64).collect())) } else { Ok(()) }
}

/// Refuses what cannot be the label of a group or the name of a node.
pub(crate) fn check_label(name: &str) -> Result<(), BodyError> {
    let bad =
        name.is_empty() || name.len() > NAME_MAX || name.contains(|it: char| it.is_control() || it == '/');
    if bad { Err(BodyError::Name(name.chars().take(64).collect())) } else { Ok(()) }
}

fn part(
    parts: &Map<String, Value>,
    member: &'static str,
    what: &'static str,
) -> Result<Option<Part>, BodyError> {
    match parts.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(part)) => {
            if has_zero(value) {
                return Err(BodyError::Zero(member));
            }
            Ok(Some(part.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
        }
        Some(other) => Err(BodyError::Type { found: go_kind(other), what }),
    }
}

/// PostgreSQL's jsonb has no U+0000.
fn has_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(has_zero),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || has_zero(value)),
        _ => false,
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

/// Go's words for text that is no JSON, as far as they were recorded (`cloud-init-legacy-046`, `-047`).
fn syntax(body: &[u8], error: &serde_json::Error) -> BodyError {
    if error.is_eof() {
        return BodyError::Cut;
    }
    let line = body.split(|it| *it == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = error.column().saturating_sub(1).min(line.len().saturating_sub(1));
    let found = line.get(at..).map(String::from_utf8_lossy).and_then(|it| it.chars().next()).unwrap_or(' ');
    let start = line[..at].iter().rposition(|it| !it.is_ascii_lowercase()).map_or(0, |it| it + 1);
    let literal = ["null", "true", "false"].into_iter().find(|it| {
        let typed = &line[start..at];
        !typed.is_empty() && it.as_bytes().starts_with(typed) && it.len() > typed.len()
    });
    BodyError::Syntax(match literal {
        Some(literal) => {
            let expected = char::from(literal.as_bytes()[at - start]);
            format!("invalid character '{found}' in literal {literal} (expecting '{expected}')")
        }
        None => format!("invalid character '{found}' looking for beginning of value"),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{check_name, parse_entry};

    #[test]
    fn a_body_that_cannot_be_taken_is_refused_with_the_recorded_text() {
        for (body, text) in [
            ("{", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("{\"a\": trie}", "invalid character 'i' in literal true (expecting 'u')"),
            ("[]", "json: cannot unmarshal array into Go value of type citypes.CI"),
            (
                r#"{"name":"q","cloud-init":{"userdata":"text"}}"#,
                "json: cannot unmarshal string into Go struct field CIData.cloud-init.userdata of type \
                 map[string]interface {}",
            ),
        ] {
            assert_eq!(parse_entry(body.as_bytes()).unwrap_err().to_string(), text, "{body}");
        }
        for body in
            ["x", "{\"a\" 1}", "\n\n}", "\u{e9}", "{\"cloud-init\":{\"userdata\":{\"a\":\"\\u0000\"}}}"]
        {
            assert!(parse_entry(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        assert!(check_name("").is_ok() && check_name("compute").is_ok());
        for name in ["user-data", "network-config", "a/b", "a\nb", &"a".repeat(300)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
