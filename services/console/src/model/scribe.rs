//! What is made of the bytes of a console: the text of its log.

use std::str::FromStr;

use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

/// So much of a line is looked at; a node that ends none fills no memory.
const LINE_MAX: usize = 4096;
/// The length of a time stamp, with the blank behind it.
pub(crate) const STAMP_BYTES: usize = 20;
/// What is written before a line that this service wrote itself.
pub(crate) const MARK: &str = "<Pilothouse>";

/// conman's `logopts` (conman.conf(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LogOptions {
    /// What a terminal would obey is made visible.
    pub(crate) sanitize: bool,
    /// Each line begins with its time.
    pub(crate) timestamp: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { sanitize: true, timestamp: true }
    }
}

impl FromStr for LogOptions {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut options = Self { sanitize: false, timestamp: false };
        for word in text.split([' ', '\t', ',', ';', '.']).filter(|it| !it.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                "sanitize" => options.sanitize = true,
                "nosanitize" => options.sanitize = false,
                "timestamp" => options.timestamp = true,
                "notimestamp" => options.timestamp = false,
                // Nobody else writes these logs.
                "lock" | "nolock" => {}
                _ => return Err(format!("{word:?} is no option of a log; write \"sanitize,timestamp\"")),
            }
        }
        Ok(options)
    }
}

impl TryFrom<String> for LogOptions {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Where in a line the log is, as conman tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing came yet, or a line of our own stands before it.
    #[default]
    Start,
    /// Within a line.
    Data,
    /// Behind a carriage return, which may begin the end of a line.
    Return,
    /// Behind the end of a line.
    End,
}

/// Turns a stream of bytes into the text of the log.
#[derive(Debug, Default)]
pub(crate) struct Scribe {
    options: LogOptions,
    place: Place,
    /// The line that has not ended yet, as it is sanitised, without its time.
    open: String,
    /// Some of it was not looked at yet.
    fresh: bool,
    /// The time stamp of this second: lines come in hundreds a second.
    stamp: Option<(i64, String)>,
}

impl Scribe {
    pub(crate) fn new(options: LogOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Goes on in a log whose last line did not end.
    pub(crate) fn go_on(&mut self, last: &str) {
        let text = if self.options.timestamp { last.get(STAMP_BYTES..).unwrap_or_default() } else { last };
        if !last.is_empty() {
            (self.place, self.fresh) = (Place::Data, false);
            self.open = text.chars().take(LINE_MAX).collect();
        }
    }

    /// Whether the log is within a line.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.place, Place::Data | Place::Return)
    }

    /// Adds the text to append for these bytes, at this time; `line` sees each line as it ends (`true`), and
    /// what there is of one that has not ended.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        now: OffsetDateTime,
        text: &mut Vec<u8>,
        mut line: impl FnMut(&str, bool),
    ) {
        for &byte in bytes {
            match byte {
                b'\r' => {
                    if self.place == Place::Start {
                        self.put_stamp(text, now);
                    }
                    if matches!(self.place, Place::Start | Place::Data) {
                        self.place = Place::Return;
                    }
                }
                b'\n' => {
                    if matches!(self.place, Place::Start | Place::End) {
                        self.put_stamp(text, now);
                    }
                    self.end_line(text, &mut line);
                }
                0 if matches!(self.place, Place::Return | Place::End) => {}
                _ => {
                    if self.place == Place::Return {
                        self.end_line(text, &mut line);
                    }
                    if self.place != Place::Data {
                        self.put_stamp(text, now);
                    }
                    self.place = Place::Data;
                    self.put(byte, text);
                }
            }
        }
        if std::mem::take(&mut self.fresh) {
            line(&self.open, false);
        }
    }

    /// A line of our own, on a line by itself.
    pub(crate) fn mark(&mut self, message: &str, now: OffsetDateTime) -> String {
        let end = if self.is_open() { "\n" } else { "" };
        self.open.clear();
        self.fresh = false;
        self.place = Place::Start;
        format!("{end}{}", mark_line(message, now))
    }

    fn put(&mut self, byte: u8, text: &mut Vec<u8>) {
        let (shown, length) = sanitized(byte);
        let shown = shown.get(..length).unwrap_or_default();
        if self.options.sanitize {
            text.extend_from_slice(shown);
        } else {
            text.push(byte);
        }
        if self.open.len() < LINE_MAX {
            self.open.extend(shown.iter().map(|it| char::from(*it)));
            self.fresh = true;
        }
    }

    fn put_stamp(&mut self, text: &mut Vec<u8>, now: OffsetDateTime) {
        if !self.options.timestamp {
            return;
        }
        let second = now.unix_timestamp();
        match &self.stamp {
            Some((of, known)) if *of == second => text.extend_from_slice(known.as_bytes()),
            _ => text.extend_from_slice(self.stamp.insert((second, stamp(now))).1.as_bytes()),
        }
    }

    fn end_line(&mut self, text: &mut Vec<u8>, line: &mut impl FnMut(&str, bool)) {
        line(&self.open, true);
        text.push(b'\n');
        self.open.clear();
        self.fresh = false;
        self.place = Place::End;
    }
}

