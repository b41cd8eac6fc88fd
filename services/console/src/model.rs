//! What is made of the bytes of a console: sanitised lines with time stamps, and the stages seen in them. Pure.

use std::fmt::Write;

use domain::BootStage;
use time::OffsetDateTime;
use time::macros::format_description;

/// A line longer than this is broken, so that a babbling node cannot fill the memory.
const LINE_MAX: usize = 4096;
/// What is written before a line that this service wrote itself.
pub(crate) const MARK: &str = "<Pilothouse>";

/// Turns a stream of bytes into the text of the log: conman's `sanitize,timestamp`.
#[derive(Debug, Default)]
pub(crate) struct Scribe {
    /// The line that has not ended yet, as it is in the log.
    open: String,
    /// What of it is not in the log yet.
    pending: String,
    return_seen: bool,
}

/// Finds stages in lines: a log-in prompt, a panic.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    login_seen: bool,
}

impl Scribe {
    /// The text to append for these bytes, at this time.
    pub(crate) fn write(&mut self, bytes: &[u8], now: OffsetDateTime, mut line: impl FnMut(&str)) -> String {
        let mut text = String::with_capacity(bytes.len() + 32);
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(&mut text, now, &mut line),
                // A carriage return ends nothing by itself: `\r\n` is one end, `\r\r\n` too.
                b'\r' => self.return_seen = true,
                0 => {}
                _ => {
                    if std::mem::take(&mut self.return_seen) && !self.open.is_empty() {
                        self.end_line(&mut text, now, &mut line);
                    }
                    self.put(byte);
                    if self.open.len() >= LINE_MAX {
                        self.end_line(&mut text, now, &mut line);
                    }
                }
            }
        }
        if !self.pending.is_empty() {
            // A prompt has no end of line; it belongs into the log all the same.
            self.flush(&mut text, now);
            line(&self.open);
        }
        text
    }

    /// A line of our own, on a line by itself.
    pub(crate) fn mark(&mut self, message: &str, now: OffsetDateTime) -> String {
        let mut text = String::new();
        if !self.open.is_empty() {
            text.push('\n');
        }
        self.open.clear();
        self.pending.clear();
        self.return_seen = false;
        let sentence = message.replace(['\r', '\n'], " ");
        if writeln!(text, "{}{MARK} {sentence}", stamp(now)).is_err() {
            text.clear();
        }
        text
    }

    fn put(&mut self, byte: u8) {
        let shown = match byte {
            b'\t' | b' '..=b'~' => {
                self.open.push(char::from(byte));
                self.pending.push(char::from(byte));
                return;
            }
            0..=31 => format!("^{}", char::from(byte + 64)),
            127 => "^?".to_owned(),
            _ => "~".to_owned(),
        };
        self.open.push_str(&shown);
        self.pending.push_str(&shown);
    }

    fn flush(&mut self, text: &mut String, now: OffsetDateTime) {
        if self.open.len() == self.pending.len() {
            text.push_str(&stamp(now));
        }
        text.push_str(&self.pending);
        self.pending.clear();
    }

    fn end_line(&mut self, text: &mut String, now: OffsetDateTime, line: &mut impl FnMut(&str)) {
        if self.open.is_empty() || !self.pending.is_empty() {
            self.flush(text, now);
        }
        line(&self.open);
        text.push('\n');
        self.open.clear();
        self.return_seen = false;
    }
}

/// `2026-11-22 13:05:47 `, in UTC, as conman writes it in the zone of its daemon.
fn stamp(now: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] ");
    now.format(&format).unwrap_or_default()
}

impl Watch {
    /// The stage that this line shows, once a boot.
    pub(crate) fn look(&mut self, line: &str) -> Option<BootStage> {
        const STARTS: [&str; 5] = ["iPXE", "Linux version", "BdsDxe", "SeaBIOS", "Welcome to"];
        if line.contains("Kernel panic - not syncing") {
            return Some(BootStage::Panic);
        }
        if STARTS.iter().any(|it| line.contains(it)) {
            self.login_seen = false;
            return None;
        }
        let prompt = line.trim_end().ends_with("login:") && line.len() < 200;
        if prompt && !std::mem::replace(&mut self.login_seen, true) {
            return Some(BootStage::Login);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use domain::BootStage;
    use time::macros::datetime;

    use super::{Scribe, Watch};

    const NOW: time::OffsetDateTime = datetime!(2026-11-22 13:05:47 UTC);

    fn write(scribe: &mut Scribe, bytes: &[u8]) -> String {
        scribe.write(bytes, NOW, |_| ())
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
    fn what_a_terminal_would_obey_is_made_visible() {
        let mut scribe = Scribe::default();
        assert_eq!(write(&mut scribe, b"\x1b[2J\x7f\xff\t.\n"), "2026-11-22 13:05:47 ^[[2J^?~\t.\n");
        let long = write(&mut Scribe::default(), &[b'x'; 9000]);
        assert_eq!(long.lines().count(), 3);
    }

    #[test]
    fn a_carriage_return_alone_starts_a_line_anew() {
        assert_eq!(write(&mut Scribe::default(), b"10%\r20%\r\n").lines().count(), 2);
    }

    #[test]
    fn a_prompt_counts_once_a_boot() {
        let mut watch = Watch::default();
        assert_eq!(watch.look("nid001 login: "), Some(BootStage::Login));
        assert_eq!(watch.look("nid001 login: "), None);
        assert_eq!(watch.look("[    0.0] Linux version 6.12"), None);
        assert_eq!(watch.look("nid001 login:"), Some(BootStage::Login));
        assert_eq!(watch.look("Kernel panic - not syncing: VFS"), Some(BootStage::Panic));
    }
}
