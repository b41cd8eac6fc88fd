//! The present API (cloud-init 1.x): what it keeps, and the meta-data made of it.
//!
//! Groups are the inventory's, by label. Every node fetches the same user-data and, as vendor-data, a list of
//! the files of its groups; what is the node's own is in its meta-data, which the files are templates of.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::feed::Change;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Part;
use super::facts::{Facts, instance_id};

/// The kinds of the present API's rows in the change feed.
pub(crate) const GROUP: &str = "cloud-init-group";
pub(crate) const INSTANCE: &str = "cloud-init-node";
pub(crate) const DEFAULTS: &str = "cloud-init-defaults";

/// What every node fetches as user-data, and the file of a group without one.
pub(crate) const NOTHING: &str = "#cloud-config";
/// Digits of a node's number in its name, if the defaults do not say.
const NID_LENGTH: usize = 4;
/// The most digits that are taken.
pub(crate) const NID_LENGTH_MAX: i64 = 64;

/// What the nodes of a group are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Group {
    /// The group's label.
    #[schema(required = true, min_length = 1, max_length = 256, pattern = "^[^/\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub(crate) name: String,
    /// Free text; part of the meta-data.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) description: String,
    /// Values for the nodes' meta-data.
    #[serde(rename = "meta-data", skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(nullable)]
    pub(crate) meta_data: BTreeMap<String, Value>,
    /// The file that nodes of the group include.
    #[schema(nullable)]
    pub(crate) file: GroupFile,
    /// Free words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(nullable)]
    pub(crate) versions: BTreeMap<String, String>,
}

/// A file for cloud-init.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct GroupFile {
    /// The file, in the encoding named beside it.
    #[schema(nullable)]
    pub(crate) content: String,
    /// Free text.
    #[schema(nullable)]
    pub(crate) filename: String,
    /// `base64`, or as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) encoding: String,
}

/// What is set for one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct InstanceInfo {
    /// The node, as the writer calls it.
    #[schema(nullable)]
    pub(crate) id: String,
    /// What cloud-init knows the machine by; it stays as it was first handed out.
    #[schema(nullable)]
    pub(crate) instance_id: String,
    /// The node's own name.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) local_hostname: String,
    /// How others call it, with a domain perhaps.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) hostname: String,
    /// Kept, and no part of the meta-data.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) cluster_name: String,
    /// Kept, and no part of the meta-data.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) region: String,
    /// Kept, and no part of the meta-data.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) availability_zone: String,
    /// Kept, and no part of the meta-data.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) cloud_provider: String,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) instance_type: String,
    /// Where this node finds the files of its groups.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) cloud_init_base_url: String,
    /// SSH keys beside the cluster's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub(crate) public_keys: Vec<String>,
}

/// What holds for every node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct ClusterDefaults {
    /// Free text.
    #[serde(rename = "cloud_provider", skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) cloud_provider: String,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) region: String,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) availability_zone: String,
    /// The cluster's long name.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) cluster_name: String,
    /// SSH keys for every node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub(crate) public_keys: Vec<String>,
    /// Where nodes find the files of their groups, `http://172.16.0.254:8081/cloud-init`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) base_url: String,
    /// What stands before the number in a node's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(nullable)]
    pub(crate) short_name: String,
    /// Digits of the number in a node's name.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(nullable, minimum = 0, maximum = 64)]
    pub(crate) nid_length: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Everything of the present API, in memory.
#[derive(Debug, Default)]
pub(crate) struct Current {
    groups: BTreeMap<String, Arc<Kept>>,
    instances: BTreeMap<String, Arc<InstanceInfo>>,
    pub(crate) defaults: ClusterDefaults,
}

/// A group with its file as nodes fetch it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) group: Group,
    pub(crate) file: Bytes,
}

/// What stands in for defaults that nobody set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Naming<'a> {
    /// Nothing, as recorded: the number alone is a node's name (recording `cloud-init-010`).
    Recorded,
    /// The node's own name, and the cluster's.
    Own { cluster: &'a str },
}

impl GroupFile {
    /// The file as nodes fetch it.
    ///
    /// # Errors
    ///
    /// Where it stops being base64.
    pub(crate) fn decode(&self) -> Result<Bytes, usize> {
        if self.encoding != "base64" {
            return Ok(self.content.clone().into());
        }
        // Line breaks do not count (RFC 2045 section 6.8).
        let text: String = self.content.chars().filter(|it| !matches!(it, '\r' | '\n')).collect();
        STANDARD.decode(&text).map(Bytes::from).map_err(|error| match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len(),
        })
    }
}

impl ClusterDefaults {
    /// Takes what is given; what is empty stays as it is (recording `cloud-init-014`).
    pub(crate) fn take(&mut self, given: Self) {
        let take = |into: &mut String, from: String| {
            if !from.is_empty() {
                *into = from;
            }
        };
        take(&mut self.cloud_provider, given.cloud_provider);
        take(&mut self.region, given.region);
        take(&mut self.availability_zone, given.availability_zone);
        take(&mut self.cluster_name, given.cluster_name);
        take(&mut self.base_url, given.base_url.trim_end_matches('/').to_owned());
        take(&mut self.short_name, given.short_name);
        if !given.public_keys.is_empty() {
            self.public_keys = given.public_keys;
        }
        if given.nid_length != 0 {
            self.nid_length = given.nid_length;
        }
    }
}

