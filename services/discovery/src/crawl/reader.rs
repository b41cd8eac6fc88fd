//! Reading a BMC's resources, each once, as many as it is worth.

use std::collections::HashSet;

use redfish::{Client, Error};
use serde_json::Value;

/// The most resources that are read of one BMC: a blade of four nodes with eight cards each has about 300.
const READS_MAX: usize = 600;
/// The most members of one collection.
const MEMBERS_MAX: usize = 64;
/// So often a resource may not be answered in time before the rest is given up.
const LATE_MAX: usize = 2;

/// A log-in, what was read by it, and what may still be.
pub(super) struct Reader<'a> {
    client: &'a Client,
    seen: HashSet<String>,
    left: usize,
    late: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, seen: HashSet::new(), left: READS_MAX, late: 0 }
    }

    /// Whether everything was read that was asked for.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// A resource; null where there is none, where it makes no sense, or where it was read before.
    pub(super) async fn get(&mut self, path: &str) -> Result<Value, Error> {
        if self.left == 0 || !self.seen.insert(path.trim_end_matches('/').to_owned()) {
            return Ok(Value::Null);
        }
        self.left -= 1;
        let read = self.client.get(path).await;
        self.tolerate(path, read)
    }

    /// The members of a collection; none where there is no such thing.
    pub(super) async fn members(&mut self, collection: &Value) -> Result<Vec<String>, Error> {
        let Some(path) = link(collection) else { return Ok(Vec::new()) };
        if self.left == 0 || !self.seen.insert(path.trim_end_matches('/').to_owned()) {
            return Ok(Vec::new());
        }
        self.left -= 1;
        let read = self.client.members(path).await;
        let mut members = self.tolerate(path, read)?;
        members.truncate(MEMBERS_MAX);
        Ok(members)
    }

    /// What one resource lacks does not spoil the others.
    fn tolerate<T: Default>(&mut self, path: &str, read: Result<T, Error>) -> Result<T, Error> {
        let error = match read {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        if matches!(error, Error::Timeout { .. } | Error::Lost { .. }) {
            self.late += 1;
        }
        let is_over = matches!(error, Error::Connect { .. } | Error::Tls { .. } | Error::Changed { .. });
        if is_over || self.late > LATE_MAX {
            return Err(error);
        }
        tracing::debug!("{}: {path} is left out: {error}", self.client.address());
        Ok(T::default())
    }
}

/// The path that a link names.
pub(super) fn link(value: &Value) -> Option<&str> {
    value["@odata.id"].as_str().filter(|it| it.starts_with('/'))
}
