//! Filters on components: repeatable (or-ed), and-ed across names, `!X` negates, values in any case; unknown
//! names are ignored (recordings `smd-components-016` to `-043`).

use std::collections::HashMap;

use domain::inventory::{Component, Inventory};
use domain::{Xname, XnameKind};
use serde_json::Value;

use super::component::Fields;
use super::words;

/// The parameters of a query, names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Params(HashMap<String, Vec<String>>);

impl Params {
    /// From a query string.
    pub(crate) fn of_query(query: Option<&str>) -> Self {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            params.0.entry(name.to_ascii_lowercase()).or_default().push(value.into_owned());
        }
        params
    }

    /// From the members of a JSON body.
    pub(crate) fn of_body(body: &Value) -> Self {
        let text = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
        let mut params = Self::default();
        for (name, value) in body.as_object().into_iter().flatten() {
            let values = match value {
                Value::Null => continue,
                Value::Array(items) => items.iter().map(text).collect(),
                other => vec![text(other)],
            };
            params.0.insert(name.to_ascii_lowercase(), values);
        }
        params
    }

    /// The values of a name.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn is_true(&self, name: &str) -> bool {
        self.all(name)
            .first()
            .is_some_and(|it| matches!(it.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// The fields asked for.
    pub(crate) fn fields(&self) -> Fields {
        let names = [
            ("stateonly", Fields::State),
            ("flagonly", Fields::Flag),
            ("roleonly", Fields::Role),
            ("nidonly", Fields::Nid),
        ];
        names.iter().find(|it| self.is_true(it.0)).map_or(Fields::All, |it| it.1)
    }
}

#[derive(Clone, Copy, Debug)]
enum Key {
    Id,
    Type,
    State,
    Flag,
    Software,
    Enabled,
    Role,
    SubRole,
    Arch,
    Class,
    Group,
    Partition,
}

const KEYS: [(&str, Key); 12] = [
    ("id", Key::Id),
    ("type", Key::Type),
    ("state", Key::State),
    ("flag", Key::Flag),
    ("softwarestatus", Key::Software),
    ("enabled", Key::Enabled),
    ("role", Key::Role),
    ("subrole", Key::SubRole),
    ("arch", Key::Arch),
    ("class", Key::Class),
    ("group", Key::Group),
    ("partition", Key::Partition),
];

#[derive(Debug)]
struct Test {
    key: Key,
    any: Vec<String>,
    none: Vec<String>,
}

/// What a component must be like.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    tests: Vec<Test>,
    /// Ends included; none: any number.
    nids: Vec<(i64, i64)>,
    without_nids: Vec<i64>,
}

const NOT_A_NUMBER: &str = "a required argument was not an integer";

impl Filter {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// The recorded sentence, which follows `bad query param: `.
    pub(crate) fn parse(params: &Params) -> Result<Self, &'static str> {
        let mut filter = Self::default();
        for (name, key) in KEYS {
            let mut test = Test { key, any: Vec::new(), none: Vec::new() };
            for value in params.all(name) {
                match value.strip_prefix('!') {
                    Some(value) => test.none.push(normal(key, value)?),
                    None => test.any.push(normal(key, value)?),
                }
            }
            if !(test.any.is_empty() && test.none.is_empty()) {
                filter.tests.push(test);
            }
        }
        let number = |it: &String| it.parse::<i64>().map_err(|_| NOT_A_NUMBER);
        let (starts, ends) = (params.all("nid_start"), params.all("nid_end"));
        for at in 0..starts.len().max(ends.len()) {
            // An end alone starts at the first number that is one.
            let start = starts.get(at).map_or(Ok(0), number)?;
            filter.nids.push((start, ends.get(at).map_or(Ok(i64::MAX), number)?));
        }
        for value in params.all("nid") {
            match value.strip_prefix('!') {
                Some(value) => filter.without_nids.push(number(&value.to_owned())?),
                None => filter.nids.push((number(value)?, number(value)?)),
            }
        }
        Ok(filter)
    }

    /// Takes numbers and ranges such as `1-3` in place of those of the parameters.
    pub(crate) fn set_nid_ranges(&mut self, ranges: &[String]) -> Result<(), &'static str> {
        self.nids.clear();
        for range in ranges {
            let ends = range.split_once('-').unwrap_or((range, range));
            if ends.0.is_empty() || ends.1.is_empty() {
                return Err("argument was not a valid NID Range");
            }
            let number = |it: &str| it.parse::<i64>().map_err(|_| NOT_A_NUMBER);
            self.nids.push((number(ends.0)?, number(ends.1)?));
        }
        Ok(())
    }

    /// Whether a component passes.
    pub(crate) fn admits(&self, it: &Component, inventory: &Inventory) -> bool {
        let nid = it.nid.map(|it| it.0);
        let in_range = |range: &(i64, i64)| nid.is_some_and(|nid| (range.0..=range.1).contains(&nid));
        (self.nids.is_empty() || self.nids.iter().any(in_range))
            && !nid.is_some_and(|nid| self.without_nids.contains(&nid))
            && self.tests.iter().all(|test| test.admits(it, inventory))
    }
}

