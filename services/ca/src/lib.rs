//! The certificate authority of the cluster: root, intermediate, leaf certificates.
//!
//! | what | where |
//! | --- | --- |
//! | callers | gateway (`head-certificate`, by its uid alone); everyone (the root certificate) |
//! | socket | `/run/pilothouse/ca.sock` |
//! | tables | `authority`: certificates, and their keys sealed |
//! | state | `authorities.json`: the last good copy, keys sealed; `/run/pilothouse/ca/root.pem`: the root |
//! | specification | RFC 5280; the names of a certificate come from the document, never from a request |

mod api;
mod authority;
pub mod client;
mod config;
mod error;
mod model;
mod store;

use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use domain::Document;
use web::{Database, SealKey};

pub use crate::api::{Ca, router};
use crate::authority::Authorities;
use crate::config::Config;
use crate::model::Policy;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

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
    let ca = open(&context)?;
    let status = if ca.authorities.current().is_some() {
        "certificates are issued"
    } else {
        "waiting for the database"
    };
    context.ready(status)?;
    let (served, ()) = tokio::join!(web::serve(&context, router(ca.clone())), ca.upkeep(&context, &database));
    served
}

/// What the router works with, from the last good copy; nothing of it needs the database.
///
/// # Errors
///
/// If the settings, the sealing key or the last good copy cannot be read.
pub fn open(context: &Context) -> anyhow::Result<Ca> {
    let config = Config::parse(&context.document)?;
    let seal = SealKey::new(&context.credential("seal-key")?).context("read the sealing key")?;
    let policy = Policy::new(&context.document, &config);
    let root_file = context.paths.run.join("ca/root.pem");
    let authorities = Authorities::load(context.state("authorities.json"), root_file, seal, policy)
        .context("load the last good authorities")?;
    Ok(Ca { authorities: Arc::new(authorities), leaf_life: config.leaf_life.0 })
}

impl Ca {
    /// Migrates the database and settles the authorities with it, until that is done or the context's stop.
    pub async fn upkeep(&self, context: &Context, database: &Database) {
        database.migrate(&MIGRATIONS, &context.stop).await;
        self.authorities.settle(context, database).await;
    }
}