impl Current {
    /// Takes a row of one of the present API's kinds.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let gone = change.row.is_null();
        match change.kind.as_str() {
            GROUP if gone => drop(self.groups.remove(&change.id)),
            GROUP => {
                let group = Group::deserialize(&change.row)?;
                let file = group.file.decode().unwrap_or_else(|_| Bytes::from_static(NOTHING.as_bytes()));
                self.groups.insert(change.id.clone(), Arc::new(Kept { group, file }));
            }
            INSTANCE if gone => drop(self.instances.remove(&change.id)),
            INSTANCE => {
                let info = Arc::new(InstanceInfo::deserialize(&change.row)?);
                self.instances.insert(change.id.clone(), info);
            }
            DEFAULTS if gone => self.defaults = ClusterDefaults::default(),
            DEFAULTS => self.defaults = ClusterDefaults::deserialize(&change.row)?,
            _ => {}
        }
        Ok(())
    }

    /// Every group in order of name.
    pub(crate) fn groups(&self) -> &BTreeMap<String, Arc<Kept>> {
        &self.groups
    }

    /// What is set for a node.
    pub(crate) fn instance(&self, xname: &str) -> Option<&Arc<InstanceInfo>> {
        self.instances.get(xname)
    }

    /// What a node of this group fetches as the group's file.
    pub(crate) fn file(&self, group: &str) -> Bytes {
        self.groups.get(group).map_or(Bytes::from_static(NOTHING.as_bytes()), |it| it.file.clone())
    }

    /// Where a node finds the files of its groups, if that is set.
    pub(crate) fn base_url(&self, xname: &str) -> Option<&str> {
        let own = self.instances.get(xname).map(|it| it.cloud_init_base_url.as_str());
        own.filter(|it| !it.is_empty()).or(Some(self.defaults.base_url.as_str())).filter(|it| !it.is_empty())
    }

    /// The meta-data of a node, its members in the recorded order; `instead` counts in place of the group of
    /// its name.
    pub(crate) fn meta_data(
        &self,
        node: &Facts,
        naming: Naming<'_>,
        instead: Option<(&str, &Group)>,
    ) -> Map<String, Value> {
        let none = InstanceInfo::default();
        let info = self.instances.get(node.xname.as_str()).map_or(&none, |it| it);
        let defaults = &self.defaults;
        let cluster = match naming {
            Naming::Own { cluster } if defaults.cluster_name.is_empty() => cluster,
            _ => &defaults.cluster_name,
        };
        let or = |own: &String| if own.is_empty() { self.hostname(node, naming) } else { own.clone() };
        let instance_id = match info.instance_id.as_str() {
            "" => instance_id(&node.xname),
            own => own.to_owned(),
        };
        let mut groups = Map::new();
        for label in &node.groups {
            let group = match instead {
                Some((name, group)) if name == label => Some(group),
                _ => self.groups.get(label).map(|it| &it.group),
            };
            groups.insert(label.clone(), group_data(group));
        }
        let mut vendor = members([("version", "1.0")]);
        vendor.extend(members([
            ("cloud_init_base_url", self.base_url(node.xname.as_str()).unwrap_or_default()),
            ("cluster_name", cluster),
        ]));
        vendor.insert("groups".to_owned(), crate::wire::sorted(Value::Object(groups)));
        let mut v1 = members([
            ("availability_zone", defaults.availability_zone.as_str()),
            ("instance_id", &instance_id),
            ("instance_type", &info.instance_type),
            ("region", &defaults.region),
        ]);
        v1.insert("local_ipv4".to_owned(), node.address.clone().into());
        v1.extend(members([("cloud_provider", defaults.cloud_provider.as_str())]));
        let keys: Vec<&String> = defaults.public_keys.iter().chain(&info.public_keys).collect();
        if !keys.is_empty() {
            v1.insert("public_keys".to_owned(), json!(keys));
        }
        v1.insert("vendor_data".to_owned(), vendor.into());
        let mut all = Map::new();
        all.insert("instance-id".to_owned(), instance_id.into());
        all.insert("local-hostname".to_owned(), or(&info.local_hostname).into());
        all.insert("hostname".to_owned(), or(&info.hostname).into());
        all.insert("cluster-name".to_owned(), cluster.into());
        all.insert("instance_data".to_owned(), json!({ "v1": v1 }));
        all
    }

    /// A node's name, if nothing is set for it: the short name, or two letters of the cluster's, and its
    /// number.
    fn hostname(&self, node: &Facts, naming: Naming<'_>) -> String {
        let defaults = &self.defaults;
        let short = match (defaults.short_name.as_str(), naming) {
            ("", Naming::Own { .. }) => return node.name.clone(),
            ("", Naming::Recorded) => defaults.cluster_name.chars().take(2).collect(),
            (short, _) => short.to_owned(),
        };
        let width = match usize::try_from(defaults.nid_length.min(NID_LENGTH_MAX)) {
            Ok(0) | Err(_) => NID_LENGTH,
            Ok(width) => width,
        };
        format!("{short}{:0width$}", node.nid)
    }
}

/// These members without those that are empty.
fn members<const N: usize>(all: [(&str, &str); N]) -> Map<String, Value> {
    let given = all.into_iter().filter(|it| !it.1.is_empty());
    given.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// A group as meta-data shows it; the group's own values come last, over the description too.
fn group_data(group: Option<&Group>) -> Value {
    let none = Part::new();
    let (description, values) = group.map_or(("", &none), |it| (it.description.as_str(), &it.meta_data));
    let description = if description.is_empty() { "No description Found" } else { description };
    let mut data = Map::new();
    data.insert("Description".to_owned(), description.into());
    data.extend(values.iter().map(|(key, value)| (key.clone(), value.clone())));
    data.into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
