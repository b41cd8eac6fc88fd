//! The daemon: takes up with systemd, serves `org.pilothouse.Supervisor1`, follows the units.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::Document;
use futures_util::StreamExt as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, fdo};

use crate::apply::{Applier, Files};
use crate::bus::{NAME, ROOT, ServiceObject};
use crate::certificates::Certificates;
use crate::config::{self, ConfigObject};
use crate::generations::Generations;
use crate::health::{self, Health};
use crate::job::Jobs;
use crate::log_control::{self, LogControl};
use crate::registry::{Registry, object_path};
use crate::root::Root;
use crate::systemd::Systemd;

/// systemd's name on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Where files are; tests put them elsewhere. The bus is the one of `DBUS_SYSTEM_BUS_ADDRESS`, else the
/// system's.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Places {
    /// The generations of the configuration
    #[arg(long, default_value = "/var/lib/pilothouse/config")]
    pub(crate) state: PathBuf,
    /// A folder in memory that is the supervisor's alone
    #[arg(long, default_value = "/run/pilothouse-supervisor")]
    pub(crate) run: PathBuf,
    /// The services' sockets
    #[arg(long, default_value = "/run/pilothouse")]
    pub(crate) sockets: PathBuf,
    /// The mark that the head is set up
    #[arg(long, default_value = "/var/lib/pilothouse/setup-complete")]
    pub(crate) marker: PathBuf,
    /// The services' program
    #[arg(long, default_value = "/usr/bin/pilothouse")]
    pub(crate) pilothouse: PathBuf,
    /// The top of the system that is configured
    #[arg(long, default_value = "/", hide = true)]
    pub(crate) root: PathBuf,
    /// Which boot of the machine this is, systemd's %b
    #[arg(long, default_value = "", hide = true)]
    pub(crate) boot: String,
    #[command(flatten)]
    health: health::Places,
}

impl Places {
    /// The document in force.
    pub(crate) fn document(&self) -> Option<Document> {
        let generations = Generations::new(self.state.clone());
        Document::parse(&generations.read(generations.applied()?).ok()?).ok()
    }
}

/// Runs until SIGTERM, or until the bus is lost; then systemd starts us again and the truth is read anew.
///
/// # Errors
///
/// If the bus or systemd cannot be reached.
pub(crate) async fn run(places: Places) -> anyhow::Result<()> {
    let connection = Connection::system().await.context("connect to the system bus")?;
    let systemd = Systemd::connect(&connection).await?;
    // Listened to before the states are read, so that no change falls between; and read from at once: a stream that
    // nobody empties holds up the whole connection, and with it the answers that are waited for.
    let signals = Signals::listen(&connection, &systemd).await?;
    let news = Arc::new(News::default());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(signals.hear(Arc::clone(&news)));
    let registry = Registry::read(systemd.clone(), connection.clone()).await?;
    let around = health::Around {
        connection: connection.clone(),
        systemd: systemd.clone(),
        registry: registry.clone(),
        sockets: places.sockets.clone(),
        run: places.run.clone(),
        document: Box::new({
            let places = places.clone();
            move || places.document()
        }),
    };
    let health = Health::show(places.health, around).await?;
    let files = Files {
        pilothouse: places.pilothouse,
        run: places.run,
        sockets: places.sockets,
        marker: places.marker,
        boot: places.boot,
    };
    let sockets = files.sockets.clone();
    let generations = Generations::new(places.state);
    let jobs = Jobs::new(connection.clone());
    let applier = Arc::new(Applier::new(files, generations, systemd.clone(), registry.clone(), jobs));
    let certificates = Certificates::show(sockets, connection.clone(), systemd.clone()).await?;
    let config = ConfigObject { applier: Arc::clone(&applier), root: Root::new(places.root) };
    serve_objects(&connection, &systemd, &registry, config).await?;
    registry.tell_systemd();
    sd_notify::notify(&[NotifyState::Ready]).context("tell systemd that we are ready")?;

    let mut term = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch SIGINT")?;
    tasks.spawn(watchdog());
    tasks.spawn(certificates.follow());
    tasks.spawn(health.follow());
    tasks.spawn(async move { look(&news, &registry, &systemd).await });
    tasks.spawn(config::follow(connection, Arc::clone(&applier)));
    tasks.spawn(async move {
        applier.resume().await;
        std::future::pending().await
    });
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        ended = tasks.join_next() => ended.context("no task")?.context("a task broke")??,
    }
    sd_notify::notify(&[NotifyState::Stopping]).context("tell systemd that we stop")
}

