//! What join holds of its own tables: who is enrolled by what, and the sealed SSH key.

use std::collections::BTreeMap;

use domain::Xname;
use domain::feed::{Change, View};
use serde::{Deserialize, Serialize};

/// The kind of the feed's rows of enrolments, and of the SSH key's one row.
const ENROLMENT: &str = "enrolment";
const SSH_KEY: &str = "ssh-key";

/// By what a node is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The endorsement key of its TPM.
    Ek,
    /// The host keys of its SSH server.
    HostKeys,
}

/// By what a node is known, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    pub(crate) node: Xname,
    pub(crate) kind: Kind,
    /// A fingerprint, or public keys, one a line.
    pub(crate) value: String,
    /// Taken on first use, not from an administrator.
    #[serde(default)]
    pub(crate) first_use: bool,
    /// RFC 3339.
    pub(crate) created: String,
}

/// The key that tokens are pushed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SshKey {
    /// In OpenSSH's form.
    pub(crate) public: String,
    /// The sealed seed, in hexadecimal.
    pub(crate) sealed: String,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    enrolments: BTreeMap<(Xname, Kind), Enrolment>,
    ssh_key: Option<SshKey>,
}

impl Kind {
    /// The word of the database, and of paths.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ek => "ek",
            Self::HostKeys => "host-keys",
        }
    }
}

impl View for Held {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let gone = change.row.is_null();
        match change.kind.as_str() {
            ENROLMENT => {
                if let Some(key) = key_of(&change.id) {
                    self.enrolments.remove(&key);
                }
                if !gone {
                    let row = Enrolment::deserialize(&change.row)?;
                    self.enrolments.insert((row.node.clone(), row.kind), row);
                }
            }
            SSH_KEY => self.ssh_key = if gone { None } else { Some(SshKey::deserialize(&change.row)?) },
            _ => {}
        }
        Ok(())
    }
}

impl Held {
    pub(crate) fn find(&self, node: &Xname, kind: Kind) -> Option<&Enrolment> {
        self.enrolments.get(&(node.clone(), kind))
    }

    pub(crate) fn list(&self) -> Vec<Enrolment> {
        self.enrolments.values().cloned().collect()
    }

    pub(crate) fn ssh_key(&self) -> Option<&SshKey> {
        self.ssh_key.as_ref()
    }
}

impl Enrolment {
    fn id(&self) -> String {
        id_of(&self.node, self.kind)
    }

    /// The feed's row.
    pub(crate) fn change(&self) -> Change {
        Change::put(ENROLMENT, self.id(), serde_json::to_value(self).unwrap_or_default())
    }
}

impl SshKey {
    /// The feed's row.
    pub(crate) fn change(&self) -> Change {
        Change::put(SSH_KEY, "only", serde_json::to_value(self).unwrap_or_default())
    }
}

/// The feed's row of an enrolment that is no more.
pub(crate) fn gone(node: &Xname, kind: Kind) -> Change {
    Change::delete(ENROLMENT, id_of(node, kind))
}

fn id_of(node: &Xname, kind: Kind) -> String {
    format!("{node}/{}", kind.word())
}

fn key_of(id: &str) -> Option<(Xname, Kind)> {
    let (node, word) = id.split_once('/')?;
    let kind = [Kind::Ek, Kind::HostKeys].into_iter().find(|it| it.word() == word)?;
    Some((node.parse().ok()?, kind))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Enrolment, Held, Kind, View, gone};

    #[test]
    fn a_node_is_known_by_one_key_of_a_kind() {
        let mut held = Held::default();
        let node: domain::Xname = "x0c0s0b0n0".parse().unwrap();
        let mut row = Enrolment {
            node: node.clone(),
            kind: Kind::Ek,
            value: "a".to_owned(),
            first_use: false,
            created: String::new(),
        };
        held.apply(&row.change()).unwrap();
        row.value = "b".to_owned();
        held.apply(&row.change()).unwrap();
        assert_eq!((held.list().len(), held.find(&node, Kind::Ek).unwrap().value.as_str()), (1, "b"));
        assert!(held.find(&node, Kind::HostKeys).is_none());
        held.apply(&gone(&node, Kind::Ek)).unwrap();
        assert!(held.list().is_empty());
    }
}
