//! The head's clock: whether a time server sets it. Leases, tokens and certificates all hang on it.

use std::time::Duration;

use domain::event;
use serde_json::json;
use zbus::{Connection, proxy};

use super::issue::{Issue, Severity};
use crate::model::Health;

/// chrony takes some polls of its servers before it trusts one.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// What is known of the clock; None where nobody could be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Fact {
    /// Whether the kernel counts the clock as set by a time server.
    pub(super) synchronised: Option<bool>,
    /// chrony's unit.
    pub(super) chrony: Option<Health>,
    /// The document's time servers.
    pub(super) servers: Vec<String>,
    /// For how long somebody has been looking.
    pub(super) watched: Duration,
}

#[proxy(
    interface = "org.freedesktop.timedate1",
    default_service = "org.freedesktop.timedate1",
    default_path = "/org/freedesktop/timedate1"
)]
trait TimeDate {
    #[zbus(property, name = "NTPSynchronized")]
    fn ntp_synchronized(&self) -> zbus::Result<bool>;
}

/// Whether the clock is set by a server, as timedated reads it from the kernel (adjtimex(2)); the supervisor's
/// sandbox has no clock calls.
pub(super) async fn is_synchronised(bus: &Connection) -> Option<bool> {
    let builder = TimeDateProxy::builder(bus).cache_properties(zbus::proxy::CacheProperties::No);
    let asked = async { builder.build().await?.ntp_synchronized().await };
    asked.await.map_err(|error| log::debug!("timedated cannot be asked: {error}")).ok()
}

/// What is wrong with it. Without servers in the document the head's own clock is meant to be the cluster's.
pub(super) fn check(fact: &Fact, patience: Duration) -> Vec<Issue> {
    if fact.servers.is_empty() {
        return Vec::new();
    }
    let servers = fact.servers.join(", ");
    let context = json!({"servers": fact.servers});
    if matches!(fact.chrony, Some(Health::Stopped | Health::Failed)) {
        let summary = "chrony does not run: nothing keeps the head's clock right, and nodes get no time";
        let suggestion = "start it: sudo systemctl restart chrony; see why: journalctl -u chrony";
        let event = event::CLOCK_UNSYNCHRONISED;
        return vec![Issue::new("clock-service-stopped", Severity::Error, event, summary, suggestion)];
    }
    if fact.synchronised != Some(false) || fact.watched < patience {
        return Vec::new();
    }
    let summary = format!("no time server sets the head's clock; asked are {servers}");
    let suggestion = "see which answer: sudo chronyc sources; whether UDP 123 is open to them: pilotctl check; \
        other servers: network.ntp of the document";
    let event = event::CLOCK_UNSYNCHRONISED;
    let issue = Issue::new("clock-unsynchronised", Severity::Warning, event, summary, suggestion);
    vec![issue.about(context)]
}

#[cfg(test)]
mod tests {
    use super::{Fact, PATIENCE, check};
    use crate::model::Health;

    #[test]
    fn a_clock_without_an_answer_is_told_after_a_while() {
        let mut fact = Fact {
            synchronised: Some(false),
            chrony: Some(Health::Ok),
            servers: vec!["ntp.site.example".into()],
            watched: PATIENCE,
        };
        let id = |fact: &Fact| check(fact, PATIENCE).first().map(|it| it.id.clone());
        assert_eq!(id(&fact).as_deref(), Some("clock-unsynchronised"));
        fact.watched = PATIENCE / 2;
        assert_eq!(id(&fact), None, "chrony has just been started");
        fact.chrony = Some(Health::Stopped);
        assert_eq!(id(&fact).as_deref(), Some("clock-service-stopped"));
        fact = Fact { synchronised: Some(true), chrony: Some(Health::Ok), watched: PATIENCE, ..fact };
        assert_eq!(id(&fact), None);
        fact = Fact { synchronised: None, chrony: None, ..fact };
        assert_eq!(id(&fact), None, "what nobody knows is no issue");
        fact = Fact { synchronised: Some(false), servers: vec![], ..fact };
        assert_eq!(id(&fact), None, "its own clock is the cluster's");
    }
}
