//! Times in which a site wants nothing changed.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A time in which configuration, updates and roll-outs are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// Its beginning, RFC 3339: `"2026-12-20T00:00:00Z"`.
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    /// Its end, RFC 3339.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// Why, for whoever is refused.
    #[serde(default)]
    pub reason: String,
}

impl Freeze {
    /// Whether it covers an instant.
    #[must_use]
    pub fn covers(&self, now: OffsetDateTime) -> bool {
        (self.from..self.until).contains(&now)
    }
}
