//! What is sent: `-d DATA`, `-d @FILE` and `-f FORMAT` as today, `-f FILE` and `--payload-format FORMAT` as
//! the bootcamp has it. `-` is standard input.

use std::io::Read;

use serde_json::Value;

use super::Session;
use super::error::Stop;
use super::log;
use super::output::Format;

/// A payload of ten thousand nodes is some megabytes.
const PAYLOAD_MAX: u64 = 256 << 20;

/// What is sent.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Payload {
    /// The data, or @FILE, or @- for standard input
    #[arg(long, short = 'd', value_name = "DATA|@FILE")]
    pub(super) data: Option<String>,
    /// Its format: json, json-pretty or yaml; anything else is the file, as the older syntax has it
    #[arg(long = "format-input", short = 'f', value_name = "FORMAT|FILE")]
    format: Option<String>,
    /// The file
    #[arg(long, hide = true, value_name = "FILE")]
    payload: Option<String>,
    /// Its format
    #[arg(long, short = 'F', hide = true, value_enum, value_name = "FORMAT")]
    payload_format: Option<Format>,
}

/// Where the data are.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    Text(&'a str),
    File(&'a str),
}

impl Payload {
    /// Data and format that flags of other names have.
    pub(super) fn of(data: Option<String>, format: Option<String>) -> Self {
        Self { data, format, ..Self::default() }
    }

    /// Whether there is any.
    pub(super) fn is_given(&self) -> bool {
        self.source().is_some()
    }

    fn source(&self) -> Option<Source<'_>> {
        let file = self.format.as_deref().filter(|it| Format::find(it).is_none());
        match (self.data.as_deref(), self.payload.as_deref().or(file)) {
            (Some(data), _) => Some(data.strip_prefix('@').map_or(Source::Text(data), Source::File)),
            (None, Some(file)) => Some(Source::File(file)),
            (None, None) => None,
        }
    }

    fn format(&self, session: &Session) -> Format {
        let named = self.format.as_deref().and_then(Format::find);
        let configured = || Format::find(session.config.text("default-input-format"));
        self.payload_format.or(named).or_else(configured).unwrap_or(Format::Json)
    }

    /// The data, None if there are none.
    pub(super) fn read(&self, session: &Session) -> Result<Option<Value>, Stop> {
        let format = self.format(session);
        self.source().map(|it| parse(&it.text()?, format)).transpose()
    }

    /// The data, from standard input if nothing else is named.
    pub(super) fn read_or_input(&self, session: &Session) -> Result<Value, Stop> {
        match self.read(session)? {
            Some(value) => Ok(value),
            None => parse(&Source::File("-").text()?, self.format(session)),
        }
    }
}

impl Source<'_> {
    fn text(&self) -> Result<String, Stop> {
        let mut text = String::new();
        match self {
            Self::Text(data) => return Ok((*data).to_owned()),
            Self::File("-") => std::io::stdin().take(PAYLOAD_MAX).read_to_string(&mut text),
            Self::File(path) => {
                log::debug(format!("the data are in {path}"));
                let file = std::fs::File::open(path);
                file.and_then(|it| it.take(PAYLOAD_MAX).read_to_string(&mut text))
            }
        }
        .map_err(|it| {
            let Self::File(path) = self else { return Stop::failed("cannot read the data").because(it) };
            Stop::failed(format!("cannot read the data from {path}")).because(it)
        })?;
        Ok(text)
    }
}

fn parse(text: &str, format: Format) -> Result<Value, Stop> {
    match format {
        Format::Json | Format::JsonPretty => serde_json::from_str(text)
            .map_err(|it| Stop::failed("the data are no JSON; -f yaml reads YAML").because(it)),
        Format::Yaml => {
            serde_saphyr::from_str(text).map_err(|it| Stop::failed("the data are no YAML").because(it))
        }
    }
}

/// The entries of data: a list, the list below `member`, or one entry alone.
pub(super) fn entries(value: Value, member: &str) -> Result<Vec<Value>, Stop> {
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut members) => match members.shift_remove(member) {
            Some(Value::Array(list)) => list,
            Some(_) => return Err(Stop::failed(format!("{member} is no list"))),
            None => vec![Value::Object(members)],
        },
        _ => return Err(Stop::failed("the data are neither a list nor an entry")),
    };
    match list.iter().position(|it| !it.is_object()) {
        Some(index) => Err(Stop::failed(format!("entry {} of the data has no members", index + 1))),
        None => Ok(list),
    }
}

/// The member of an entry that names it.
pub(super) fn name_of<'a>(entry: &'a Value, members: &[&str]) -> Result<&'a str, Stop> {
    let found = members.iter().find_map(|it| entry[*it].as_str()).filter(|it| !it.is_empty());
    found.ok_or_else(|| Stop::failed(format!("an entry of the data has no {}", members[0])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Payload, Source, entries};

    #[test]
    fn both_syntaxes_name_the_data() {
        let payload = |data: Option<&str>, format: Option<&str>| Payload {
            data: data.map(str::to_owned),
            format: format.map(str::to_owned),
            ..Payload::default()
        };
        assert_eq!(payload(Some("@n.yaml"), Some("yaml")).source(), Some(Source::File("n.yaml")));
        assert_eq!(payload(Some("{}"), None).source(), Some(Source::Text("{}")));
        assert_eq!(payload(None, Some("n.yaml")).source(), Some(Source::File("n.yaml")));
        assert_eq!(payload(None, Some("yaml")).source(), None);
    }

    #[test]
    fn entries_come_alone_or_in_lists() {
        for value in [json!({"ID": "x"}), json!([{"ID": "x"}]), json!({"Components": [{"ID": "x"}]})] {
            assert_eq!(entries(value, "Components").expect("entries"), [json!({"ID": "x"})]);
        }
        assert!(entries(json!(["x"]), "Components").is_err());
        assert!(entries(json!("x"), "Components").is_err());
    }
}
