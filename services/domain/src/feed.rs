//! The change feed: how one service lets others follow its tables (INTERFACES 1).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The first line of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Which history the numbers belong to; it changes on restore.
    pub epoch: Uuid,
    /// The last transaction the snapshot holds.
    pub seq: i64,
    /// The version of the rows.
    pub schema: u32,
}

/// One row as it stands after a transaction; `row` null means deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `component`, `interface`, `endpoint`, `group`, `bootparams`, `cloud-init-group`, `cloud-init-node`, …
    pub kind: String,
    /// The row's key within its kind.
    pub id: String,
    /// The row, or null.
    pub row: Value,
}

/// A line of `/changes`: a change of transaction `seq`, or, without a kind, the mark that `seq` is whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The transaction's number.
    pub seq: i64,
    /// The change; none on a mark.
    #[serde(flatten)]
    pub change: Option<Change>,
}

impl Change {
    /// A row that was made or changed.
    #[must_use]
    pub fn put(kind: &str, id: impl Into<String>, row: Value) -> Self {
        Self { kind: kind.to_owned(), id: id.into(), row }
    }

    /// A row that is gone.
    #[must_use]
    pub fn delete(kind: &str, id: impl Into<String>) -> Self {
        Self::put(kind, id, Value::Null)
    }
}

/// What follows a feed: an index over rows, changed one row at a time.
pub trait View: Default + Send + Sync + 'static {
    /// Takes one row; unknown kinds and members are ignored.
    ///
    /// # Errors
    ///
    /// A row that does not parse; the caller logs it and goes on.
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error>;
}
