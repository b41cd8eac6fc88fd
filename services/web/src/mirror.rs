//! The Mirror: a service's view of its own tables or a neighbour's, in memory, kept on disk as the last good copy.
//!
//! The file is a snapshot followed by the changes since, one JSON line each; a torn last line is left out when it
//! is read. Reads take a shared lock for the time of one look-up.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use daemon::Retry;
use domain::feed::{Change, Header, Line, View};
use http_body_util::BodyExt;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Client, Database, feed};

/// How long a write waits to see itself come back.
const REACHED_MAX: Duration = Duration::from_secs(5);
/// How long a followed feed may be silent: three heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest line taken from a neighbour.
const LINE_MAX: usize = 16 << 20;
/// So many changes after the snapshot, and the file is written anew.
const APPENDED_MAX: u64 = 50_000;

/// Where a Mirror's answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was ever read.
    Empty,
    /// The last good copy; its source cannot be reached now.
    LastGood,
    /// The source, as of now.
    Live,
}

impl std::fmt::Display for Freshness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::LastGood => "last good copy",
            Self::Live => "live",
        })
    }
}

/// The Mirror did not reach a number in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mirror did not reach change {0} in time")]
pub struct Lagging(pub i64);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Position {
    epoch: Option<Uuid>,
    seq: i64,
    freshness: Freshness,
}

/// What a Mirror follows.
enum Source {
    Database(Database),
    Socket(Client),
}

struct Inner<V> {
    name: &'static str,
    path: PathBuf,
    view: RwLock<V>,
    position: watch::Sender<Position>,
}

/// A view that follows a feed. Clones share it.
pub struct Mirror<V>(Arc<Inner<V>>);

impl<V> Clone for Mirror<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: View> Mirror<V> {
    /// Loads the last good copy `<folder>/<name>.ndjson`, if there is one.
    ///
    /// # Errors
    ///
    /// If the file is there but cannot be read; one that makes no sense is set aside and counts as none.
    pub fn load(folder: impl AsRef<Path>, name: &'static str) -> io::Result<Self> {
        let path = folder.as_ref().join(format!("{name}.ndjson"));
        let mut view = V::default();
        let mut position = Position { epoch: None, seq: 0, freshness: Freshness::Empty };
        match File::open(&path) {
            Ok(file) => match read_file(BufReader::new(file), &mut view)? {
                Some(header) => {
                    position = Position {
                        epoch: Some(header.epoch),
                        seq: header.seq,
                        freshness: Freshness::LastGood,
                    };
                }
                None => {
                    tracing::warn!(path = %path.display(), "the last good copy makes no sense and is set aside");
                    view = V::default();
                    std::fs::rename(&path, path.with_extension("bad"))?;
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let position = watch::Sender::new(position);
        Ok(Self(Arc::new(Inner { name, path, view: RwLock::new(view), position })))
    }

    /// Looks something up. Keep it short: writers wait meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&V) -> R) -> R {
        look(&self.0.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where answers come from now.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.0.position.borrow().freshness
    }

    /// The number of the last change applied.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.0.position.borrow().seq
    }

    /// Waits until a change is applied.
    ///
    /// # Errors
    ///
    /// If that takes more than 5 s.
    pub async fn reached(&self, seq: i64) -> Result<(), Lagging> {
        let mut position = self.0.position.subscribe();
        match tokio::time::timeout(REACHED_MAX, position.wait_for(|it| it.seq >= seq)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Lagging(seq)),
        }
    }

    /// Waits for the next change after the call before; for those who react to changes.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        Changes(self.0.position.subscribe())
    }

    /// Follows the service's own database until `stop`, through every loss of it.
    pub async fn follow_database(&self, database: Database, stop: CancellationToken) {
        self.follow(Source::Database(database), stop).await;
    }

    /// Follows a neighbour's feed over its socket until `stop`, through every loss of it.
    pub async fn follow_socket(&self, client: Client, stop: CancellationToken) {
        self.follow(Source::Socket(client), stop).await;
    }

