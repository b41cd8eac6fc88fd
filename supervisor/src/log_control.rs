//! `org.freedesktop.LogControl1`, so that `systemctl service-log-level pilothouse-supervisor debug` works.

use std::collections::HashMap;

use log::LevelFilter;
use zbus::message::Header;
use zbus::{Connection, fdo, interface};

use crate::polkit;

/// Where the interface is looked for.
pub(crate) const PATH: &str = "/org/freedesktop/LogControl1";
/// The names of syslog(3) that can be set, and what they are here. Nothing above info: audit records are written at
/// that level.
const LEVELS: [(&str, LevelFilter); 3] =
    [("debug", LevelFilter::Debug), ("info", LevelFilter::Info), ("notice", LevelFilter::Info)];

/// What is written to the journal.
#[derive(Debug)]
pub(crate) struct LogControl;

#[interface(name = "org.freedesktop.LogControl1", introspection_docs = false)]
impl LogControl {
    #[zbus(property(emits_changed_signal = "false"))]
    fn log_level(&self) -> &str {
        // Trace is the one that syslog has no name for.
        LEVELS.iter().find(|it| it.1 == log::max_level()).map_or("debug", |it| it.0)
    }

    #[zbus(property)]
    async fn set_log_level(
        &self,
        level: String,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> fdo::Result<()> {
        let header = header.ok_or_else(|| fdo::Error::AccessDenied("the call has no sender".to_owned()))?;
        let details = HashMap::from([("service", "supervisor"), ("verb", "log-level")]);
        polkit::require(bus, &header, polkit::MANAGE_SERVICES, &details).await?;
        let known = LEVELS.iter().find(|it| it.0 == level);
        let known = known.ok_or_else(|| {
            fdo::Error::InvalidArgs(format!(
                "{level:?} is not to be had; debug and info are, audit needs info"
            ))
        })?;
        log::set_max_level(known.1);
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn log_target(&self) -> &str {
        if systemd_journal_logger::connected_to_journal() { "journal" } else { "console" }
    }

    #[zbus(property)]
    fn set_log_target(&self, target: String) -> fdo::Result<()> {
        let same = target == "auto" || target == self.log_target();
        let fixed = || fdo::Error::NotSupported("where the supervisor logs to is its unit's".to_owned());
        if same { Ok(()) } else { Err(fixed()) }
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn syslog_identifier(&self) -> &str {
        "pilothouse-supervisor"
    }
}
