//! `org.pilothouse.Supervisor1`: an object for each service.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use zbus::message::Header;
use zbus::{Connection, fdo, interface};

use crate::model::State;
use crate::polkit;
use crate::systemd::{Systemd, Verb};

/// The name on the bus.
pub(crate) const NAME: &str = "org.pilothouse.Supervisor1";
/// The root object, with ObjectManager and the configuration.
pub(crate) const ROOT: &str = "/org/pilothouse/Supervisor1";
/// Above any unit's own TimeoutStartSec and TimeoutStopSec.
pub(crate) const JOB_MAX: Duration = Duration::from_secs(150);

/// A service as others see it.
#[derive(Debug)]
pub(crate) struct ServiceObject {
    pub(crate) name: &'static str,
    pub(crate) unit: String,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) systemd: Systemd,
}

#[interface(name = "org.pilothouse.Supervisor1.Service", introspection_docs = false)]
impl ServiceObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        self.name
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn unit(&self) -> &str {
        &self.unit
    }

    /// systemd's ActiveState.
    #[zbus(property)]
    fn state(&self) -> String {
        self.state.borrow().active.clone()
    }

    /// systemd's SubState.
    #[zbus(property)]
    fn sub_state(&self) -> String {
        self.state.borrow().sub.clone()
    }

    /// ok, starting, failed or stopped.
    #[zbus(property)]
    fn health(&self) -> &str {
        self.state.borrow().health().word()
    }

    /// How often systemd started it again by itself.
    #[zbus(property)]
    fn restarts(&self) -> u32 {
        self.state.borrow().restarts
    }

    /// When it came into this state: microseconds of the UNIX clock, 0 if never.
    #[zbus(property)]
    fn since(&self) -> u64 {
        self.state.borrow().since_us
    }

    async fn start(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.run(Verb::Start, bus, &header).await
    }

    async fn stop(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.run(Verb::Stop, bus, &header).await
    }

    async fn restart(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.run(Verb::Restart, bus, &header).await
    }
}

impl ServiceObject {
    async fn run(&self, verb: Verb, bus: &Connection, header: &Header<'_>) -> fdo::Result<()> {
        let details = HashMap::from([("service", self.name), ("verb", verb.word())]);
        polkit::require(bus, header, polkit::MANAGE_SERVICES, &details).await?;
        log::info!("{} {} for {}", verb.word(), self.unit, header.sender().map_or("", |it| it.as_str()));
        let done = self.systemd.run(verb, &self.unit, JOB_MAX).await;
        done.map_err(|error| fdo::Error::Failed(format!("{error:#}")))
    }
}