/// Everything is there before the name is, so that nobody who waits for the name finds half of it.
async fn serve_objects(
    connection: &Connection,
    systemd: &Systemd,
    registry: &Registry,
    config: ConfigObject,
) -> anyhow::Result<()> {
    let server = connection.object_server();
    for watched in registry.watched() {
        let object = ServiceObject {
            name: watched.name,
            unit: watched.unit.clone(),
            state: watched.state(),
            systemd: systemd.clone(),
        };
        server.at(object_path(watched.name), object).await.context("serve a service's object")?;
    }
    server.at(ROOT, config).await.context("serve the configuration's object")?;
    server.at(log_control::PATH, LogControl).await.context("serve the log's object")?;
    server.at(ROOT, fdo::ObjectManager).await.context("serve the object manager")?;
    connection.request_name(NAME).await.with_context(|| format!("own the name {NAME}"))?;
    Ok(())
}

/// Signals that may wait to be heard: a boot of the head sends hundreds within a second.
const SIGNALS_MAX: usize = 4096;

/// What systemd says of its own accord.
struct Signals {
    properties: MessageStream,
    reloading: zbus_systemd::systemd1::ReloadingStream,
    owner: fdo::NameOwnerChangedStream,
}

impl Signals {
    async fn listen(connection: &Connection, systemd: &Systemd) -> anyhow::Result<Self> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path_namespace("/org/freedesktop/systemd1/unit")
            .build()
            .context("build a match")?;
        let properties = MessageStream::for_match_rule(rule, connection, NonZero::new(SIGNALS_MAX)).await;
        let reloading = systemd.manager().receive_reloading().await.context("listen for reloads")?;
        let bus = fdo::DBusProxy::new(connection).await.context("reach the bus")?;
        let owner = bus.receive_name_owner_changed_with_args(&[(0, SYSTEMD)]).await;
        Ok(Self {
            properties: properties.context("listen for changes of units")?,
            reloading,
            owner: owner.context("listen for systemd")?,
        })
    }

    async fn hear(mut self, news: Arc<News>) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                message = self.properties.next() => {
                    let message = message.context("the bus was lost")?.context("the bus was lost")?;
                    let path = message.header().path().map(|it| it.as_str().to_owned());
                    // Of all units of the machine ours are kept; `pilothouse-` is escaped so in a path.
                    if path.as_ref().is_some_and(|it| it.contains("/pilothouse_2d")) {
                        news.add(path);
                    }
                }
                reloading = self.reloading.next() => {
                    let Some(reloading) = reloading else { bail!("the bus was lost") };
                    // `false` says that it is over; signals may have been lost meanwhile.
                    if !reloading.args().is_ok_and(|it| it.active) {
                        news.add(None);
                    }
                }
                owner = self.owner.next() => {
                    let Some(owner) = owner else { bail!("the bus was lost") };
                    if owner.args().is_ok_and(|it| it.new_owner().is_some()) {
                        news.add(None);
                    }
                }
            }
        }
    }
}

/// Reads the states of units that changed.
async fn look(news: &News, registry: &Registry, systemd: &Systemd) -> anyhow::Result<()> {
    loop {
        match news.next().await {
            Some(path) => registry.refresh(&path).await,
            None => {
                systemd.subscribe().await?;
                registry.refresh_all().await;
            }
        }
    }
}

/// What changed and was not looked at yet: the paths of units, none for all of them. As many as there are units, at
/// most, however often each changes.
#[derive(Debug, Default)]
struct News {
    changed: Mutex<BTreeSet<Option<String>>>,
    wake: Notify,
}

impl News {
    fn add(&self, path: Option<String>) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
        self.wake.notify_one();
    }

    async fn next(&self) -> Option<String> {
        loop {
            if let Some(path) = self.changed.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return path;
            }
            self.wake.notified().await;
        }
    }
}

/// Tells the watchdog, twice in its time, that tasks still run.
async fn watchdog() -> anyhow::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut tick = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    loop {
        tick.tick().await;
        sd_notify::notify(&[NotifyState::Watchdog]).context("tell the watchdog")?;
    }
}
