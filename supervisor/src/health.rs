//! What is wrong with the head, as data (INTERFACES 7): what the services say of themselves, and what the supervisor
//! finds: units, certificates, the clock, disks, PostgreSQL.
//!
//! Each check is a function from facts to issues in a file of its own; facts are gathered apart from it. Units and the
//! services' files are looked at every second, what is cheap every minute, PostgreSQL every hour, and every minute as
//! long as something is wrong with it; `Check` on the bus looks at everything at once.

mod bus;
mod certificates;
mod clock;
mod disks;
mod fix;
mod issue;
mod notify;
mod postgres;
mod told;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, event};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use zbus::Connection;

use self::issue::Issue;
use crate::log::event;
use crate::model::Health as UnitHealth;
use crate::registry::Registry;
use crate::systemd::{Systemd, Verb};

/// The services' files and the units.
const LOOK: Duration = Duration::from_secs(1);
/// What is cheap: disks, clock, certificates, the units of others.
const CHEAP: Duration = Duration::from_secs(60);
/// What costs others something: PostgreSQL.
const DEAR: Duration = Duration::from_secs(3600);
/// All of PostgreSQL's answers together.
const DATABASE_MAX: Duration = Duration::from_secs(60);
/// Tells people.
const NOTIFY: &str = "pilothouse-notify.service";
/// Above what the unit itself may take.
const NOTIFY_MAX: Duration = Duration::from_secs(1900);
/// Callers that wait for a look at everything.
const ASKED_MAX: usize = 16;
/// The role that PostgreSQL knows us by.
const ROLE: &str = "supervisor";

/// Where the checks look; tests let them look elsewhere.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Places {
    /// Where the head writes
    #[arg(long, hide = true, value_delimiter = ',', default_values = disks::PLACES)]
    disks: Vec<PathBuf>,
    /// psql
    #[arg(long, hide = true, default_value = "/usr/lib/postgresql/17/bin/psql")]
    psql: PathBuf,
    /// How psql connects; as the document has it if not given
    #[arg(long, hide = true)]
    database: Option<String>,
    /// The databases that are looked at; all that we may connect to if not given
    #[arg(long, hide = true, value_delimiter = ',')]
    databases: Vec<String>,
    /// Seconds until a clock that nobody sets is told of
    #[arg(long, hide = true, default_value_t = clock::PATIENCE.as_secs())]
    clock_patience: u64,
}

/// What the checks ask.
pub(crate) struct Around {
    pub(crate) connection: Connection,
    pub(crate) systemd: Systemd,
    pub(crate) registry: Registry,
    /// The folder of the services' sockets and files.
    pub(crate) sockets: PathBuf,
    /// A folder in memory that is ours alone: a restart of ours is no beginning of an issue.
    pub(crate) run: PathBuf,
    /// The document in force.
    pub(crate) document: Box<dyn Fn() -> Option<Document> + Send + Sync>,
}

/// Is told when everything was looked at.
type Looked = oneshot::Sender<()>;

/// All issues of the head, kept up to date.
pub(crate) struct Health {
    around: Around,
    places: Places,
    told: told::Told,
    flaps: units::Flaps,
    /// The units of others that systemd calls failed.
    others: Vec<String>,
    /// What each source says.
    sources: BTreeMap<String, Vec<Issue>>,
    /// What an earlier supervisor had found, until the first look is told.
    kept: Option<Vec<Issue>>,
    shown: bus::Shown,
    asked: mpsc::Receiver<Looked>,
    began: Instant,
    cheap_due: Instant,
    dear_due: Instant,
}

impl Health {
    /// With what is seen at a first look; objects are on the bus before its name is.
    ///
    /// # Errors
    ///
    /// If the bus does not take an object.
    pub(crate) async fn show(places: Places, around: Around) -> anyhow::Result<Self> {
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        let kept = read_kept(&around.run.join("issues.json"));
        let fixer = fix::Fixer { systemd: around.systemd.clone(), registry: around.registry.clone(), asks };
        let shown = bus::Shown::serve(around.connection.clone(), fixer).await?;
        let told = told::Told::new(around.sockets.clone());
        let now = Instant::now();
        let mut health = Self {
            around,
            places,
            told,
            flaps: units::Flaps::default(),
            others: Vec::new(),
            // PostgreSQL is not asked at once: what was wrong with it is so until then.
            sources: BTreeMap::from([("supervisor postgres".to_owned(), of_database(&kept))]),
            kept: Some(kept),
            shown,
            asked,
            began: now,
            cheap_due: now,
            // PostgreSQL may be starting beside us.
            dear_due: now + CHEAP,
        };
        health.look(false).await?;
        Ok(health)
    }

