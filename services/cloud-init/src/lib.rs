//! What a node becomes: user-data, meta-data and vendor-data for cloud-init's NoCloud source.
//!
//! | what | where |
//! | --- | --- |
//! | callers | booting nodes and `ochami` through the gateway, pilotctl |
//! | socket | `/run/pilothouse/cloud-init.sock` |
//! | tables | `cloud_init_{entry,group,instance,defaults}`, and the change feed's |
//! | specification | OpenCHAMI cloud-init 0.1 and 1.4 as recorded (`cloud-init*`); cloud-init's NoCloud |
//!
//! Answers are merged from two Mirrors, the inventory's and the service's own; no request of a booting node
//! waits for PostgreSQL or for another service.

mod api;
pub mod client;
mod config;
mod error;
mod model;
mod store;
mod wire;

use anyhow::Context as _;
use daemon::Context;
use domain::{Document, Service};
use web::mirror::Mirror;
use web::{Client, Database};

pub use crate::api::{CloudInit, router};
pub use crate::config::Config;
pub use crate::model::{Entries, Nodes};

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Checks `[cloud_init]` of the document.
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
    let config = Config::parse(&context.document)?.with_run(&context.paths.run);
    let load = "load the last good copy";
    let inventory = Mirror::<Nodes>::load(&context.paths.state, "inventory").context(load)?;
    let entries = Mirror::<Entries>::load(&context.paths.state, "cloud-init").context(load)?;
    let database = Database::of(&context);
    let service = CloudInit::new(config, inventory.clone(), entries.clone(), database.clone());
    let router = router(service.with_join(Client::unix(context.socket_of(Service::Join))));
    context.ready("nodes are answered from memory")?;
    let stop = &context.stop;
    let neighbour = Client::unix(context.socket_of(Service::Inventory));
    let (served, (), (), ()) = tokio::join!(
        web::serve(&context, router),
        database.migrate(&MIGRATIONS, stop),
        entries.follow_database(database.clone(), stop.clone()),
        inventory.follow_socket(neighbour, stop.clone()),
    );
    served
}
