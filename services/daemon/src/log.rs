//! Where events go: the journal with their fields when systemd connected us to it, else lines on stderr.

use std::os::unix::fs::MetadataExt;

use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging. `RUST_LOG` filters; without it info and above are written.
pub(crate) fn start(identifier: &str) {
    let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let journal = is_journal().then(|| tracing_journald::layer().ok()).flatten();
    let started = match journal {
        Some(journal) => {
            let journal = journal.with_field_prefix(None).with_syslog_identifier(identifier.to_owned());
            tracing_subscriber::registry().with(filter()).with(journal).try_init()
        }
        None => {
            let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
            tracing_subscriber::registry().with(filter()).with(lines).try_init()
        }
    };
    if let Err(error) = started {
        eprintln!("{identifier}: logging was started already: {error}");
    }
}

/// Whether stderr is the journal (systemd.exec(5), JOURNAL_STREAM).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}
