//! `org.pilothouse.Supervisor1`: an object for each service, and the configuration.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use domain::event;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedVariant, fdo, interface};

use crate::apply::{Applier, Refused};
use crate::generations::DOCUMENT_MAX;
use crate::log::event;
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

/// The configuration as others see it.
#[derive(Debug)]
pub(crate) struct ConfigObject {
    pub(crate) applier: Arc<Applier>,
}

#[interface(name = "org.pilothouse.Supervisor1.Config", introspection_docs = false)]
impl ConfigObject {
    /// Applies a document or an answer file: checked whole, written, and everything that reads it restarted.
    /// Returns its generation when all of that is done. There are no options yet.
    #[zbus(out_args("generation"))]
    async fn apply(
        &self,
        document: OwnedFd,
        options: HashMap<String, OwnedVariant>,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<u64> {
        // Until the head is set up it may be set up from its consoles.
        let uid = polkit::uid_of(bus, &header).await?;
        if !self.applier.may_set_up(uid) {
            polkit::require(bus, &header, polkit::CONFIGURE, &HashMap::new()).await?;
        }
        if let Some(option) = options.keys().next() {
            return Err(fdo::Error::InvalidArgs(format!("Apply knows no option {option:?}")));
        }
        let text = read_document(document)?;
        let emitter = SignalEmitter::new(bus, ROOT)?;
        let applied = Arc::clone(&self.applier).apply(&text).await;
        match applied {
            Ok(generation) => {
                self.generation_changed(&emitter).await?;
                Ok(generation)
            }
            Err(refused) => {
                let (text, answer) = match refused {
                    Refused::Document(text) => (text.clone(), fdo::Error::InvalidArgs(text)),
                    Refused::Step(error) => {
                        let text = format!("the configuration could not be applied: {error:#}");
                        (text.clone(), fdo::Error::Failed(text))
                    }
                };
                event!(event::CONFIG_REFUSED, PILOTHOUSE_ACTOR = uid; "{text}");
                Err(answer)
            }
        }
    }

    /// The generation in force; 0: none yet.
    #[zbus(property)]
    fn generation(&self) -> u64 {
        self.applier.generations().applied().unwrap_or(0)
    }

    /// Whether the head is set up.
    #[zbus(property(emits_changed_signal = "false"))]
    fn setup_complete(&self) -> bool {
        self.applier.is_set_up()
    }

    /// What an Apply is doing, for people; empty: there is none.
    #[zbus(property(emits_changed_signal = "false"))]
    fn step(&self) -> String {
        self.applier.step()
    }
}

/// What the descriptor holds: a pipe, a file or a memfd, read from its beginning where it has one.
fn read_document(document: OwnedFd) -> fdo::Result<String> {
    let mut bytes = Vec::new();
    let mut file = File::from(std::os::fd::OwnedFd::from(document));
    let sized = file.metadata().map_err(|error| fdo::Error::InvalidArgs(error.to_string()))?;
    if !sized.is_file() {
        return Err(fdo::Error::InvalidArgs("hand the document over as a file or memfd".to_owned()));
    }
    // From the start, whatever was read or written through the same open file.
    let read = file.rewind().and_then(|()| file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| fdo::Error::InvalidArgs(format!("cannot read the document: {error}")))?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(fdo::Error::InvalidArgs(format!("a document has at most {DOCUMENT_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| fdo::Error::InvalidArgs("the document is no UTF-8".to_owned()))
}
