//! An instant to come, as people write it.

use std::fmt;

use domain::Span;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// When something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct When(OffsetDateTime);

impl When {
    /// Seconds of the UNIX clock.
    pub(crate) fn unix_s(&self) -> u64 {
        u64::try_from(self.0.unix_timestamp()).unwrap_or(0)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).unwrap_or_default())
    }
}

/// RFC 3339, or how long from now: `2h`.
///
/// # Errors
///
/// What would be right.
pub(crate) fn parse(text: &str) -> Result<When, String> {
    read(text, OffsetDateTime::now_utc())
}

fn read(text: &str, now: OffsetDateTime) -> Result<When, String> {
    if let Ok(span) = text.parse::<Span>() {
        let long = Duration::try_from(span.0).ok().and_then(|it| now.checked_add(it));
        return long.map(When).ok_or_else(|| format!("{text} from now is beyond all calendars"));
    }
    let instant = OffsetDateTime::parse(text, &Rfc3339);
    instant.map(When).map_err(|_| format!("{text:?} is no time; write 2026-12-01T03:00:00Z or 2h"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use time::OffsetDateTime;

    #[test]
    fn a_time_is_an_instant_or_from_now() {
        let read = |text| super::read(text, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(read("2h").unwrap().unix_s(), 7200);
        assert_eq!(read("1970-01-02T00:00:00+01:00").unwrap().unix_s(), 82_800);
        assert!(read("tomorrow").unwrap_err().contains("2h"));
    }
}
