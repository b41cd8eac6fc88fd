//! From when to when a certificate is good.

use std::time::Duration;

use time::OffsetDateTime;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The root's life, ten years.
const ROOT_LIFE: Duration = Duration::from_secs(3652 * 24 * 3600);
/// An intermediate's life, two years.
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(730 * 24 * 3600);
/// Certificates are good from some time before they were made, for machines whose clock is behind: nodes
/// without a battery get their time only after they have fetched it.
pub(crate) const AUTHORITY_BACKDATE: Duration = DAY;
const LEAF_BACKDATE: Duration = Duration::from_secs(3600);

/// A time in which a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Validity {
    fn new(now: OffsetDateTime, backdate: Duration, life: Duration) -> Self {
        // X.509 counts whole seconds.
        let now = now.replace_nanosecond(0).unwrap_or(now);
        Self { not_before: now - backdate, not_after: now + life }
    }

    pub(crate) fn root(now: OffsetDateTime) -> Self {
        Self::new(now, AUTHORITY_BACKDATE, ROOT_LIFE)
    }

    /// Never beyond the root's.
    pub(crate) fn intermediate(now: OffsetDateTime, root: Self) -> Self {
        Self::new(now, AUTHORITY_BACKDATE, INTERMEDIATE_LIFE).within(root)
    }

    /// Never beyond the intermediate's.
    pub(crate) fn leaf(now: OffsetDateTime, life: Duration, intermediate: Self) -> Self {
        Self::new(now, LEAF_BACKDATE.min(life), life).within(intermediate)
    }

    pub(crate) fn within(self, outer: Self) -> Self {
        let not_before = self.not_before.max(outer.not_before);
        Self { not_before, not_after: self.not_after.min(outer.not_after) }
    }

    /// Whether less than two thirds of it are over.
    pub(crate) fn is_fresh(self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now < self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// Whether it holds now. A second is kept back for who is asked late.
    pub(crate) fn holds(self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}
