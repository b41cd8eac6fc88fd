//! Groups: labels in lower case, members in order of xname (recording `smd-groups-2.20`).

use std::collections::BTreeSet;

use domain::Xname;
use domain::inventory::{Group, Inventory};
use serde::{Deserialize, Serialize};

/// A group as a client writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GroupBody {
    label: String,
    description: Option<String>,
    tags: Option<Vec<String>>,
    exclusive_group: Option<String>,
    members: Option<MembersBody>,
}

/// Members as a client writes them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MembersBody {
    pub(crate) ids: Option<Vec<String>>,
}

/// One member as a client writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MemberBody {
    pub(crate) id: String,
}

/// The change of a group: description and tags alone; other members are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GroupPatch {
    pub(crate) description: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
}

/// Why a group is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    #[error("group or partition field has invalid characters")]
    Characters,
    #[error("got HMSTypeInvalid instead of valid type")]
    Xname,
    #[error("Bad partition name. Must be p# or p#.#")]
    PartitionName,
    #[error("the same id is there twice")]
    Twice,
}

/// A label in lower case: letters, digits, `_ . : -`.
pub(crate) fn parse_label(text: &str) -> Option<String> {
    let label = text.to_ascii_lowercase();
    let sound = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b':' | b'-');
    (!label.is_empty() && label.len() <= 255 && label.bytes().all(sound)).then_some(label)
}

/// Tags in lower case.
pub(crate) fn parse_tags(tags: Vec<String>) -> Option<Vec<String>> {
    tags.iter().map(|it| parse_label(it)).collect()
}

impl GroupBody {
    /// The group.
    pub(crate) fn parse(self) -> Result<Group, GroupError> {
        let exclusive = self.exclusive_group.filter(|it| !it.is_empty());
        let exclusive = exclusive.map(|it| parse_label(&it).ok_or(GroupError::Characters)).transpose()?;
        let label = parse_label(&self.label).ok_or(GroupError::Characters)?;
        let tags = parse_tags(self.tags.unwrap_or_default()).ok_or(GroupError::Characters)?;
        let ids = self.members.and_then(|it| it.ids).unwrap_or_default();
        let mut members = BTreeSet::new();
        for id in ids {
            let id: Xname = id.parse().map_err(|_| GroupError::Xname)?;
            if !members.insert(id) {
                return Err(GroupError::Twice);
            }
        }
        let description = self.description.unwrap_or_default();
        Ok(Group { label, description, tags, exclusive_group: exclusive, members })
    }
}

/// A group as the SMD API writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupJson<'a> {
    label: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclusive_group: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    members: MembersJson<'a>,
}

/// Members as the SMD API writes them.
#[derive(Debug, Serialize)]
pub(crate) struct MembersJson<'a> {
    pub(crate) ids: Vec<&'a Xname>,
}

/// Those of a group's members that are in a partition; `NULL`: in none.
pub(crate) fn members<'a>(
    group: &'a Group,
    partition: Option<&str>,
    inventory: &Inventory,
) -> MembersJson<'a> {
    let wanted = partition.filter(|it| !it.is_empty());
    let inside = |id: &&Xname| match wanted {
        None => true,
        Some("NULL") => inventory.partition_of(id).is_none(),
        Some(name) => inventory.partition_of(id).is_some_and(|it| it.eq_ignore_ascii_case(name)),
    };
    MembersJson { ids: group.members.iter().filter(inside).collect() }
}

/// How a group is shown.
pub(crate) fn show<'a>(group: &'a Group, partition: Option<&str>, inventory: &Inventory) -> GroupJson<'a> {
    GroupJson {
        label: &group.label,
        description: &group.description,
        exclusive_group: group.exclusive_group.as_deref(),
        tags: &group.tags,
        members: members(group, partition, inventory),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_label;

    #[test]
    fn a_label_is_put_in_lower_case() {
        assert_eq!(parse_label("Upper-Case.1").as_deref(), Some("upper-case.1"));
        assert_eq!(parse_label("bad label!"), None);
        assert_eq!(parse_label(""), None);
    }
}
