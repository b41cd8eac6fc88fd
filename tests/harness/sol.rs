//! Whether the head's log of a console has all that the machine wrote.

use std::sync::LazyLock;

use anyhow::ensure;
use regex::Regex;

/// How much is shown around a difference.
const SHOWN: usize = 120;

/// What a log says beside the machine's own bytes: time stamps, and whole lines of the console service.
static OURS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (<Pilothouse>.*)?").expect("a fixed pattern")
});
static COUNT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^[-0-9]{10} [:0-9]{8} .*PH-COUNT (\d+)$").expect("a fixed pattern"));

/// Compares all that a machine wrote to its serial line with the log of its console, blanks and the ends of lines
/// apart, where log and machine differ by design. A log that began `later` has the end of what the machine wrote.
///
/// # Errors
///
/// Shows the place where they part.
pub fn compare(machine: &[u8], log: &str, later: bool) -> anyhow::Result<()> {
    let machine: String = machine.iter().filter_map(|it| shown(*it)).flatten().collect();
    // Whether a zero is shown depends on what stands before it.
    let log: String =
        OURS.replace_all(log, "").replace("^@", "").chars().filter(|it| !it.is_whitespace()).collect();
    let begin = if later && !log.is_empty() { machine.len().saturating_sub(log.len()) } else { 0 };
    let machine = &machine[begin..];
    let same = machine.bytes().zip(log.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let bytes = text.as_bytes();
        let (from, to) = (same.saturating_sub(SHOWN), (same + SHOWN).min(bytes.len()));
        String::from_utf8_lossy(&bytes[from..to]).into_owned()
    };
    ensure!(
        machine.len() == same && log.len() == same,
        "machine and log part after {same} characters of {} and {}:\n{}\n{}",
        machine.len(),
        log.len(),
        around(machine),
        around(&log)
    );
    Ok(())
}

/// The numbers of `PH-COUNT` lines in a log, in order, a line each.
#[must_use]
pub fn counted(log: &str) -> Vec<u32> {
    COUNT.captures_iter(log).filter_map(|it| it[1].parse().ok()).collect()
}

/// A byte as conman's `sanitize` writes it; none is shown as nothing.
fn shown(byte: u8) -> Option<Vec<char>> {
    match byte {
        0 | b'\r' | b'\n' | b' ' => None,
        b'!'..=b'~' => Some(vec![char::from(byte)]),
        1..=31 => Some(vec!['^', char::from(byte + 64)]),
        127 => Some(vec!['^', '?']),
        128..=159 => Some(vec!['~', char::from(byte - 64)]),
        160 => Some(vec!['`']), // Its blank is one.
        255 => Some(vec!['~', '?']),
        _ => Some(vec!['`', char::from(byte - 128)]),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{compare, counted};

    const LOG: &str = "2026-11-22 13:05:47 <Pilothouse> connected\n\
        2026-11-22 13:05:48 ^[[2Ja line\n2026-11-22 13:05:49 PH-COUNT 1\n2026-11-22 13:05:49 login: ";

    #[test]
    fn a_log_is_complete_or_shows_what_it_lacks() {
        compare(b"\x1b[2Ja line\r\nPH-COUNT 1\r\nlogin: ", LOG, false).unwrap();
        let error = compare(b"\x1b[2Ja line\r\nlost\r\nPH-COUNT 1\r\nlogin: ", LOG, false).unwrap_err();
        assert!(error.to_string().contains("part after 10 characters"), "{error}");
        compare(b"before\r\n\x1b[2Ja line\r\nPH-COUNT 1\r\nlogin: ", LOG, true).unwrap();
        compare(b"before", "", true).unwrap_err();
        assert_eq!(counted(LOG), [1]);
    }
}
