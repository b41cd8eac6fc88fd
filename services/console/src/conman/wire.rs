//! The lines of conman's protocol. Pure.

/// The longest line either side takes.
pub(super) const LINE_BYTES_MAX: usize = 128 << 10;

/// Who says hello.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) user: Option<String>,
    pub(super) tty: Option<String>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The names of consoles.
    Query,
    /// To read one.
    Monitor,
    /// To read and write one, or to write to several.
    Connect,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) kind: Kind,
    /// Names or patterns.
    pub(super) consoles: Vec<String>,
    pub(super) broadcast: bool,
    pub(super) force: bool,
    pub(super) join: bool,
    pub(super) quiet: bool,
    pub(super) regex: bool,
}

/// Why a command is not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NoUser,
    BadRegex(&'static str),
    Denied(String),
    NoConsoles,
    TooMany(Vec<String>),
    Busy { consoles: usize, writers: Vec<String> },
    TooLong(usize),
    Full,
}

impl Fault {
    /// conman's number of the error.
    fn code(&self) -> u8 {
        match self {
            Self::NoUser | Self::TooLong(_) | Self::Full => 2,
            Self::BadRegex(_) => 3,
            Self::Denied(_) => 4,
            Self::NoConsoles => 5,
            Self::TooMany(_) => 6,
            Self::Busy { .. } => 7,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NoUser => "Invalid greeting: no user specified".to_owned(),
            Self::BadRegex(text) => (*text).to_owned(),
            Self::Denied(user) => {
                format!("{user} may not attach to consoles; that takes the group pilothouse-operator")
            }
            Self::NoConsoles => "Found no matching consoles".to_owned(),
            Self::TooMany(names) => format!("Found {} matching consoles", names.len()),
            Self::Busy { consoles: 1, .. } => "Found console already in use".to_owned(),
            Self::Busy { consoles, .. } => format!("Found {consoles} consoles already in use"),
            Self::TooLong(count) => format!("Found {count} consoles, too many for one answer; name fewer"),
            Self::Full => "Found console with too many clients".to_owned(),
        }
    }

    /// What follows the answer, a line each.
    fn rest(&self) -> &[String] {
        match self {
            Self::TooMany(lines) | Self::Busy { writers: lines, .. } => lines,
            _ => &[],
        }
    }
}

/// That all is well, with the consoles concerned, and whether they can be reset.
pub(super) fn ok(consoles: &[&str], reset: bool) -> Vec<u8> {
    let mut line = b"OK".to_vec();
    if reset && !consoles.is_empty() {
        line.extend(b" OPTION=RESET");
    }
    for console in consoles {
        line.extend(b" CONSOLE='");
        line.extend(encode(console));
        line.push(b'\'');
    }
    line.push(b'\n');
    line
}

/// What is not well.
pub(super) fn error(fault: &Fault) -> Vec<u8> {
    let mut line = format!("ERROR CODE={} MESSAGE='", fault.code()).into_bytes();
    line.extend(encode(&fault.message()));
    line.extend(b"'\n");
    for rest in fault.rest() {
        line.extend(rest.as_bytes());
        line.push(b'\n');
    }
    line
}

/// Quotation marks have their eighth bit set, as they would end the word; nothing else may have it.
fn encode(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|it| if matches!(it, b'\'' | b'"') { it | 0x80 } else { it & 0x7f })
}

fn decode(bytes: &[u8]) -> String {
    bytes.iter().map(|it| char::from(it & 0x7f)).filter(|it| !it.is_ascii_control()).collect()
}

/// A word of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Letters, digits and underscores, beginning with no digit.
    Word(&'a [u8]),
    /// What stands between quotation marks.
    Text(&'a [u8]),
    /// Anything else.
    Sign(u8),
}

const KEYWORDS: [&str; 18] = [
    "BROADCAST",
    "CODE",
    "CONNECT",
    "CONSOLE",
    "ERROR",
    "FORCE",
    "HELLO",
    "JOIN",
    "MESSAGE",
    "MONITOR",
    "OK",
    "OPTION",
    "QUERY",
    "QUIET",
    "REGEX",
    "RESET",
    "TTY",
    "USER",
];

impl<'a> Token<'a> {
    /// The keyword that it is.
    fn keyword(self) -> Option<&'static str> {
        let Self::Word(word) = self else { return None };
        KEYWORDS.into_iter().find(|it| it.as_bytes().eq_ignore_ascii_case(word))
    }

    /// The text that it is: one in quotation marks, or a word that means nothing else.
    fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Word(word) if self.keyword().is_none() => Some(word),
            _ => None,
        }
    }
}

fn tokens(line: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let begin = rest.iter().position(|it| !matches!(it, b' ' | b'\t' | 0x0b | 0x0c))?;
        rest = rest.get(begin..)?;
        let (&first, after) = rest.split_first()?;
        let (token, length) = match first {
            b'\n' | b'\r' | b'#' | 0 => return None,
            b'\'' | b'"' => {
                // A text without an end is none, and nothing follows it.
                let end = after.iter().position(|it| *it == first)?;
                (Token::Text(after.get(..end)?), end + 2)
            }
            _ if first.is_ascii_alphabetic() || first == b'_' => {
                let inner = |it: &u8| it.is_ascii_alphanumeric() || *it == b'_';
                let end = rest.iter().position(|it| !inner(it)).unwrap_or(rest.len());
                (Token::Word(rest.get(..end)?), end)
            }
            _ => (Token::Sign(first), 1),
        };
        rest = rest.get(length..)?;
        Some(token)
    })
}

