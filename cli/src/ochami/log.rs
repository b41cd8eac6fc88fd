//! What the command says beside its output: to standard error, in one of three formats. Never a token.

use std::io::IsTerminal;
use std::sync::OnceLock;

use time::format_description::well_known::Rfc3339;

use super::error::Stop;

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Rfc3339,
    Basic,
    /// Its name is json in the original, where it is neither.
    Json,
}

#[derive(Debug)]
struct Log {
    level: Level,
    style: Style,
    colour: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Sets up what is said, by the names that flags and configuration use.
pub(super) fn start(level: &str, format: &str, colour: &str) -> Result<(), Stop> {
    let level = match level {
        "debug" => Level::Debug,
        "info" => Level::Info,
        "" | "warning" => Level::Warning,
        other => return Err(Stop::usage(format!("no log level {other:?}; write info, warning or debug"))),
    };
    let style = match format {
        "" | "rfc3339" => Style::Rfc3339,
        "basic" => Style::Basic,
        "json" => Style::Json,
        other => return Err(Stop::usage(format!("no log format {other:?}; write json, rfc3339 or basic"))),
    };
    let colour = match colour {
        "" | "auto" => std::io::stderr().is_terminal(),
        "on" => true,
        "off" => false,
        other => return Err(Stop::usage(format!("no log colour {other:?}; write auto, on or off"))),
    };
    // A second start in one process is a test's; the first one holds.
    LOG.get_or_init(|| Log { level, style, colour });
    Ok(())
}

pub(super) fn debug(message: impl AsRef<str>) {
    say(Level::Debug, message.as_ref(), None);
}

pub(super) fn info(message: impl AsRef<str>) {
    say(Level::Info, message.as_ref(), None);
}

pub(super) fn warning(message: impl AsRef<str>) {
    say(Level::Warning, message.as_ref(), None);
}

/// A failure and its cause.
pub(super) fn error(stop: &Stop) {
    say(Level::Error, &stop.message, stop.cause.as_deref());
}

fn say(level: Level, message: &str, cause: Option<&str>) {
    let fallback = Log { level: Level::Warning, style: Style::Rfc3339, colour: false };
    let log = LOG.get().unwrap_or(&fallback);
    if level < log.level {
        return;
    }
    let line = log.line(level, message, cause, time::OffsetDateTime::now_utc());
    eprintln!("{line}");
}

impl Log {
    fn line(&self, level: Level, message: &str, cause: Option<&str>, now: time::OffsetDateTime) -> String {
        let (long, short, colour) = match level {
            Level::Debug => ("DEBUG", "DBG", "33"),
            Level::Info => ("INFO", "INF", "32"),
            Level::Warning => ("WARN", "WRN", "33"),
            Level::Error => ("ERROR", "ERR", "31"),
        };
        let paint = |code: &str, text: &str| {
            if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let head = match self.style {
            Style::Basic => paint(colour, &format!("{long:<6}|")),
            Style::Rfc3339 => {
                let now = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
                format!("{} {} {}", paint("90", &now), paint(colour, short), paint("36", ">"))
            }
            Style::Json => {
                let (hour, minute) = (now.hour(), now.minute());
                let half = if hour < 12 { "AM" } else { "PM" };
                let now = format!("{}:{minute:02}{half}", (hour + 11) % 12 + 1);
                format!("{} {}", paint("90", &now), paint(colour, short))
            }
        };
        let cause = cause.map(|it| format!(" {}{it:?}", paint("36", "error="))).unwrap_or_default();
        format!("{head} {}{cause}", message.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Log, Style};

    #[test]
    fn a_line_has_the_format_that_was_asked_for() {
        let now = time::OffsetDateTime::from_unix_timestamp(1_795_365_510)
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        let line = |style| {
            Log { level: Level::Debug, style, colour: false }.line(Level::Error, "no", Some("a \"b\""), now)
        };
        assert_eq!(line(Style::Basic), "ERROR | no error=\"a \\\"b\\\"\"");
        assert_eq!(line(Style::Rfc3339), "2026-11-22T16:38:30Z ERR > no error=\"a \\\"b\\\"\"");
        assert_eq!(line(Style::Json), "4:38PM ERR no error=\"a \\\"b\\\"\"");
    }
}
