//! Partitions: `p1`, or `p1.2` within it (recording `smd-groups-2.20`).

use std::collections::BTreeSet;

use domain::Xname;
use domain::inventory::Partition;
use serde::{Deserialize, Serialize};

use super::group::{GroupError, MembersBody, MembersJson, parse_tags};

/// A partition as a client writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartitionBody {
    /// `p1` or `p1.2`.
    name: String,
    description: Option<String>,
    tags: Option<Vec<String>>,
    members: Option<MembersBody>,
}

/// A name in lower case, `p#` or `p#.#`.
pub(crate) fn parse_name(text: &str) -> Option<String> {
    let id: Xname = text.parse().ok()?;
    (id.kind().name() == "Partition").then(|| id.to_string())
}

impl PartitionBody {
    /// The partition, or the recorded sentence after `couldn't validate partition: `.
    pub(crate) fn parse(self) -> Result<Partition, GroupError> {
        let name = parse_name(&self.name).ok_or(GroupError::PartitionName)?;
        let tags = parse_tags(self.tags.unwrap_or_default()).ok_or(GroupError::Characters)?;
        let mut members = BTreeSet::new();
        for id in self.members.and_then(|it| it.ids).unwrap_or_default() {
            if !members.insert(id.parse().map_err(|_| GroupError::Xname)?) {
                return Err(GroupError::Twice);
            }
        }
        Ok(Partition { name, description: self.description.unwrap_or_default(), tags, members })
    }
}

/// A partition as the SMD API writes it.
#[derive(Debug, Serialize)]
pub(crate) struct PartitionJson<'a> {
    name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    members: MembersJson<'a>,
}

/// How a partition is shown.
pub(crate) fn show(it: &Partition) -> PartitionJson<'_> {
    PartitionJson { name: &it.name, description: &it.description, tags: &it.tags, members: members(it) }
}

/// How its members are shown.
pub(crate) fn members(it: &Partition) -> MembersJson<'_> {
    MembersJson { ids: it.members.iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::parse_name;

    #[test]
    fn a_name_is_a_p_with_one_number_or_two() {
        assert_eq!(parse_name("P1").as_deref(), Some("p1"));
        assert_eq!(parse_name("p1.2").as_deref(), Some("p1.2"));
        for text in ["BAD NAME", "p", "p1.2.3", "x1", "1", ""] {
            assert_eq!(parse_name(text), None, "{text}");
        }
    }
}
