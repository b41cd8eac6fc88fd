//! `[logs]`: where what the head writes down goes.

use serde::{Deserialize, Serialize};

use crate::Size;

/// Logs that leave the head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// Syslog servers of the site, at most 8; each is sent everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<LogTarget>,
    /// Whether the lines of consoles are sent too.
    pub consoles: bool,
}

/// A syslog server that takes RFC 5424 over TCP (RFC 6587) or TLS (RFC 5425).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogTarget {
    /// Its name or address.
    pub host: String,
    /// 514, with TLS 6514, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether it is spoken to over TLS; its certificate has to name the host.
    #[serde(default)]
    pub tls: bool,
    /// Who vouches for it, certificates in PEM; the system's roots, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What waits on disk at most while it does not answer.
    #[serde(default = "queue")]
    pub queue: Size,
}

/// So many servers: each has a queue on disk.
pub(super) const TARGETS_MAX: usize = 8;

fn queue() -> Size {
    Size(256 << 20)
}

impl LogTarget {
    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 6514 } else { 514 })
    }
}
