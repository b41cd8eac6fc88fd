//! What every process needs, and nothing of HTTP or SQL: arguments, the document, inherited sockets, readiness,
//! watchdog, the stop signal, logging, boot events, health issues.
//!
//! ```text
//! pilothouse boot                              as the unit starts it
//! pilothouse boot --check                      checks the document's [boot] and ends
//! pilothouse boot --listen http=unix:/tmp/b    without systemd
//! ```

mod boot_event;
mod context;
mod file;
mod issue;
mod listener;
mod log;
mod memory;
mod notify;
mod run;
mod store;

pub use boot_event::BootEvent;
pub use context::{Context, CredentialError, Paths};
pub use file::replace_file;
pub use issue::{Issue, Issues, Severity};
pub use listener::{Address, Inherited, ListenError};
pub use memory::trim_memory_soon;
pub use run::{Options, Retry, run};
pub use store::Store;

/// Re-exported for [`event!`].
#[doc(hidden)]
pub use tracing;

/// Writes an event that somebody may search for: a MESSAGE_ID, journal fields, a sentence.
///
/// The known keys become `PILOTHOUSE_NODE=` (always the xname), `PILOTHOUSE_MAC=`, `PILOTHOUSE_JOB=`.
///
/// ```
/// # let mac = "ec:e7:a7:05:a1:fc";
/// daemon::event!(domain::event::DHCP_UNKNOWN, mac = mac, "{mac} is in no inventory");
/// ```
#[macro_export]
macro_rules! event {
    (@fields $event:ident, [$($fields:tt)*], node = $value:expr, $($rest:tt)+) => {
        $crate::event!(@fields $event, [$($fields)* pilothouse_node = %$value,], $($rest)+)
    };
    (@fields $event:ident, [$($fields:tt)*], mac = $value:expr, $($rest:tt)+) => {
        $crate::event!(@fields $event, [$($fields)* pilothouse_mac = %$value,], $($rest)+)
    };
    (@fields $event:ident, [$($fields:tt)*], job = $value:expr, $($rest:tt)+) => {
        $crate::event!(@fields $event, [$($fields)* pilothouse_job = %$value,], $($rest)+)
    };
    (@fields $event:ident, [$($fields:tt)*], $($message:tt)+) => {
        match $event.level {
            domain::event::Level::Info => {
                $crate::tracing::info!(message_id = $event.id, $($fields)* $($message)+)
            }
            domain::event::Level::Warning => {
                $crate::tracing::warn!(message_id = $event.id, $($fields)* $($message)+)
            }
            domain::event::Level::Error => {
                $crate::tracing::error!(message_id = $event.id, $($fields)* $($message)+)
            }
        }
    };
    ($event:expr, $($rest:tt)+) => {{
        let event: domain::event::Event = $event;
        $crate::event!(@fields event, [], $($rest)+)
    }};
}

/// Writes an audit record: who did what, whence, and what became of it. timeline follows these entries and chains
/// them; no secret belongs in one.
///
/// ```
/// daemon::audit!(actor = "alice (uid:1000)", whence = "local", result = "ok", "power off of nid001");
/// ```
#[macro_export]
macro_rules! audit {
    (actor = $actor:expr, whence = $whence:expr, result = $result:expr, node = $node:expr, $($message:tt)+) => {
        $crate::tracing::info!(
            pilothouse_audit = 1,
            pilothouse_actor = %$actor,
            pilothouse_whence = %$whence,
            pilothouse_result = %$result,
            pilothouse_node = %$node,
            $($message)+
        )
    };
    (actor = $actor:expr, whence = $whence:expr, result = $result:expr, $($message:tt)+) => {
        $crate::tracing::info!(
            pilothouse_audit = 1,
            pilothouse_actor = %$actor,
            pilothouse_whence = %$whence,
            pilothouse_result = %$result,
            $($message)+
        )
    };
}
