//! What is printed: JSON on one line with its members sorted, the same over several lines, or YAML.

use std::io::Write;

use serde_json::{Map, Value};

use super::error::{Done, Stop};
use super::yaml;

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// JSON on one line
    Json,
    /// JSON over several lines
    JsonPretty,
    /// YAML
    Yaml,
}

impl Format {
    /// By the name that flags and configuration use.
    pub(super) fn find(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "json-pretty" => Some(Self::JsonPretty),
            "yaml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Output {
    /// How to print: json, json-pretty or yaml
    #[arg(long = "format-output", short = 'F', alias = "output-format", value_enum, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
}

/// The value with its members sorted, which the original's are by accident of its library.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(Map::from_iter(members))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The text of a value, without a line break at the end of JSON.
pub(super) fn text(value: &Value, format: Format) -> String {
    match format {
        Format::Json => escaped(&value.to_string()),
        Format::JsonPretty => escaped(&format!("{value:#}")),
        Format::Yaml => yaml::write(value),
    }
}

/// JSON that may stand in a page: what HTML would read is escaped.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", letter as u32)),
            other => text.push(other),
        }
    }
    text
}

/// Prints bytes as they are. A reader that has gone away is no failure of ours to tell of.
pub(super) fn print(bytes: impl AsRef<[u8]>) -> Done {
    let mut out = std::io::stdout();
    match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Stop::failed("cannot write to standard output").because(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Format, sorted, text};

    #[test]
    fn json_is_sorted_and_safe_in_a_page() {
        let value = sorted(json!({"b": [{"d": 1, "c": "<a&b>"}], "a": null}));
        assert_eq!(text(&value, Format::Json), r#"{"a":null,"b":[{"c":"\u003ca\u0026b\u003e","d":1}]}"#);
        assert!(text(&value, Format::JsonPretty).starts_with("{\n  \"a\": null,\n  \"b\": [\n"));
    }
}
