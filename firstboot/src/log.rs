//! Where entries go: the journal with their fields when systemd connected us to it, else lines on stderr.

use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Starts logging; info and above are written.
pub(crate) fn start(identifier: &str) {
    let journal = connected_to_journal().then(|| JournalLog::new().ok()).flatten();
    let started = match journal {
        Some(journal) => journal.with_syslog_identifier(identifier.to_owned()).install(),
        None => log::set_boxed_logger(Box::new(Lines)),
    };
    match started {
        // zbus logs what it sends at lower levels; nothing of that is wanted here.
        Ok(()) => log::set_max_level(log::LevelFilter::Info),
        Err(error) => eprintln!("{identifier}: logging was started already: {error}"),
    }
}

/// A line on stderr for each entry, with its MESSAGE_ID where it has one.
struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let id = record.key_values().get("MESSAGE_ID".into());
        let id = id.map(|it| format!(" [{it}]")).unwrap_or_default();
        eprintln!("{}{id}: {}", record.level(), record.args());
    }
    fn flush(&self) {}
}

/// Writes an event that somebody may search for: its MESSAGE_ID, fields, a sentence.
macro_rules! event {
    ($event:expr, $($key:ident = $value:expr),*; $($message:tt)+) => {{
        let event: domain::event::Event = $event;
        let level = match event.level {
            domain::event::Level::Info => ::log::Level::Info,
            domain::event::Level::Warning => ::log::Level::Warn,
            domain::event::Level::Error => ::log::Level::Error,
        };
        ::log::log!(level, MESSAGE_ID = event.id, $($key:% = $value),*; $($message)+)
    }};
}
pub(crate) use event;