/// The `KEY=VALUE` pairs of a line after its first keyword of these; and which that is.
fn parse<'a>(
    line: &'a [u8],
    first: &[&'static str],
) -> Option<(&'static str, Vec<(&'static str, Token<'a>)>)> {
    let mut tokens = tokens(line);
    let verb = tokens.by_ref().find_map(|it| it.keyword().filter(|it| first.contains(it)))?;
    let (mut pairs, mut key) = (Vec::new(), None);
    let mut equals = false;
    for token in tokens {
        match (key, token) {
            (Some(_), Token::Sign(b'=')) if !equals => equals = true,
            (Some(known), value) if equals => {
                pairs.push((known, value));
                (key, equals) = (None, false);
            }
            (_, other) => (key, equals) = (other.keyword(), false),
        }
    }
    Some((verb, pairs))
}

/// Reads a client's first line.
pub(super) fn parse_greeting(line: &[u8]) -> Greeting {
    let mut greeting = Greeting::default();
    let Some((_, pairs)) = parse(line, &["HELLO"]) else { return greeting };
    for (key, value) in pairs {
        let Some(text) = value.text().map(decode).filter(|it| !it.is_empty()) else { continue };
        match key {
            "USER" => greeting.user = Some(text),
            "TTY" => greeting.tty = Some(text),
            _ => {}
        }
    }
    greeting
}

/// Reads its second line; none: it holds no command.
pub(super) fn parse_command(line: &[u8]) -> Option<Command> {
    let (verb, pairs) = parse(line, &["CONNECT", "MONITOR", "QUERY"])?;
    let kind = match verb {
        "CONNECT" => Kind::Connect,
        "MONITOR" => Kind::Monitor,
        _ => Kind::Query,
    };
    let mut command = Command {
        kind,
        consoles: Vec::new(),
        broadcast: false,
        force: false,
        join: false,
        quiet: false,
        regex: false,
    };
    for (key, value) in pairs {
        match (key, value.keyword()) {
            ("OPTION", Some("BROADCAST")) => command.broadcast = true,
            ("OPTION", Some("FORCE")) => command.force = true,
            ("OPTION", Some("JOIN")) => command.join = true,
            ("OPTION", Some("QUIET")) => command.quiet = true,
            ("OPTION", Some("REGEX")) => command.regex = true,
            ("CONSOLE", _) => {
                command.consoles.extend(value.text().map(decode).filter(|it| !it.is_empty()));
            }
            _ => {}
        }
    }
    Some(command)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Command, Fault, Greeting, Kind, error, ok, parse_command, parse_greeting};

    #[test]
    fn a_greeting_names_who_and_where() {
        let greeting = parse_greeting(b"HELLO USER='root' TTY='pts/3'\n");
        assert_eq!(greeting, Greeting { user: Some("root".into()), tty: Some("pts/3".into()) });
        assert_eq!(parse_greeting(b"hello user=root\n").user, Some("root".into()));
        for line in [
            &b"HELLO\n"[..],
            b"HELLO USER=''\n",
            b"HELLO USER=7\n",
            b"HELLO USER 'root'\n",
            b"HELLO USER='ro",
        ] {
            assert_eq!(parse_greeting(line).user, None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_command_has_consoles_and_options() {
        let line = b"CONNECT OPTION=QUIET OPTION=FORCE CONSOLE='nid001' CONSOLE=\"n*\" CONSOLE='it\xa7s'\n";
        let expected = Command {
            kind: Kind::Connect,
            consoles: vec!["nid001".into(), "n*".into(), "it's".into()],
            broadcast: false,
            force: true,
            join: false,
            quiet: true,
            regex: false,
        };
        assert_eq!(parse_command(line).unwrap(), expected);
        assert_eq!(parse_command(b"QUERY\n").unwrap().consoles.len(), 0);
        assert_eq!(parse_command(b"MONITOR OPTION=REGEX\n").unwrap().kind, Kind::Monitor);
        for line in [&b"\n"[..], b"", b"EHLO\n", b"# QUERY\n", b"'QUERY'\n"] {
            assert!(parse_command(line).is_none(), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn any_line_is_read() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let line = [b'H', first, second, b'=', first, second, b'\''];
                parse_greeting(&line);
                parse_command(&line);
            }
        }
    }

    #[test]
    fn answers_are_conmans() {
        assert_eq!(ok(&[], true), b"OK\n");
        assert_eq!(ok(&["a", "it's"], true), b"OK OPTION=RESET CONSOLE='a' CONSOLE='it\xa7s'\n");
        assert_eq!(error(&Fault::NoConsoles), b"ERROR CODE=5 MESSAGE='Found no matching consoles'\n");
        let many = error(&Fault::TooMany(vec!["a".into(), "b".into()]));
        assert_eq!(many, b"ERROR CODE=6 MESSAGE='Found 2 matching consoles'\na\nb\n");
    }
}
