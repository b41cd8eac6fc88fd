//! What nodes write, and whether a log has all of it.

use serde::Serialize;

/// The length of a line, its end included.
pub const LINE_BYTES: usize = 60;
const FILLING: &[u8] = b" abcdefghijklmnopqrstuvwxyz0123456789 abcdefghijklmnopqrstuvwxyz";

/// Line `count` of a node, counted from 1.
pub(super) fn line(number: u32, count: u64) -> Vec<u8> {
    let mut line = format!("C{number} {count:06}").into_bytes();
    let room = LINE_BYTES.saturating_sub(line.len() + 2).min(FILLING.len());
    line.extend(&FILLING[..room]);
    line.extend(b"\r\n");
    line
}

/// The numbers that a log has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The first one; 0 if there is none.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many there are, each counted once.
    pub there: u64,
    /// Those between first and last that are not there.
    pub missing: u64,
    /// Those that are there once more.
    pub doubled: u64,
    /// Lines that begin like one of the node's and do not go on like it.
    pub broken: u64,
}

/// Counts the lines of a node in a log of its console, whatever else stands before each line.
#[must_use]
pub fn count(number: u32, log: &[u8]) -> Counted {
    let begin = format!("C{number} ").into_bytes();
    let mut numbers = Vec::new();
    let mut counted = Counted::default();
    for at in memchr::memmem::find_iter(log, &begin) {
        // `C1 ` in `C11 ` is not found, `1` in the middle of a word may be.
        if at > 0 && log[at - 1].is_ascii_alphanumeric() {
            continue;
        }
        // The last line may still be on its way.
        if memchr::memchr(b'\n', &log[at..]).is_none() {
            continue;
        }
        let digits: Vec<u8> =
            log[at + begin.len()..].iter().copied().take_while(u8::is_ascii_digit).take(20).collect();
        let count = std::str::from_utf8(&digits).ok().and_then(|it| it.parse::<u64>().ok());
        let whole = count.map(|it| line(number, it));
        match (count, whole) {
            (Some(count), Some(whole)) if log[at..].starts_with(&whole[..whole.len() - 2]) => {
                numbers.push(count)
            }
            _ => counted.broken += 1,
        }
    }
    let all = numbers.len() as u64;
    numbers.sort_unstable();
    numbers.dedup();
    counted.there = numbers.len() as u64;
    counted.doubled = all - counted.there;
    counted.first = numbers.first().copied().unwrap_or_default();
    counted.last = numbers.last().copied().unwrap_or_default();
    if counted.there > 0 {
        counted.missing = counted.last - counted.first + 1 - counted.there;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::{Counted, LINE_BYTES, count, line};

    #[test]
    fn a_line_has_its_number_and_its_length() {
        let text = line(12, 7);
        assert_eq!(text.len(), LINE_BYTES);
        assert!(text.starts_with(b"C12 000007 abcdef") && text.ends_with(b"\r\n"));
        assert_eq!(line(5000, 1_234_567).len(), LINE_BYTES);
    }

    #[test]
    fn gaps_repetitions_and_broken_lines_are_counted() {
        let mut log = b"2026-11-22 13:05:47 <Pilothouse> console open\n".to_vec();
        for it in [3, 4, 6, 6, 9] {
            log.extend(b"2026-11-22 13:05:47 ");
            log.extend(line(1, it));
            log.extend(line(11, it));
        }
        log.extend(b"C1 000010 abcdef\nC1 0000");
        let counted = count(1, &log);
        let expected = Counted { first: 3, last: 9, there: 4, missing: 3, doubled: 1, broken: 1 };
        assert_eq!(counted, expected);
        assert_eq!(count(2, &log), Counted::default());
    }
}
