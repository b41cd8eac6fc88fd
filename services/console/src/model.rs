//! What is decided without clock, file or task: the text of the log, what lines tell of a boot, when a line
//! is opened again.

mod retry;
mod scribe;
mod watch;

pub(crate) use retry::{Takeover, Waits};
pub(crate) use scribe::{LogOptions, MARK, STAMP_BYTES, Scribe, mark_line, stamp};
pub(crate) use watch::{Patterns, Sight, Watch};
