//! Lines of logs that a pattern matches, the old ones compressed or not, in the order in which they were
//! written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use regex::bytes::{Regex, RegexBuilder};
use time::OffsetDateTime;

use crate::log::{Kept, Settings};
use crate::model::{STAMP_BYTES, stamp};

/// A longer line is looked at in pieces.
const LINE_BYTES_MAX: usize = 64 << 10;
/// The memory that a pattern may take, bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What is looked for.
pub(crate) struct Search {
    regex: Regex,
    /// Lines that were written before are left out.
    since: Option<OffsetDateTime>,
}

impl Search {
    /// # Errors
    ///
    /// A pattern that is none, or takes too much memory.
    pub(crate) fn new(
        pattern: &str,
        ignore_case: bool,
        since: Option<OffsetDateTime>,
    ) -> Result<Self, regex::Error> {
        let mut builder = RegexBuilder::new(pattern);
        let regex = builder.case_insensitive(ignore_case).size_limit(REGEX_BYTES_MAX).build()?;
        Ok(Self { regex, since })
    }

    /// Looks through all of a console's logs; `found` takes each line and says whether to go on. Whether it
    /// went on to the end.
    ///
    /// # Errors
    ///
    /// A log that cannot be read; the others were looked through.
    pub(crate) fn look_through(
        &self,
        settings: &Settings,
        kept: &HashMap<String, Vec<Kept>>,
        name: &str,
        mut found: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let mut failed = None;
        let old = kept
            .get(name)
            .into_iter()
            .flatten()
            .filter(|it| self.since.is_none_or(|since| it.ended >= since));
        for one in old {
            match one.open().and_then(|it| self.look(it, &mut found)) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // Compressed, or removed for its age, this moment.
                Err(error) => failed = Some(error),
            }
        }
        let path = settings.path(name);
        match File::open(&path).and_then(|it| self.look(it, &mut found)) {
            Ok(went_on) => failed.map_or(Ok(went_on), Err),
            Err(error) if error.kind() == io::ErrorKind::NotFound => failed.map_or(Ok(true), Err),
            Err(error) => Err(error),
        }
    }

    fn look(&self, file: impl Read, found: &mut impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let since = self.since.map(stamp);
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut piece = reader.by_ref().take(LINE_BYTES_MAX as u64);
            if piece.read_until(b'\n', &mut line)? == 0 {
                return Ok(true);
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let stamped = is_stamped(text);
            let old =
                since.as_ref().is_some_and(|it| stamped && text.get(..STAMP_BYTES) < Some(it.as_bytes()));
            let body = if stamped { text.get(STAMP_BYTES..).unwrap_or_default() } else { text };
            if !old && self.regex.is_match(body) && !found(text) {
                return Ok(false);
            }
        }
    }
}

/// Whether a line begins with a time.
fn is_stamped(line: &[u8]) -> bool {
    let shape = b"0000-00-00 00:00:00 ";
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    line.len() >= STAMP_BYTES && line.iter().zip(shape).all(fits)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use time::macros::datetime;

    use super::{Search, is_stamped};

    const LOG: &str = "2026-11-22 13:05:47 [1.0] mce: [Hardware Error]: CPU 7\n\
        2026-11-22 13:05:48 fine\nno stamp: Oops\n\
        2026-11-22 14:00:00 Oops: 0000\n2026-11-22 14:00:01 oops";

    fn found(pattern: &str, ignore_case: bool, since: Option<time::OffsetDateTime>) -> Vec<String> {
        let search = Search::new(pattern, ignore_case, since).unwrap();
        let mut lines = Vec::new();
        let mut keep = |line: &[u8]| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            true
        };
        search.look(LOG.as_bytes(), &mut keep).unwrap();
        lines
    }

    #[test]
    fn lines_are_found_by_their_text_and_time() {
        assert_eq!(found("Hardware Error|^Oops", false, None).len(), 2);
        assert_eq!(found("^oops", true, None).len(), 2);
        let since = Some(datetime!(2026-11-22 13:30:00 UTC));
        assert_eq!(found("Oops", false, since), ["no stamp: Oops", "2026-11-22 14:00:00 Oops: 0000"]);
        assert!(found("2026", false, None).is_empty(), "the stamp is no text of the node's");
    }

    #[test]
    fn a_search_ends_when_nobody_wants_more() {
        let search = Search::new("", false, None).unwrap();
        let mut count = 0;
        let more = search.look(LOG.as_bytes(), &mut |_| {
            count += 1;
            count < 2
        });
        assert!(!more.unwrap() && count == 2);
        assert!(Search::new("(", false, None).is_err());
        assert!(Search::new(r"\w{1000}{1000}", false, None).is_err());
    }

    #[test]
    fn a_stamp_has_its_shape() {
        assert!(is_stamped(b"2026-11-22 13:05:47 x") && is_stamped(b"2026-11-22 13:05:47 "));
        assert!(!is_stamped(b"2026-11-22T13:05:47 x") && !is_stamped(b"2026-11-22 13:05:47"));
    }
}
