//! What is said on a connection: commands in, lines out. Pure.

use super::hostlist::{self, fold, sort};
use crate::model::State;

/// The release whose protocol this is; clients of another warn.
pub(super) const VERSION: &str = "2.4.4";
pub(super) const PROMPT: &str = "powerman> ";
pub(super) const BUSY: &str = "208 Command in progress\r\n";
pub(super) const TOO_LONG: &str = "203 Command too long\r\n";
pub(super) const GOODBYE: &str = "101 Goodbye\r\n";
pub(super) const COMPLETE: &str = "102 Command completed successfully\r\n";
pub(super) const FAILED: &str = "210 Command completed with errors\r\n";
pub(super) const QUERIED: &str = "103 Query complete\r\n";
pub(super) const UNHANDLED: &str = "213 Command cannot be handled by power control device(s)\r\n";
pub(super) const UNKNOWN: &str = "201 Unknown command\r\n";
pub(super) const HOSTLIST: &str = "205 Hostlist error: invalid range\r\n";
/// The one device there is, and its kind: clients show them.
const DEVICE: &str = "ipmi0";
const KIND: &str = "ipmipower";

const HELP: [(&str, &str); 15] = [
    ("nodes", "query node list"),
    ("device [<nodes>]", "query power control device status"),
    ("status [<nodes>]", "query power status"),
    ("on <nodes>", "power on"),
    ("off <nodes>", "power off"),
    ("cycle <nodes>", "power cycle"),
    ("reset <nodes>", "hardware reset (if available)"),
    ("temp [<nodes>]", "query temperature (if available)"),
    ("beacon [<nodes>]", "query beacon status (if available)"),
    ("flash <nodes>", "set beacon to ON (if available)"),
    ("unflash <nodes>", "set beacon to OFF (if available)"),
    ("telemetry", "toggle telemetry display"),
    ("exprange", "toggle host range expansion"),
    ("help", "display help"),
    ("quit", "logout"),
];

/// A command; what it is for is a host list, or all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Nodes,
    Telemetry,
    Exprange,
    Quit,
    Device(Option<String>),
    Do(Verb, Option<String>),
    Unknown,
}

/// What is done at BMCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    On,
    Off,
    Cycle,
    Reset,
    Flash,
    Unflash,
    Status,
    Temperature,
    Beacon,
}

impl Verb {
    /// How ipmipower calls it, for those who want to see what is sent.
    fn sent(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
            Self::Reset => "reset",
            Self::Flash => "identify-on",
            Self::Unflash => "identify-off",
            Self::Status | Self::Temperature => "stat",
            Self::Beacon => "identify-status",
        }
    }

    /// Whether it changes something.
    pub(super) fn switches(self) -> bool {
        !matches!(self, Self::Status | Self::Temperature | Self::Beacon)
    }
}

/// Reads a line as powermand does: words without an argument by their first letters in either case, the others by
/// `sscanf`, which wants lower case and no blank.
pub(super) fn read(line: &str) -> Command {
    use Verb::{Beacon, Cycle, Flash, Off, On, Reset, Status, Temperature, Unflash};
    let line = line.trim_matches(|it: char| it.is_ascii_whitespace() || it == '\x0b');
    let begins = |word: &str| line.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    for (word, command) in [
        ("help", Command::Help),
        ("nodes", Command::Nodes),
        ("telemetry", Command::Telemetry),
        ("exprange", Command::Exprange),
        ("quit", Command::Quit),
    ] {
        if begins(word) {
            return command;
        }
    }
    let argument = |word: &str| line.strip_prefix(word)?.split_ascii_whitespace().next().map(str::to_owned);
    for (word, verb) in
        [("on", On), ("off", Off), ("cycle", Cycle), ("reset", Reset), ("flash", Flash), ("unflash", Unflash)]
    {
        if let Some(nodes) = argument(word) {
            return Command::Do(verb, Some(nodes));
        }
    }
    for (word, verb) in [("status", Status), ("temp", Temperature), ("beacon", Beacon)] {
        if let Some(nodes) = argument(word) {
            return Command::Do(verb, Some(nodes));
        }
        if begins(word) {
            return Command::Do(verb, None);
        }
    }
    match argument("device") {
        Some(nodes) => Command::Device(Some(nodes)),
        None if begins("device") => Command::Device(None),
        None => Command::Unknown,
    }
}

