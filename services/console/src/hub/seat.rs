//! Who is at a console, and what they are told.

use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Notices that wait for somebody; more are dropped.
pub(super) const NOTICES_MAX: usize = 64;

/// Somebody at a console, as conman names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) tty: Option<String>,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}@{}>", self.user, self.host)?;
        match &self.tty {
            Some(tty) => write!(f, " on {tty}"),
            None => Ok(()),
        }
    }
}

/// What somebody wants at a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To read.
    Read,
    /// To write if nobody else does.
    Write,
    /// To write in place of whoever does.
    Force,
    /// To write beside whoever does.
    Join,
}

/// What somebody does at a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Reads.
    Read,
    /// Reads and writes.
    Write,
    /// Writes to several consoles and reads none.
    Broadcast,
}

impl Mode {
    pub(crate) fn writes(self) -> bool {
        self != Self::Read
    }
}

/// Something to tell whoever is at a console: in our words, and in conman's where conman has some.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) ours: Arc<str>,
    pub(crate) conman: Arc<str>,
}

impl Notice {
    /// The same words for both.
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        let ours = text.into();
        Self { conman: Arc::clone(&ours), ours }
    }

    /// With conman's words for what it tells as well.
    pub(crate) fn with_conman(self, text: impl Into<Arc<str>>) -> Self {
        Self { conman: text.into(), ..self }
    }
}

/// What somebody is told beside what the node writes.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Notice(Notice),
    /// Somebody took the console.
    Stolen,
}

/// Somebody's place in a console's books.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) who: Who,
    pub(crate) mode: Mode,
    /// When they typed last.
    pub(crate) typed: Instant,
    pub(super) told: mpsc::Sender<Told>,
}

impl Seat {
    /// Whoever does not take notices needs no more of them.
    pub(super) fn tell(&self, told: Told) {
        if self.told.try_send(told).is_err() {
            tracing::debug!("{} misses a notice", self.who);
        }
    }

    /// As conman tells who has a console.
    pub(crate) fn shown(&self, console: &str, now: Instant) -> String {
        let mode = if self.mode == Mode::Broadcast { "B/C" } else { "R/W" };
        let idle = shown_seconds(now.saturating_duration_since(self.typed).as_secs());
        format!("Console [{console}] open {mode} by {} (idle {idle}).", self.who)
    }
}

/// A time as conman shows it: `1h2m3s`.
fn shown_seconds(seconds: u64) -> String {
    let (mut rest, mut parts) = (seconds, Vec::new());
    for (unit, size) in [("s", 60), ("m", 60), ("h", 24), ("d", 7), ("w", 52), ("y", u64::MAX)] {
        parts.push(format!("{}{unit}", rest % size));
        rest /= size;
        if rest == 0 {
            break;
        }
    }
    parts.reverse();
    parts.concat()
}

/// The time as conman has it in its notices.
pub(super) fn short_time(now: OffsetDateTime) -> String {
    now.format(&format_description!("[month]-[day] [hour]:[minute]")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Who, shown_seconds};

    #[test]
    fn a_time_is_shown_as_conman_does() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3723, "1h2m3s"),
            (86_400, "1d0h0m0s"),
            (8 * 86_400, "1w1d0h0m0s"),
            (365 * 86_400, "1y0w1d0h0m0s"),
        ] {
            assert_eq!(shown_seconds(seconds), shown);
        }
    }

    #[test]
    fn somebody_is_named_with_a_terminal_if_there_is_one() {
        let mut who = Who { user: "root".into(), host: "localhost".into(), tty: None };
        assert_eq!(who.to_string(), "<root@localhost>");
        who.tty = Some("pts/3".into());
        assert_eq!(who.to_string(), "<root@localhost> on pts/3");
    }
}
