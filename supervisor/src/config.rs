//! The configuration on the bus: `org.pilothouse.Supervisor1.Config` at the root object.

mod options;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use domain::event;
use zbus::message::Header;
use zbus::names::ErrorName;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, DBusError, Message, OwnedFd, OwnedObjectPath, OwnedVariant, fdo, interface};

use crate::apply::{Applier, Author, Options, Refused};
use crate::bus::ROOT;
use crate::generations::{DOCUMENT_MAX, Entry};
use crate::job::Job;
use crate::log::event;
use crate::polkit;
use crate::render::edits;
use crate::root::Root;

/// How often it is looked whether somebody else, the guard, changed something.
const LOOK: Duration = Duration::from_millis(500);

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// One of D-Bus's own.
    Bus(fdo::Error),
    /// One that D-Bus has no name for: its last word, and the sentence.
    Own(&'static str, String),
}

impl DBusError for Error {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        match self {
            Self::Bus(error) => error.create_reply(call),
            Self::Own(_, text) => Message::error(call, self.name()).build(&(text.as_str(),)),
        }
    }

    fn name(&self) -> ErrorName<'_> {
        match self {
            Self::Bus(error) => error.name(),
            Self::Own(name, _) => ErrorName::from_static_str_unchecked(name),
        }
    }

    fn description(&self) -> Option<&str> {
        match self {
            Self::Bus(error) => error.description(),
            Self::Own(_, text) => Some(text),
        }
    }
}

impl From<fdo::Error> for Error {
    fn from(error: fdo::Error) -> Self {
        Self::Bus(error)
    }
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        Self::Bus(error.into())
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let words = refused.words();
        match refused {
            Refused::Document(_) => fdo::Error::InvalidArgs(words).into(),
            Refused::Step(_) => fdo::Error::Failed(words).into(),
            Refused::Superseded(_) => Self::Own("org.pilothouse.Supervisor1.Error.Superseded", words),
            Refused::Frozen(_) => Self::Own("org.pilothouse.Supervisor1.Error.Frozen", words),
            Refused::Busy(_) => Self::Own("org.pilothouse.Supervisor1.Error.Busy", words),
        }
    }
}

/// The configuration as others see it.
#[derive(Debug)]
pub(crate) struct ConfigObject {
    pub(crate) applier: Arc<Applier>,
    pub(crate) root: Root,
}

