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
        Ok(()) => log::set_max_level(log::LevelFilter::Info),
        Err(error) => eprintln!("{identifier}: logging was started already: {error}"),
    }
}

/// A line on stderr for each entry.
struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{}: {}", record.level(), record.args());
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

/// Writes an audit record, which timeline chains: who did what on the bus, and whether they might.
macro_rules! audit {
    ($actor:expr, $result:expr; $($message:tt)+) => {
        ::log::info!(
            PILOTHOUSE_AUDIT = 1,
            PILOTHOUSE_ACTOR:% = $actor,
            PILOTHOUSE_WHENCE = "local",
            PILOTHOUSE_RESULT = $result;
            $($message)+
        )
    };
}
pub(crate) use audit;
