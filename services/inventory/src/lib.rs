//! What there is: components, BMCs, interfaces and groups, the SMD API, and the secrets of BMCs.
//!
//! - Callers: every service that meets nodes (by the change feed), `ochami`, `pilotctl`, magellan; through
//!   the gateway below `/hsm/v2` and `/services/inventory`.
//! - Socket: `/run/pilothouse/inventory.sock`.
//! - Tables: `component`, `ethernet_interface`, `interface_address`, `redfish_endpoint`,
//!   `component_endpoint`, `node_group`, `group_member`, `bmc_credential`.
//! - Specification: the recorded exchanges with SMD 2.20; what differs is in DEVIATIONS.md.
//!
//! Reads are answered from a [`Catalog`] in memory; a write stores rows, records them in the feed in the same
//! transaction, and answers when the Catalog has them.

mod api;
pub mod client;
mod config;
mod error;
mod hosts;
mod model;
mod store;
mod vault;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use daemon::Context;
use domain::Document;
use tokio_util::sync::CancellationToken;
use web::mirror::Mirror;
use web::{Database, SealKey};

use api::App;
pub use config::Config;
use hosts::HostsFile;
pub use model::catalog::Catalog;
use store::Store;
use vault::Vault;

/// The tables, and the feed's.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// How often deleted rows are forgotten.
const PRUNE_EVERY: std::time::Duration = std::time::Duration::from_secs(3600);

/// Checks the document's `[inventory]`.
///
/// # Errors
///
/// The first thing in it that does not hold.
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
    let (router, upkeep) = build(&context, database)?;
    context.ready("the inventory is served")?;
    let (served, ()) = tokio::join!(web::serve(&context, router), upkeep);
    served
}

/// The service's routes on a database, and the work beside them, which ends with the context's stop.
///
/// # Errors
///
/// If the document's table, the last good copy or the sealing key cannot be used.
pub fn build(
    context: &Context,
    database: Database,
) -> anyhow::Result<(Router, impl Future<Output = ()> + Send + 'static)> {
    let Config {} = Config::parse(&context.document)?;
    let catalog =
        Mirror::<Catalog>::load(&context.paths.state, "catalog").context("load the last good copy")?;
    let key = match context.credential("seal-key") {
        Ok(bytes) => Some(SealKey::new(&bytes).context("use the credential seal-key")?),
        Err(error) => {
            tracing::error!("BMC accounts can be neither stored nor opened: {error}");
            None
        }
    };
    let vault = Vault::load(key, context.state("bmc-credentials.json"))?;
    let app = App {
        store: Store::new(database.clone(), catalog.clone()),
        vault: Arc::new(vault),
        host_pattern: context.document.cluster.host_pattern.as_str().into(),
    };
    let router = api::router(app.clone()).context("write the API document")?;
    let (hosts, stop) = (HostsFile::of(context), context.stop.clone());
    let upkeep = async move {
        tokio::join!(
            database.migrate(&MIGRATIONS, &stop),
            catalog.follow_database(database.clone(), stop.clone()),
            hosts.keep(app, stop.clone()),
            prune(&database, &stop),
        );
    };
    Ok((router, upkeep))
}

/// Forgets old deletions of the feed.
async fn prune(database: &Database, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
        if let Ok(db) = database.pool()
            && let Err(error) = web::feed::prune(db).await
        {
            tracing::warn!(%error, "old deletions of the feed cannot be forgotten");
        }
    }
}
