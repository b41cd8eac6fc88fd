//! A service with a feed and nothing else, and a neighbour that follows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::{Address, Context, Paths};
use domain::feed::{Change, View};
use domain::{Document, Service};
use serde_json::Value;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use web::mirror::{Freshness, Mirror};
use web::{Client, Database, feed};

/// How long anything may take under a load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A view that keeps every row.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Rows(pub(crate) BTreeMap<(String, String), Value>);

impl View for Rows {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let key = (change.kind.clone(), change.id.clone());
        if change.row.is_null() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, change.row.clone());
        }
        Ok(())
    }
}

/// The service; it ends when it is stopped or dropped.
pub(crate) struct Source<V> {
    pub(crate) mirror: Mirror<V>,
    pub(crate) database: Database,
    pub(crate) socket: PathBuf,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// A neighbour; likewise.
pub(crate) struct Follower<V> {
    pub(crate) mirror: Mirror<V>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// The feed's tables, in a fresh database.
pub(crate) async fn migrate(db: &PgPool) {
    sqlx::raw_sql(include_str!("../../migrations/feed.sql")).execute(db).await.unwrap();
}

/// A context whose sockets and files are below this folder.
pub(crate) fn context(folder: &Path, stop: &CancellationToken) -> Context {
    let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n";
    let run = folder.join("run");
    std::fs::create_dir_all(run.join("inventory")).unwrap();
    let socket = run.join("inventory.sock");
    let paths = Paths { config: folder.join("x"), run, state: folder.join("state"), credentials: None };
    let listen = vec![("http".to_owned(), Address::Unix(socket))];
    Context::new(Service::Inventory, paths, Document::parse(text).unwrap(), listen, stop.clone()).unwrap()
}

impl<V: View> Source<V> {
    /// Starts, as the process does.
    pub(crate) fn start(db: &PgPool, folder: &Path) -> Self {
        let stop = CancellationToken::new();
        let context = context(folder, &stop);
        let mirror = Mirror::<V>::load(&context.paths.state, "rows").unwrap();
        let database = Database::ready(db.clone());
        let router = feed::routes(Service::Inventory, database.clone(), &mirror);
        let socket = context.paths.run.join("inventory.sock");
        let mut tasks = JoinSet::new();
        let (follows, pool, until) = (mirror.clone(), database.clone(), stop.clone());
        tasks.spawn(async move { follows.follow_database(pool, until).await });
        tasks.spawn(async move { web::serve(&context, router).await.unwrap() });
        Self { mirror, database, socket, stop, tasks }
    }

    /// Started, and live.
    pub(crate) async fn live(db: &PgPool, folder: &Path) -> Self {
        let source = Self::start(db, folder);
        until_live(&source.mirror).await;
        source
    }

    /// Commits changes; what is read after it has them.
    pub(crate) async fn commit(&self, changes: &[Change]) {
        let tx = self.database.begin().await.unwrap();
        feed::commit(tx, changes, &self.mirror).await.unwrap();
    }

    /// Ends as SIGTERM ends it.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl<V: View> Follower<V> {
    pub(crate) fn start(socket: &Path, state: &Path) -> Self {
        let stop = CancellationToken::new();
        let mirror = Mirror::<V>::load(state, "neighbour").unwrap();
        let (follows, client, until) = (mirror.clone(), Client::unix(socket), stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { follows.follow_socket(client, until).await });
        Self { mirror, stop, tasks }
    }

    /// Waits until it has what the source has.
    pub(crate) async fn level(&self, source: &Source<V>) {
        until_live(&self.mirror).await;
        self.mirror.reached(source.mirror.seq()).await.unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Waits until answers come from the source as of now.
pub(crate) async fn until_live<V: View>(mirror: &Mirror<V>) {
    until(mirror, |_| mirror.freshness() == Freshness::Live).await;
}

/// Waits for a change after which something holds.
pub(crate) async fn until<V: View>(mirror: &Mirror<V>, holds: impl Fn(&V) -> bool) {
    let mut changes = mirror.subscribe();
    let held = async {
        while !mirror.read(&holds) {
            assert!(changes.changed().await);
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap();
}

/// Everything in it.
pub(crate) fn all(mirror: &Mirror<Rows>) -> Rows {
    mirror.read(Clone::clone)
}

/// `n` rows from `first` on.
pub(crate) fn rows(first: usize, n: usize, word: &str) -> Vec<Change> {
    let row =
        |it: usize| Change::put("thing", format!("{it:06}"), serde_json::json!({"n": it, "word": word}));
    (first..first + n).map(row).collect()
}