#[interface(name = "org.pilothouse.Supervisor1.Config", introspection_docs = false)]
impl ConfigObject {
    /// Applies a document or an answer file: checked whole, written, and everything that reads it restarted.
    /// Returns its generation when all of that is done. Options: `base` (t), `reason` (s), `confirm-within` (t,
    /// seconds), `at` (t, seconds of the UNIX clock), `override-freeze` (b).
    #[zbus(out_args("generation"))]
    async fn apply(
        &self,
        document: OwnedFd,
        options: HashMap<String, OwnedVariant>,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u64, Error> {
        let asked = self.ask(document, &options, bus, &header).await?;
        let job = self.applier.jobs().begin("apply", &asked.author.name).await?;
        Ok(carry_out(&self.applier, &asked, &job).await?)
    }

    /// The same, and returns at once with the job's object.
    #[zbus(out_args("job"))]
    async fn start_apply(
        &self,
        document: OwnedFd,
        options: HashMap<String, OwnedVariant>,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let asked = self.ask(document, &options, bus, &header).await?;
        let job = self.applier.jobs().begin("apply", &asked.author.name).await?;
        let (applier, path) = (Arc::clone(&self.applier), job.path.clone());
        tokio::spawn(async move {
            if let Err(refused) = carry_out(&applier, &asked, &job).await {
                log::debug!("{}: {refused}", job.path);
            }
        });
        Ok(path)
    }

    /// Checks a document or an answer file as Apply does, and changes nothing.
    async fn check(
        &self,
        document: OwnedFd,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        require(bus, &header, "check", 0).await?;
        Ok(self.applier.check(&read_document(document)?).await?)
    }

    /// Keeps the generation that waits to be confirmed; 0 stands for whichever that is.
    #[zbus(out_args("generation"))]
    async fn confirm(
        &self,
        generation: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u64, Error> {
        require(bus, &header, "confirm", generation).await?;
        Ok(self.applier.confirm(generation).await?)
    }

    /// Puts the document of an earlier generation in force again, as a new one, with Apply's options; 0 turns back the
    /// one that is on trial. Returns the generation that is in force then.
    #[zbus(out_args("generation"))]
    async fn rollback(
        &self,
        generation: u64,
        options: HashMap<String, OwnedVariant>,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u64, Error> {
        require(bus, &header, "rollback", generation).await?;
        let mut options = options::parse(&options)?;
        if options.reason.is_empty() && generation != 0 {
            options.reason = format!("rollback to generation {generation}");
        }
        let author = author(bus, &header).await?;
        let job = self.applier.jobs().begin("rollback", &author.name).await?;
        let done = self.applier.roll_back(generation, &author, &options, &job).await;
        Ok(self.ended(&job, done).await?)
    }

    /// Forgets the generation that was kept for later.
    #[zbus(out_args("generation"))]
    async fn cancel(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u64, Error> {
        require(bus, &header, "cancel", 0).await?;
        Ok(self.applier.cancel(&author(bus, &header).await?)?)
    }

    /// The document of a generation, byte for byte; 0 is the one in force.
    #[zbus(out_args("document"))]
    fn read(&self, generation: u64) -> Result<String, Error> {
        let generations = self.applier.generations();
        let number = if generation == 0 { generations.applied() } else { Some(generation) };
        let none = || fdo::Error::InvalidArgs("no generation is in force yet".to_owned());
        let text = generations.read(number.ok_or_else(none)?);
        Ok(text.map_err(|error| fdo::Error::InvalidArgs(format!("{error:#}")))?)
    }

    /// Every generation that is kept: `generation` `time` `base` (t), `author` `reason` `state` `detail` (s), `uid`
    /// (u), `ended` (t). Times are seconds of the UNIX clock.
    #[zbus(out_args("generations"))]
    fn history(&self) -> Vec<HashMap<String, OwnedVariant>> {
        self.applier.generations().history().iter().map(line).collect()
    }

    /// The generation in force; 0: none yet.
    #[zbus(property)]
    fn generation(&self) -> u64 {
        self.applier.generations().applied().unwrap_or(0)
    }

    /// The generation on trial: being applied, waiting to be confirmed, or being turned back; 0: none.
    #[zbus(property)]
    fn pending(&self) -> u64 {
        self.applier.generations().pending().map_or(0, |it| it.generation)
    }

    /// Until when that one has time: microseconds of CLOCK_BOOTTIME; 0: it need not be confirmed.
    #[zbus(property)]
    fn deadline(&self) -> u64 {
        let pending = self.applier.generations().pending();
        pending.filter(|it| it.confirm).map_or(0, |it| it.deadline_us)
    }

    /// The generation that is kept for later; 0: none.
    #[zbus(property)]
    fn scheduled(&self) -> u64 {
        self.applier.generations().scheduled().map_or(0, |it| it.generation)
    }

    /// When that one is applied: seconds of the UNIX clock.
    #[zbus(property)]
    fn scheduled_at(&self) -> u64 {
        self.applier.generations().scheduled().map_or(0, |it| it.at_s)
    }

    /// Why nothing may be changed now; empty: it may.
    #[zbus(property(emits_changed_signal = "false"))]
    fn frozen(&self) -> String {
        self.applier.frozen().unwrap_or_default()
    }

    /// Files written from the configuration that were changed by hand since.
    #[zbus(property(emits_changed_signal = "false"))]
    fn edited_files(&self) -> Vec<String> {
        edits::find(&self.root)
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

/// What somebody asked for who may.
struct Asked {
    text: String,
    author: Author,
    options: Options,
}

impl ConfigObject {
    async fn ask(
        &self,
        document: OwnedFd,
        options: &HashMap<String, OwnedVariant>,
        bus: &Connection,
        header: &Header<'_>,
    ) -> Result<Asked, Error> {
        // Until the head is set up it may be set up from its consoles.
        let author = author(bus, header).await?;
        if !self.applier.may_set_up(author.uid) {
            require(bus, header, "apply", 0).await?;
        }
        Ok(Asked { text: read_document(document)?, author, options: options::parse(options)? })
    }

    async fn ended(&self, job: &Job, done: Result<u64, Refused>) -> Result<u64, Refused> {
        self.applier.jobs().end(job, done.as_ref().copied().map_err(Refused::words)).await;
        done
    }
}

async fn carry_out(applier: &Applier, asked: &Asked, job: &Job) -> Result<u64, Refused> {
    let done = applier.apply(&asked.text, &asked.author, &asked.options, job).await;
    if let Err(refused) = &done {
        let words = refused.words();
        event!(event::CONFIG_REFUSED, PILOTHOUSE_ACTOR = asked.author.uid; "{words}");
    }
    applier.jobs().end(job, done.as_ref().copied().map_err(Refused::words)).await;
    done
}

/// Refuses whoever may not change the configuration.
async fn require(bus: &Connection, header: &Header<'_>, verb: &str, generation: u64) -> Result<(), Error> {
    let number = generation.to_string();
    let mut details = HashMap::from([("verb", verb)]);
    if generation != 0 {
        details.insert("generation", number.as_str());
    }
    Ok(polkit::require(bus, header, polkit::CONFIGURE, &details).await?)
}

/// Whoever calls, by the bus's word.
async fn author(bus: &Connection, header: &Header<'_>) -> Result<Author, Error> {
    let uid = polkit::uid_of(bus, header).await?;
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    Ok(Author { uid, name: user.map_or_else(|| uid.to_string(), |it| it.name) })
}

fn line(entry: &Entry) -> HashMap<String, OwnedVariant> {
    let text = |it: &str| OwnedVariant::from(zbus::Str::from(it.to_owned()));
    let number = |it: u64| OwnedVariant::from(it);
    let (about, outcome) = (&entry.about, &entry.outcome);
    let members = [
        ("generation", number(entry.generation)),
        ("time", number(about.time_s)),
        ("base", number(about.base.unwrap_or(0))),
        ("uid", OwnedVariant::from(about.uid)),
        ("author", text(&about.author)),
        ("reason", text(&about.reason)),
        ("state", text(&outcome.state)),
        ("detail", text(&outcome.detail)),
        ("ended", number(outcome.time_s)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the descriptor holds: a file or a memfd, read from its beginning.
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

/// Announces what changed, by whomever, and applies what was kept for later. For ever.
///
/// # Errors
///
/// If the bus does not take a signal.
pub(crate) async fn follow(bus: Connection, applier: Arc<Applier>) -> anyhow::Result<()> {
    let object: InterfaceRef<ConfigObject> =
        bus.object_server().interface(ROOT).await.context("find the configuration's object")?;
    let mut tick = tokio::time::interval(LOOK);
    let seen = |it: &ConfigObject| {
        let schedule = (it.scheduled(), it.scheduled_at());
        (it.generation(), it.pending(), it.deadline(), schedule)
    };
    let mut before = seen(&*object.get().await);
    loop {
        tick.tick().await;
        applier.keep_appointment().await;
        let (shown, emitter) = (object.get().await, object.signal_emitter());
        let now = seen(&shown);
        let announced = async {
            if now.0 != before.0 {
                shown.generation_changed(emitter).await?;
            }
            if now.1 != before.1 {
                shown.pending_changed(emitter).await?;
            }
            if now.2 != before.2 {
                shown.deadline_changed(emitter).await?;
            }
            if now.3 != before.3 {
                shown.scheduled_changed(emitter).await?;
                shown.scheduled_at_changed(emitter).await?;
            }
            zbus::Result::Ok(())
        };
        announced.await.context("announce the configuration")?;
        before = now;
    }
}
