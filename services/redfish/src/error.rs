//! What can go wrong, at which step, and what to check then.

use std::io;
use std::time::Duration;

use crate::Fingerprint;

/// Why a BMC could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(
        "connect: no connection to {address}; check the BMC's address and cable, and that its web service (HTTPS) \
         is enabled"
    )]
    Connect {
        /// Host and port.
        address: String,
        /// What the network says.
        #[source]
        source: io::Error,
    },
    /// Nothing came back in time. A request that was sent may have been carried out all the same.
    #[error(
        "{step}: no answer from {address} within {} ms; check the BMC's address and cable, and that its web service \
         (HTTPS) is enabled",
        waited.as_millis()
    )]
    Timeout {
        /// The step that got no answer.
        step: &'static str,
        /// Host and port.
        address: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The handshake failed.
    #[error("TLS with {address} failed; check how the BMC's certificate is believed (power.tls)")]
    Tls {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another certificate than the one that is known. Nothing was sent.
    #[error("{address} shows another certificate than before: {shown}, known is {known}")]
    Changed {
        /// Host and port.
        address: String,
        /// The one that is known.
        known: Box<Fingerprint>,
        /// The one that was shown.
        shown: Box<Fingerprint>,
    },
    /// Name or password are not right, or the account may not do this.
    #[error(
        "{step}: the BMC does not take this account (status {status}); check user name, password and role"
    )]
    Auth {
        /// The step that showed it.
        step: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The BMC refused.
    #[error("{step}: the BMC answered {status}{said}")]
    Status {
        /// The step it refused.
        step: &'static str,
        /// The HTTP status.
        status: u16,
        /// Its message with a colon before it; empty if it has none, or if it could repeat a secret.
        said: String,
    },
    /// An answer that is not what Redfish says.
    #[error("{step}: the BMC's answer {reason}")]
    Answer {
        /// The step in which it came.
        step: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The connection broke off before the answer.
    #[error("{step}: the connection broke off before the answer; it may or may not have been carried out")]
    Lost {
        /// The step.
        step: &'static str,
        /// What the connection says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is wanted is not there.
    #[error("the BMC has no {0}")]
    Missing(String),
    /// The BMC says that it cannot do this.
    #[error("the BMC does not allow {wanted}; it allows {}", list(allowed))]
    Unsupported {
        /// What was wanted.
        wanted: &'static str,
        /// What it allows.
        allowed: Vec<String>,
    },
    /// A setting with which no BMC could be asked.
    #[error("{0}")]
    Invalid(&'static str),
}

impl Error {
    /// Whether the account is not taken: asking again soon may lock it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Auth { .. })
    }

    /// Whether what was asked may have been carried out although it failed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Timeout { .. })
    }

    /// Whether nobody is there, or nobody that speaks Redfish.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Timeout { .. } | Self::Tls { .. } | Self::Lost { .. })
    }
}

fn list(allowed: &[String]) -> String {
    if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
}