impl Test {
    fn admits(&self, it: &Component, inventory: &Inventory) -> bool {
        if let Key::Group = self.key {
            let within = |label: &String| match label.as_str() {
                "NULL" => inventory.groups_of(&it.id).next().is_none(),
                label => inventory.group(label).is_some_and(|group| group.members.contains(&it.id)),
            };
            return (self.any.is_empty() || self.any.iter().any(within)) && !self.none.iter().any(within);
        }
        let value = match self.key {
            Key::Id => it.id.as_str(),
            Key::Type => it.id.kind().name(),
            Key::State => it.state.as_deref().unwrap_or_default(),
            Key::Flag => it.flag.as_deref().unwrap_or_default(),
            Key::Software => it.software_status.as_deref().unwrap_or_default(),
            Key::Enabled => {
                if it.enabled == Some(true) {
                    "true"
                } else {
                    "false"
                }
            }
            Key::Role => it.role.as_deref().unwrap_or_default(),
            Key::SubRole => it.sub_role.as_deref().unwrap_or_default(),
            Key::Arch => it.arch.as_deref().unwrap_or_default(),
            Key::Class => it.class.as_deref().unwrap_or_default(),
            Key::Group | Key::Partition => inventory.partition_of(&it.id).unwrap_or("NULL"),
        };
        let same = |other: &String| other == value;
        (self.any.is_empty() || self.any.iter().any(same)) && !self.none.iter().any(same)
    }
}

/// A value as components have it.
fn normal(key: Key, value: &str) -> Result<String, &'static str> {
    let word = |words: &words::Words, wrong| {
        if value.is_empty() { Ok(String::new()) } else { words.find(value).map(str::to_owned).ok_or(wrong) }
    };
    match key {
        Key::Id => {
            let id: Result<Xname, _> = value.parse();
            id.map(|it| it.to_string()).map_err(|_| "Argument was not a valid xname ID")
        }
        Key::Type => {
            let kind = XnameKind::named(value).ok_or("Argument was not a valid HMS Type")?;
            Ok(kind.name().to_owned())
        }
        Key::State => word(&words::STATE, "Argument was not a valid HMS State"),
        Key::Flag => word(&words::FLAG, "Argument was not a valid HMS Flag"),
        Key::Role => word(&words::ROLE, "Argument was not a valid HMS Role"),
        Key::SubRole => word(&words::SUB_ROLE, "Argument was not a valid HMS SubRole"),
        Key::Arch => word(&words::ARCH, "Argument was not a valid HMS Arch"),
        Key::Class => word(&words::CLASS, "Argument was not a valid HMS Class"),
        Key::Enabled => match value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Ok("true".to_owned()),
            "false" | "f" | "0" => Ok("false".to_owned()),
            _ => Err("a required argument did not match any valid input"),
        },
        Key::Software => Ok(value.to_owned()),
        Key::Group | Key::Partition if value == "NULL" => Ok(value.to_owned()),
        Key::Group | Key::Partition => super::group::parse_label(value).ok_or("Argument was not valid"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Nid;
    use domain::inventory::Inventory;

    use super::{Filter, Params};
    use crate::model::component::bare;

    #[test]
    fn names_are_anded_values_ored_and_a_bang_negates() {
        let mut node = bare("x1c0s0b0n0".parse().unwrap());
        node.nid = Some(Nid(7));
        let admits = |query: &str| {
            let filter = Filter::parse(&Params::of_query(Some(query))).unwrap();
            filter.admits(&node, &Inventory::default())
        };
        assert!(admits("") && admits("bogus=1") && admits("type=node") && admits("type=Node&type=NodeBMC"));
        assert!(!admits("type=!Node") && !admits("type=Node&flag=Alert") && !admits("enabled=false"));
        assert!(
            admits("nid=7")
                && admits("nid_start=1&nid_end=7")
                && admits("nid_end=9")
                && !admits("nid_start=8")
        );
        assert!(admits("group=NULL") && !admits("group=compute") && admits("group=!compute"));
        for query in ["type=Bogus", "nid=abc", "id=bogus", "enabled=maybe"] {
            assert!(Filter::parse(&Params::of_query(Some(query))).is_err(), "{query}");
        }
    }
}