    async fn follow(&self, source: Source, stop: CancellationToken) {
        let mut retry = Retry::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow_once(&source, &mut retry) => {
                    if let Err(error) = ended {
                        self.note_stale(&error);
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = retry.wait() => {}
            }
        }
    }

    async fn follow_once(&self, source: &Source, retry: &mut Retry) -> Result<(), String> {
        match source {
            Source::Database(database) => {
                let db = database.migrated().await;
                self.follow_database_once(db, retry).await.map_err(|error| {
                    database.note_lost(&error);
                    error.to_string()
                })
            }
            Source::Socket(client) => {
                self.follow_socket_once(client, retry).await.map_err(|it| it.to_string())
            }
        }
    }

    fn note_stale(&self, error: &str) {
        let name = self.0.name;
        self.0.position.send_if_modified(|it| {
            let was_live = it.freshness == Freshness::Live;
            if was_live {
                it.freshness = Freshness::LastGood;
                daemon::event!(
                    domain::event::MIRROR_STALE,
                    "{name} is served from the last good copy: {error}"
                );
            } else {
                tracing::debug!("{name} cannot be followed: {error}");
            }
            was_live
        });
    }

    async fn follow_database_once(&self, db: &sqlx::PgPool, retry: &mut Retry) -> sqlx::Result<()> {
        let mut listener = PgListener::connect_with(db).await?;
        listener.listen("feed").await?;
        let mut appended = self.catch_up(db, None).await?;
        retry.reset();
        loop {
            tokio::select! {
                heard = listener.recv() => { heard?; }
                () = tokio::time::sleep(SILENCE_MAX / 3) => {}
            }
            appended = self.catch_up(db, appended).await?;
        }
    }

    /// Applies what is new; a snapshot if that is not known. Gives back the file to append to.
    async fn catch_up(
        &self,
        db: &sqlx::PgPool,
        appender: Option<Appender>,
    ) -> sqlx::Result<Option<Appender>> {
        let at = *self.0.position.borrow();
        if let (Some(epoch), Some(appender)) = (at.epoch, appender.or_else(|| self.appender()))
            && appender.lines < APPENDED_MAX
        {
            let mut connection = db.acquire().await?;
            if let Some(lines) = feed::read_changes(&mut connection, epoch, at.seq).await? {
                return Ok(self.apply(&lines, Some(appender)));
            }
        }
        let (header, changes) = feed::read_snapshot(db).await?;
        Ok(self.replace(header, changes))
    }

