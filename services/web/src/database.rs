//! The service's PostgreSQL database: connected lazily, migrated in the background, lost and found again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use daemon::{Context, Retry};
use domain::Service;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, PgTransaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Problem;

/// The most connections of one service (DESIGN 4).
const CONNECTIONS_MAX: u32 = 4;
/// How long a request waits for a connection.
const ACQUIRE_MAX: Duration = Duration::from_secs(3);

/// The pool, and whether it may be used.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    migrated: Arc<watch::Sender<bool>>,
    lost: Arc<AtomicBool>,
}

/// The database cannot be reached or is not migrated yet: 503 with Retry-After.
#[derive(Debug, thiserror::Error)]
#[error("the database is not available; reads go on from memory, try the write again in some seconds")]
pub struct Unavailable(#[source] Option<sqlx::Error>);

impl Database {
    /// The database of the context's service: peer authentication on the local socket. Connects when first used.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        let connections = if context.service == Service::Inventory { 8 } else { CONNECTIONS_MAX };
        let options = PgConnectOptions::new_without_pgpass()
            .host(&context.document.database.socket.to_string_lossy())
            .port(context.document.database.port)
            .username(context.service.key())
            .database(context.service.key())
            .application_name(&format!("pilothouse-{}", context.service))
            // Right after a large import the planner guesses high, and would compile what runs for a millisecond.
            .options([("jit", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(0)
            .acquire_timeout(ACQUIRE_MAX)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(options);
        Self { pool, migrated: Arc::new(watch::Sender::new(false)), lost: Arc::default() }
    }

    /// A database that is there and migrated, as tests have it.
    #[must_use]
    pub fn ready(pool: PgPool) -> Self {
        Self { pool, migrated: Arc::new(watch::Sender::new(true)), lost: Arc::default() }
    }

    /// Migrates, with retries, until done or `stop`. Newer migrations than ours are ignored: the database may be
    /// one release ahead.
    pub async fn migrate(&self, migrator: &'static Migrator, stop: &CancellationToken) {
        let migrator =
            Migrator { migrations: migrator.migrations.clone(), ignore_missing: true, ..Migrator::DEFAULT };
        let mut retry = Retry::default();
        while !stop.is_cancelled() {
            match migrator.run(&self.pool).await {
                Ok(()) => {
                    self.found();
                    self.migrated.send_replace(true);
                    return;
                }
                Err(error) => self.note_lost(&error),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = retry.wait() => {}
            }
        }
    }

    /// The pool, once it is migrated.
    ///
    /// # Errors
    ///
    /// If it is not yet.
    pub fn pool(&self) -> Result<&PgPool, Unavailable> {
        if *self.migrated.borrow() { Ok(&self.pool) } else { Err(Unavailable(None)) }
    }

    /// Waits until the database is migrated.
    pub async fn migrated(&self) -> &PgPool {
        let mut changed = self.migrated.subscribe();
        // The sender lives as long as `self`, so that this cannot fail.
        if changed.wait_for(|it| *it).await.is_err() {
            tracing::debug!("the database handle is gone");
        }
        &self.pool
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// If the database is not there.
    pub async fn begin(&self) -> Result<PgTransaction<'static>, Unavailable> {
        match self.pool()?.begin().await {
            Ok(transaction) => {
                self.found();
                Ok(transaction)
            }
            Err(error) => {
                self.note_lost(&error);
                Err(Unavailable(Some(error)))
            }
        }
    }

    /// Whether the last try to reach the server failed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn note_lost(&self, error: &dyn std::error::Error) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            daemon::event!(domain::event::DATABASE_LOST, "the database cannot be reached: {error}");
        }
    }

    pub(crate) fn found(&self) {
        if self.lost.swap(false, Ordering::Relaxed) {
            daemon::event!(domain::event::DATABASE_BACK, "the database is back");
        }
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        Problem::unavailable(self.to_string()).into_response()
    }
}