pub(super) fn help() -> String {
    let lines = HELP.iter().map(|(usage, what)| format!("301 {usage:<18} - {what}\r\n"));
    lines.collect::<String>() + QUERIED
}

/// The nodes there are, which are in order.
pub(super) fn nodes(names: &[String], expanded: bool) -> String {
    let text = match expanded {
        true => names.iter().map(|it| format!("307 {it}\r\n")).collect(),
        false => format!("306 {}\r\n", fold(names)),
    };
    text + QUERIED
}

/// The device, if it has one of the nodes asked for; a list that cannot be read asks for none.
pub(super) fn device(names: &[String], asked: Option<&str>, actions: u64) -> String {
    let is_asked = asked.is_none_or(|list| {
        hostlist::expand(list).is_ok_and(|wanted| wanted.iter().any(|it| names.contains(it)))
    });
    let line = format!(
        "304 {DEVICE}: state=connected reconnects=000 actions={actions:03} type={KIND} hosts={}\r\n",
        fold(names)
    );
    (if is_asked && !names.is_empty() { line } else { String::new() }) + QUERIED
}

/// The answer to a question for power or light: on, off, or not known.
pub(super) fn states(answers: Vec<(String, Option<State>)>, expanded: bool) -> String {
    let word = |it: Option<State>| it.map_or("unknown", State::name);
    if expanded {
        let lines = answers.into_iter().map(|(node, it)| format!("303 {node}: {}\r\n", word(it)));
        return lines.collect::<String>() + QUERIED;
    }
    let list = |state| {
        let with = answers.iter().filter(|it| it.1 == state);
        let mut names: Vec<String> = with.map(|it| it.0.clone()).collect();
        sort(&mut names);
        fold(&names)
    };
    let (on, off, unknown) = (list(Some(State::On)), list(Some(State::Off)), list(None));
    format!("302 on:      {on}\r\n302 off:     {off}\r\n302 unknown: {unknown}\r\n{QUERIED}")
}

pub(super) fn sent(verb: Verb) -> String {
    format!("305 send({DEVICE}): '{}\\n'\r\n", verb.sent())
}

pub(super) fn received(node: &str, said: &str) -> String {
    format!("305 recv({DEVICE}): '{node}: {}\\n'\r\n", one_line(said))
}

/// Why a node was not done.
pub(super) fn error(node: &str, reason: &str) -> String {
    format!("308 {node}: {}\r\n", one_line(reason))
}

pub(super) fn no_such(names: &[String]) -> String {
    format!("209 No such nodes: {}\r\n", fold(names))
}

pub(super) fn refused(why: &str) -> String {
    format!("204 Internal powermand error: {}\r\n", one_line(why))
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_powermand_reads_them() {
        let to = |verb, nodes: &str| Command::Do(verb, Some(nodes.to_owned()));
        assert_eq!(read("  nodes  "), Command::Nodes);
        assert_eq!(read("Nodesxyz"), Command::Nodes);
        assert_eq!(read("status nid001 nid002"), to(Verb::Status, "nid001"));
        assert_eq!(read("onnid001"), to(Verb::On, "nid001"));
        // sscanf knows no capitals, so that this is a question for all.
        assert_eq!(read("STATUS nid001"), Command::Do(Verb::Status, None));
        assert_eq!(read("unflash\tnid001"), to(Verb::Unflash, "nid001"));
        assert_eq!(read("device nid[1"), Command::Device(Some("nid[1".to_owned())));
        assert_eq!(read("quitter"), Command::Quit);
        for unknown in ["", "ON nid001", "on", "off", "bogus", "diag", "é"] {
            assert_eq!(read(unknown), Command::Unknown, "{unknown}");
        }
    }

    #[test]
    fn states_are_three_lists_or_a_line_each() {
        let answers = |names: &str| -> Vec<_> {
            let state = |it: &str| match &it[..1] {
                "+" => Some(State::On),
                "-" => Some(State::Off),
                _ => None,
            };
            names.split(' ').map(|it| (it[1..].to_owned(), state(it))).collect()
        };
        let told = states(answers("+nid003 -nid002 -nid001 ?nid004"), false);
        let expected = "302 on:      nid003\r\n302 off:     nid[001-002]\r\n302 unknown: nid004\r\n103 Query complete\r\n";
        assert_eq!(told, expected);
        let told = states(answers("+nid003 ?nid001"), true);
        assert_eq!(told, "303 nid003: on\r\n303 nid001: unknown\r\n103 Query complete\r\n");
    }
}