    async fn follow_socket_once(&self, client: &Client, retry: &mut Retry) -> anyhow::Result<()> {
        let at = *self.0.position.borrow();
        let mut appender = self.appender();
        let (mut epoch, mut after) = (at.epoch, at.seq);
        if appender.is_none() {
            epoch = None;
        }
        loop {
            let Some(known) = epoch else {
                let text = client.text(Method::GET, "/snapshot", None::<&()>).await?;
                let mut lines = text.split(|it| *it == b'\n').filter(|it| !it.is_empty());
                let header: Header = serde_json::from_slice(lines.next().unwrap_or_default())?;
                let changes = lines.map(serde_json::from_slice).collect::<Result<Vec<Change>, _>>()?;
                appender = self.replace(header, changes);
                (epoch, after) = (Some(header.epoch), header.seq);
                continue;
            };
            let path = format!("/changes?epoch={known}&after={after}");
            let response = client.send(Method::GET, &path, Body::empty()).await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::GONE => {
                    epoch = None;
                    continue;
                }
                status => anyhow::bail!("the feed answers {status}"),
            }
            retry.reset();
            let mut body = response.into_body();
            let (mut pending, mut lines) = (Vec::new(), Vec::new());
            loop {
                let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await?;
                let Some(frame) = frame else { anyhow::bail!("the feed ended") };
                let Ok(data) = frame?.into_data() else { continue };
                pending.extend_from_slice(&data);
                anyhow::ensure!(pending.len() <= LINE_MAX, "a line of the feed is too long");
                while let Some(end) = pending.iter().position(|it| *it == b'\n') {
                    let line: Line = serde_json::from_slice(&pending[..end])?;
                    pending.drain(..=end);
                    let whole = line.change.is_none();
                    lines.push(line);
                    if whole {
                        appender = self.apply(&lines, appender.take());
                        lines.clear();
                    }
                }
            }
        }
    }

    /// Applies whole transactions: to the file first, then to the view, then to whoever waits.
    fn apply(&self, lines: &[Line], mut appender: Option<Appender>) -> Option<Appender> {
        if lines.iter().any(|it| it.change.is_some()) {
            if let Some(Err(error)) = appender.as_mut().map(|it| it.append(lines)) {
                tracing::warn!(%error, "the last good copy of {} cannot be written", self.0.name);
                appender = None;
            }
            let mut view = self.0.view.write().unwrap_or_else(PoisonError::into_inner);
            for change in lines.iter().filter_map(|it| it.change.as_ref()) {
                if let Err(error) = view.apply(change) {
                    tracing::warn!(%error, "{} {} is left out", change.kind, change.id);
                }
            }
        }
        let last = lines.last().map(|it| it.seq);
        self.0.position.send_if_modified(|it| {
            let before = *it;
            it.seq = last.unwrap_or(it.seq);
            it.freshness = Freshness::Live;
            *it != before
        });
        appender
    }

    /// Takes a snapshot in place of what was there.
    fn replace(&self, header: Header, changes: Vec<Change>) -> Option<Appender> {
        let mut fresh = V::default();
        for change in &changes {
            if let Err(error) = fresh.apply(change) {
                tracing::warn!(%error, "{} {} is left out", change.kind, change.id);
            }
        }
        let written = write_file(&self.0.path, &header, &changes);
        if let Err(error) = &written {
            tracing::warn!(%error, "the last good copy of {} cannot be written", self.0.name);
        }
        *self.0.view.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.0.position.send_replace(Position {
            epoch: Some(header.epoch),
            seq: header.seq,
            freshness: Freshness::Live,
        });
        written.ok().map(|file| Appender { file, lines: 0 })
    }

    fn appender(&self) -> Option<Appender> {
        self.0.position.borrow().epoch?;
        let file = File::options().append(true).open(&self.0.path).ok()?;
        Some(Appender { file, lines: 0 })
    }
}

/// Wakes whoever reacts to changes of a Mirror.
#[derive(Debug)]
pub struct Changes(watch::Receiver<Position>);

impl Changes {
    /// Returns when something changed since the last call; false when the Mirror is gone.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

struct Appender {
    file: File,
    lines: u64,
}

impl Appender {
    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.lines += lines.len() as u64;
        self.file.write_all(&text)
    }
}

/// Writes a snapshot beside the old file and puts it in its place, whole on disk before it counts.
fn write_file(path: &Path, header: &Header, changes: &[Change]) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("new");
    let mut file = io::BufWriter::new(File::create(&temporary)?);
    serde_json::to_writer(&mut file, header)?;
    file.write_all(b"\n")?;
    for change in changes {
        serde_json::to_writer(&mut file, change)?;
        file.write_all(b"\n")?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(file)
}

/// Reads a snapshot and the whole transactions after it; None if it does not even begin well.
fn read_file<V: View>(file: impl BufRead, view: &mut V) -> io::Result<Option<Header>> {
    let mut lines = file.split(b'\n');
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let Ok(mut header) = serde_json::from_slice::<Header>(&first) else { return Ok(None) };
    let mut pending = Vec::new();
    for line in lines {
        let line = line?;
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&line) else { break };
        if value.get("seq").is_none() {
            // A row of the snapshot itself.
            if let Ok(change) = serde_json::from_value(value)
                && view.apply(&change).is_err()
            {
                return Ok(None);
            }
            continue;
        }
        let Ok(line) = serde_json::from_value::<Line>(value) else { break };
        match line.change {
            Some(change) => pending.push(change),
            None => {
                for change in pending.drain(..) {
                    if let Err(error) = view.apply(&change) {
                        tracing::warn!(%error, "{} {} is left out", change.kind, change.id);
                    }
                }
                header.seq = line.seq;
            }
        }
    }
    Ok(Some(header))
}