    /// Looks for ever.
    ///
    /// # Errors
    ///
    /// If the bus does not take an object.
    pub(crate) async fn follow(mut self) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                _ = tick.tick() => None,
                asked = self.asked.recv() => asked,
            };
            // One look answers all who wait.
            let mut waiting: Vec<Looked> = first.into_iter().collect();
            while let Ok(another) = self.asked.try_recv() {
                waiting.push(another);
            }
            self.look(!waiting.is_empty()).await?;
            for asked in waiting {
                if asked.send(()).is_err() {
                    log::debug!("who had the head looked at has gone");
                }
            }
        }
    }

    async fn look(&mut self, everything: bool) -> anyhow::Result<()> {
        for (service, issues) in self.told.look() {
            self.sources.insert(service.name().to_owned(), issues);
        }
        let now = Instant::now();
        if everything || now >= self.cheap_due {
            self.cheap_due = now + CHEAP;
            self.look_cheaply().await;
        }
        self.look_at_units(now);
        if everything || now >= self.dear_due {
            let wrong = self.look_at_database().await;
            self.dear_due = Instant::now() + if wrong { CHEAP } else { DEAR };
        }
        self.tell().await
    }

    fn look_at_units(&mut self, now: Instant) {
        let watched = self.around.registry.watched().iter();
        let facts: Vec<_> = watched
            .map(|it| {
                let state = it.state().borrow().clone();
                units::Fact { unit: it.unit.clone(), health: state.health(), restarts: state.restarts }
            })
            .collect();
        let issues = units::check(&facts, &self.others, &mut self.flaps, now - self.began);
        self.sources.insert("supervisor units".to_owned(), issues);
    }

    async fn look_cheaply(&mut self) {
        let failed = vec!["failed".to_owned()];
        match self.around.systemd.manager().list_units_filtered(failed).await {
            Ok(units) => self.others = units.into_iter().map(|it| it.0).collect(),
            Err(error) => log::debug!("systemd does not list what failed: {error}"),
        }
        let certificates = certificates::gather(&self.around.sockets);
        let found = certificates::check(&certificates, OffsetDateTime::now_utc());
        self.sources.insert("supervisor certificates".to_owned(), found);
        let found = disks::check(&disks::gather(&self.places.disks));
        self.sources.insert("supervisor disks".to_owned(), found);
        let servers = (self.around.document)().map(|it| it.network.ntp).unwrap_or_default();
        let fact = clock::Fact {
            synchronised: clock::is_synchronised(&self.around.connection).await,
            chrony: self.chrony().await,
            servers,
            watched: self.began.elapsed(),
        };
        let found = clock::check(&fact, Duration::from_secs(self.places.clock_patience));
        self.sources.insert("supervisor clock".to_owned(), found);
    }

    async fn chrony(&self) -> Option<UnitHealth> {
        let systemd = &self.around.systemd;
        let path = systemd.path_of("chrony.service").await.ok()?;
        systemd.state_of(&path).await.ok().map(|it| it.health())
    }

    /// Whether something is wrong with it.
    async fn look_at_database(&mut self) -> bool {
        let runs = self.around.registry.of("postgres").map(|it| it.state().borrow().health());
        let way = postgres::Way { psql: self.places.psql.clone(), connection: self.connection() };
        let found = if runs != Some(UnitHealth::Ok) || !postgres::is_there(&way) {
            // That it does not run is said of its unit.
            Vec::new()
        } else {
            match tokio::time::timeout(DATABASE_MAX, postgres::gather(&way, &self.places.databases)).await {
                Ok(Ok(server)) => postgres::check(&server),
                Ok(Err(error)) => vec![postgres::unreachable(&error)],
                Err(_) => {
                    let error = anyhow::anyhow!("no answer within {DATABASE_MAX:?}");
                    vec![postgres::unreachable(&error)]
                }
            }
        };
        let wrong = !found.is_empty() || runs != Some(UnitHealth::Ok);
        self.sources.insert("supervisor postgres".to_owned(), found);
        wrong
    }

    fn connection(&self) -> String {
        self.places.database.clone().unwrap_or_else(|| {
            let database = (self.around.document)().map(|it| it.database).unwrap_or_default();
            let (socket, port) = (database.socket.display().to_string(), database.port);
            format!("host={socket} port={port} user={ROLE} dbname=postgres")
        })
    }

    /// Tells everybody what changed: the bus, the journal, `systemctl status`.
    async fn tell(&mut self) -> anyhow::Result<()> {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let first = self.kept.is_some();
        let before = self.kept.take().unwrap_or_else(|| self.shown.issues().to_vec());
        let issues = issue::merge(&self.sources, &before, &now);
        if before == issues {
            if first {
                // What an earlier supervisor told is shown again, and told no more.
                self.around.registry.set_health(issue::status_text(&issues));
                self.shown.replace(issues).await?;
            }
            return Ok(());
        }
        for new in issues.iter().filter(|it| it.source == "supervisor") {
            // systemd's own word of a unit is in the journal already.
            if !before.iter().any(|it| it.id == new.id) && new.message_id != event::UNIT_FAILED.id {
                tell_journal(new);
            }
        }
        self.notify(&before, &issues, &now);
        for gone in before.iter().filter(|it| !issues.iter().any(|new| new.id == it.id)) {
            event!(event::HEALTH_SOLVED, PILOTHOUSE_ISSUE = &gone.id; "solved: {}", gone.summary);
        }
        self.around.registry.set_health(issue::status_text(&issues));
        keep(&self.around.run.join("issues.json"), &issues);
        self.shown.replace(issues).await
    }
}