/// A byte as conman's `sanitize` writes it: `^A` for a control character, a grave accent before what has its
/// eighth bit set, `~A` for both.
fn sanitized(byte: u8) -> ([u8; 2], usize) {
    let (low, high) = (byte & 0x7f, byte & 0x80 != 0);
    match (low, high) {
        (0..0x20, false) => ([b'^', low + b'@'], 2),
        (0..0x20, true) => ([b'~', low + b'@'], 2),
        (0x7f, false) => (*b"^?", 2),
        (0x7f, true) => (*b"~?", 2),
        (_, false) => ([low, 0], 1),
        (_, true) => ([b'`', low], 2),
    }
}

/// A line that this service writes itself.
pub(crate) fn mark_line(message: &str, now: OffsetDateTime) -> String {
    format!("{}{MARK} {}\n", stamp(now), message.replace(['\r', '\n'], " "))
}

/// `2026-11-22 13:05:47 `, in UTC, as conman writes it in the zone of its daemon.
pub(crate) fn stamp(now: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] ");
    now.format(&format).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use time::macros::datetime;

    use super::{LINE_MAX, LogOptions, Scribe};

    const NOW: time::OffsetDateTime = datetime!(2026-11-22 13:05:47 UTC);

    fn write(scribe: &mut Scribe, bytes: &[u8]) -> String {
        let mut text = Vec::new();
        scribe.write(bytes, NOW, &mut text, |_, _| ());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_line_has_one_stamp_however_it_was_cut() {
        let mut scribe = Scribe::default();
        let mut text = write(&mut scribe, b"one\r\ntw");
        text += &write(&mut scribe, b"o\r");
        text += &write(&mut scribe, b"\n\nnid001 login: ");
        let expected = "2026-11-22 13:05:47 one\n2026-11-22 13:05:47 two\n2026-11-22 13:05:47 \n\
                        2026-11-22 13:05:47 nid001 login: ";
        assert_eq!(text, expected);
        assert_eq!(scribe.mark("gone", NOW), "\n2026-11-22 13:05:47 <Pilothouse> gone\n");
    }

    #[test]
    fn a_log_goes_on_within_its_last_line() {
        let mut scribe = Scribe::default();
        scribe.go_on("2026-11-22 13:05:40 count 1");
        let mut seen = Vec::new();
        let mut text = Vec::new();
        scribe.write(b"23.\r\nnext\n", NOW, &mut text, |line, whole| seen.push((line.to_owned(), whole)));
        assert_eq!(text, b"23.\n2026-11-22 13:05:47 next\n");
        assert_eq!(seen, [("count 123.".to_owned(), true), ("next".to_owned(), true)]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_made_visible_as_conman_does_it() {
        let mut scribe = Scribe::default();
        let shown = write(&mut scribe, b"\x1b[2J\x7f\t\xe4\x81\xff.\n");
        assert_eq!(shown, "2026-11-22 13:05:47 ^[[2J^?^I`d~A~?.\n");
    }

    #[test]
    fn without_options_the_bytes_stay_but_lines_end_in_one_way() {
        let mut scribe = Scribe::new("nosanitize, notimestamp".parse().unwrap());
        let mut text = Vec::new();
        scribe.write(b"\x1b[1mone\r\r\n\0two\rthree\xff\n", NOW, &mut text, |_, _| ());
        assert_eq!(text, b"\x1b[1mone\ntwo\nthree\xff\n");
        assert!("sanitize,loudly".parse::<LogOptions>().unwrap_err().contains("loudly"));
    }

    #[test]
    fn a_carriage_return_alone_starts_a_line_anew() {
        assert_eq!(write(&mut Scribe::default(), b"10%\r20%\r\n").lines().count(), 2);
    }

    #[test]
    fn a_babbling_node_fills_no_memory() {
        let mut scribe = Scribe::default();
        for _ in 0..100 {
            write(&mut scribe, &[b'x'; 1000]);
        }
        assert!(scribe.open.capacity() < 3 * LINE_MAX);
    }
}
