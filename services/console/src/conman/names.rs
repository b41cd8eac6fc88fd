//! Which consoles a pattern names, and in which order conman has them.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

use super::wire::{Command, Fault, Kind};

/// The memory that a regular expression may take, bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What a command's words name.
pub(super) enum Matcher {
    All,
    Globs(Vec<Vec<u8>>),
    Regex(Box<Regex>),
}

impl Matcher {
    /// None: nothing is named, and that names nothing.
    ///
    /// # Errors
    ///
    /// A regular expression that is none.
    pub(super) fn new(command: &Command) -> Result<Option<Self>, Fault> {
        if command.consoles.is_empty() {
            return Ok((command.kind == Kind::Query).then_some(Self::All));
        }
        if !command.regex {
            return Ok(Some(Self::Globs(command.consoles.iter().map(|it| it.as_bytes().to_vec()).collect())));
        }
        // The whole name, in any case of its letters.
        let all = command.consoles.join("|");
        let mut builder = RegexBuilder::new(&format!("^(?:{all})$"));
        let regex = builder.case_insensitive(true).size_limit(REGEX_BYTES_MAX).build();
        let wrong = |_| Fault::BadRegex(complaint(&all));
        Ok(Some(Self::Regex(Box::new(regex.map_err(wrong)?))))
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Globs(globs) => globs.iter().any(|it| is_match(it, name.as_bytes())),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// What the C library says of a regular expression that is none.
fn complaint(text: &str) -> &'static str {
    let bytes = text.as_bytes();
    let (mut round, mut square, mut at) = (0_i32, false, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\\' if at == bytes.len() => return "Trailing backslash",
            b'\\' => at += 1,
            b'[' if !square => square = true,
            b']' => square = false,
            b'(' if !square => round += 1,
            b')' if !square => round -= 1,
            _ => {}
        }
    }
    if square {
        "Unmatched [, [^, [:, [., or [="
    } else if round > 0 {
        "Unmatched ( or \\("
    } else if text.starts_with(['*', '+', '?', '{']) || text.contains("(*") || text.contains("|*") {
        "Invalid preceding regular expression"
    } else if text.contains('{') {
        "Invalid content of \\{\\}"
    } else {
        "Invalid regular expression"
    }
}

/// Whether a name matches a shell's pattern: `*`, `?`, sets in square brackets, a backslash before what is
/// itself.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if it fails: behind the last star, which then takes one more.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((p + 1, n));
                Some((p + 1, n))
            }
            (Some(_), Some(&byte)) => match_one(pattern, p, byte).map(|it| (it, n + 1)),
            _ => None,
        };
        match (step, star) {
            (Some(next), _) => (p, n) = next,
            (None, Some((behind, taken))) if taken < name.len() => {
                star = Some((behind, taken + 1));
                (p, n) = (behind, taken + 1);
            }
            _ => return false,
        }
    }
}

/// The place behind the part of the pattern that this byte matches.
fn match_one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => match match_set(pattern.get(at + 1..)?, byte) {
            Some((true, length)) => Some(at + 1 + length),
            Some((false, _)) => None,
            // A bracket that is never closed is one.
            None => (byte == b'[').then_some(at + 1),
        },
        b'\\' => match pattern.get(at + 1) {
            Some(literal) => (*literal == byte).then_some(at + 2),
            None => (byte == b'\\').then_some(at + 1),
        },
        literal => (*literal == byte).then_some(at + 1),
    }
}

/// Whether a set has the byte, and its length with the closing bracket; none: it is never closed.
fn match_set(set: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(set.first()?, b'!' | b'^');
    let begin = usize::from(negated);
    let (mut at, mut found) = (begin, false);
    loop {
        let first = *set.get(at)?;
        if first == b']' && at > begin {
            return Some((found != negated, at + 1));
        }
        if set.get(at..)?.starts_with(b"[:") {
            let length = set.get(at..)?.windows(2).position(|it| it == b":]")?;
            found |= is_in_class(set.get(at + 2..at + length)?, byte);
            at += length + 2;
            continue;
        }
        let (low, behind) = if first == b'\\' { (*set.get(at + 1)?, at + 2) } else { (first, at + 1) };
        match (set.get(behind), set.get(behind + 1)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                found |= (low..=high).contains(&byte);
                at = behind + 2;
            }
            _ => {
                found |= low == byte;
                at = behind;
            }
        }
    }
}

fn is_in_class(class: &[u8], byte: u8) -> bool {
    match class {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"digit" => byte.is_ascii_digit(),
        b"lower" => byte.is_ascii_lowercase(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace(),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}

/// conman's order: by bytes, but names that differ in a number at their end by that number.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let digits = |it: &str| it.len() - it.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (a_digits, b_digits) = (digits(a), digits(b));
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let numbered = |text: &str, at: usize| at < text.len();
    if a_digits == b_digits && same >= a_digits && numbered(a, a_digits) && numbered(b, b_digits) {
        let number =
            |text: &str, at: usize| text.get(at..).and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
        return number(a, a_digits).cmp(&number(b, b_digits));
    }
    a.as_bytes().get(same).cmp(&b.as_bytes().get(same))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::wire::parse_command;
    use super::{Matcher, compare, complaint, is_match};

    #[test]
    fn patterns_are_a_shells() {
        for (pattern, name, matches) in [
            ("nid001", "nid001", true),
            ("nid00*", "nid001", true),
            ("*", "", true),
            ("*1*1", "nid011", true),
            ("*1*1", "nid01", false),
            ("nid00?", "nid0011", false),
            ("nid[0-9][!1-9]?", "nid101", true),
            ("nid[0-9][!0-9]?", "nid101", false),
            ("[]a]x", "]x", true),
            ("[a", "[a", true),
            ("[[:digit:]x]*", "7", true),
            ("[[:digit:]x]*", "a", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\", "a\\", true),
            ("[a-]", "-", true),
            ("a*", "ba", false),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_regular_expression_names_the_whole() {
        let of = |words: &str| {
            let line = format!("CONNECT OPTION=REGEX {words}\n");
            Matcher::new(&parse_command(line.as_bytes()).unwrap())
        };
        let matcher = of("CONSOLE='NID00[12]' CONSOLE='x.*'").unwrap().unwrap();
        for (name, matches) in [("nid001", true), ("nid0011", false), ("xyz", true), ("axyz", false)] {
            assert_eq!(matcher.matches(name), matches, "{name}");
        }
        assert!(of("CONSOLE='('").is_err());
        assert!(of("").unwrap().is_none());
    }

    #[test]
    fn what_is_no_regular_expression_is_named_as_the_c_library_does() {
        for (text, complains) in [
            ("(", "Unmatched ( or \\("),
            ("[a", "Unmatched [, [^, [:, [., or [="),
            ("a\\", "Trailing backslash"),
            ("*a", "Invalid preceding regular expression"),
        ] {
            assert_eq!(complaint(text), complains);
        }
    }

    #[test]
    fn numbers_at_the_end_count_as_numbers() {
        let mut names = ["n10", "n2", "n1", "a5", "n", "nx", "n1-b10", "n1-b9"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["a5", "n", "n1", "n1-b9", "n1-b10", "n2", "n10", "nx"]);
    }
}