impl Health {
    /// Has people told, if the document wants it and this is news.
    fn notify(&self, before: &[Issue], after: &[Issue], now: &str) {
        let document = (self.around.document)().filter(|it| !it.health.is_silent());
        let Some(document) = document else { return };
        let Some(mut news) = notify::News::of(before, after, document.health.least) else { return };
        news.head = format!("{}.{}", document.cluster.head_name(), document.cluster.domain);
        now.clone_into(&mut news.time);
        let number = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
        let number = u64::try_from(number).unwrap_or(0);
        if let Err(error) = notify::lay_down(&self.around.run, number, &news) {
            return log::error!("nobody can be told of the head's health: {error:#}");
        }
        // It takes its time, and whoever it cannot reach is in the journal.
        let (systemd, run) = (self.around.systemd.clone(), self.around.run.clone());
        tokio::spawn(async move {
            // Once more for what was laid down just before an earlier start ended.
            for _ in 0..2 {
                if let Err(error) = systemd.run(Verb::Start, NOTIFY, NOTIFY_MAX).await {
                    return log::warn!("{error:#}");
                }
                if !notify::is_waiting(&run) {
                    return;
                }
            }
        });
    }
}

/// Tells what waits (pilothouse-notify.service).
///
/// # Errors
///
/// If somebody could not be told.
pub(crate) async fn tell_people(run: &Path, document: Option<Document>) -> anyhow::Result<()> {
    let document = document.context("there is no configuration yet")?;
    notify::run(run, &document.health).await
}

fn tell_journal(issue: &Issue) {
    let known = domain::event::ALL.iter().find(|it| it.id == issue.message_id);
    let Some(known) = known.copied() else { return };
    event!(known, PILOTHOUSE_ISSUE = &issue.id; "{}; {}", issue.summary, issue.suggestion);
}

/// What an earlier supervisor of this start of the machine had found.
fn read_kept(path: &Path) -> Vec<Issue> {
    let read = std::fs::read(path).ok();
    read.and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default()
}

fn of_database(issues: &[Issue]) -> Vec<Issue> {
    let its = |it: &&Issue| it.source == "supervisor" && it.message_id == event::DATABASE_TROUBLE.id;
    issues.iter().filter(its).cloned().collect()
}

fn keep(path: &Path, issues: &[Issue]) {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        std::fs::write(&new, serde_json::to_vec(issues)?)?;
        std::fs::rename(&new, path)
    };
    if let Err(error) = write() {
        log::warn!("cannot keep the health issues: {error}");
    }
}
