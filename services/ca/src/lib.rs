//! The certificate authority of the cluster: root, intermediate, leaf certificates, by ACME or for the head itself.
//!
//! | what | where |
//! | --- | --- |
//! | callers | gateway (`head-certificate`, by its uid alone); ACME clients; everyone (roots, revocation lists) |
//! | socket | `/run/pilothouse/ca.sock` |
//! | tables | `authority`, `cross_certificate`, `site_authority`: certificates, and their keys sealed; `acme_…` |
//! | state | `authorities.json`, `authorities-more.json`: the last good copy, keys sealed; `/run/pilothouse/ca/root.pem` |
//! | specification | RFC 5280, 8555 (ACME), 8737 (tls-alpn-01), 8738 (addresses), 9773 (renewal information) |
//!
//! For which names a certificate is made comes from the document, never from a request alone. The only connections that
//! ca makes are those that look for challenges (`probe`).

mod api;
mod authority;
pub mod client;
mod config;
mod error;
mod model;
mod nonce;
mod probe;
mod sources;
mod store;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use daemon::Context;
use domain::Document;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;
use web::{Database, SealKey};

use crate::api::acme::Acme;
pub use crate::api::{Ca, router};
use crate::authority::Authorities;
use crate::config::Config;
use crate::model::Policy;
use crate::nonce::Nonces;
use crate::probe::Probe;
use crate::sources::Sources;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// How often authorities are looked at, and what is old removed.
const LOOK: Duration = Duration::from_secs(3600);
/// How long what has ended is kept, for who asks what happened.
const KEPT: time::Duration = time::Duration::days(30);
/// A clock that differs by more from how long we have run has jumped, and nothing is removed by it.
const JUMP: time::Duration = time::Duration::days(1);

/// Checks `[ca]` of the document.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(document: &Document) -> anyhow::Result<()> {
    Config::parse(document).map(drop)
}

/// Runs the service until the context's stop.
///
/// # Errors
///
/// What keeps it from starting.
pub async fn serve(context: Context) -> anyhow::Result<()> {
    let database = Database::of(&context);
    serve_with(context, database).await
}

/// As [`serve`], on a database of the caller's choice.
///
/// # Errors
///
/// What keeps it from starting.
pub async fn serve_with(context: Context, database: Database) -> anyhow::Result<()> {
    let ca = open(&context, &database)?;
    let status = if ca.authorities.current().is_some() {
        "certificates are issued"
    } else {
        "waiting for the database"
    };
    context.ready(status)?;
    let upkeep = async {
        ca.upkeep(&context, &database).await;
        ca.look_after(&context, &database).await;
    };
    let (served, ()) = tokio::join!(web::serve(&context, router(ca.clone())), upkeep);
    ca.acme.looking.close();
    ca.acme.looking.wait().await;
    served
}

/// What the router works with, from the last good copy; nothing of it needs the database yet.
///
/// # Errors
///
/// If the settings, the sealing key or the last good copy cannot be read.
pub fn open(context: &Context, database: &Database) -> anyhow::Result<Ca> {
    let config = Config::parse(&context.document)?;
    let key = zeroize::Zeroizing::new(context.credential("seal-key")?);
    let seal = || SealKey::new(&key).context("read the sealing key");
    let policy = Policy::new(&context.document, &config);
    let root_file = context.paths.run.join("ca/root.pem");
    let now = OffsetDateTime::now_utc();
    let authorities = Authorities::load(context.state("authorities.json"), root_file, seal()?, policy, now)
        .context("load the last good authorities")?;
    let leaf_life = config.leaf_life.0;
    let acme = Acme {
        probe: Probe::new(config.validation.clone())?,
        config,
        database: database.clone(),
        seal: seal()?,
        nonces: Nonces::new()?,
        sources: Sources::default(),
        host: format!("{}:8443", context.document.cluster.service_name()),
        began: Instant::now(),
        stop: context.stop.clone(),
        looking: TaskTracker::new(),
    };
    Ok(Ca { authorities: Arc::new(authorities), leaf_life, acme: Arc::new(acme) })
}

impl Ca {
    /// Migrates the database and settles the authorities with it, until that is done or the context's stop.
    pub async fn upkeep(&self, context: &Context, database: &Database) {
        database.migrate(&MIGRATIONS, &context.stop).await;
        self.authorities.settle(context, database).await;
    }

    /// Makes the next authorities in time and removes what is old, until the context's stop.
    async fn look_after(&self, context: &Context, database: &Database) {
        let (began, started) = (OffsetDateTime::now_utc(), Instant::now());
        loop {
            tokio::select! {
                () = context.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            self.authorities.settle(context, database).await;
            let now = OffsetDateTime::now_utc();
            if (now - began - started.elapsed()).abs() > JUMP {
                continue;
            }
            if let Err(error) = self.remove_old(database, now - KEPT).await {
                tracing::warn!("what is old is not removed: {error:#}");
            }
        }
    }

    /// Removes certificates and orders that ended before a moment; accounts stay.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn remove_old(&self, database: &Database, before: OffsetDateTime) -> anyhow::Result<()> {
        let mut tx = database.begin().await?;
        let certificates = store::delete_old_certificates(&mut tx, before).await?;
        let orders = store::delete_old_orders(&mut *tx, before).await?;
        tx.commit().await?;
        tracing::debug!(certificates, orders, "removed what is old");
        Ok(())
    }
}
