//! Kernels, initrds and root file systems over HTTP, with ranges, as booting nodes fetch them.
//!
//! | what | where |
//! | --- | --- |
//! | callers | nodes (port 8080, no token), pilotctl, boot |
//! | socket | `/run/pilothouse/images.sock`; TCP 8080 |
//! | files | below `images.root`, `/data/domain-images`: served at `/` at once, nothing is imported |
//! | tables | `pin` |
//! | specification | RFC 9110 sections 8.8, 13, 14; INTERFACES 9 |

mod api;
pub mod client;
mod config;
mod file;
mod model;
mod scan;
mod store;

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use web::mirror::Mirror;
use web::{Client, Database};

use crate::config::Config;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Checks `[images]` of the document.
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
    let config = Config::parse(&context.document)?;
    let mirror =
        Mirror::<Inventory>::load(&context.paths.state, "inventory").context("load the last good copy")?;
    let database = Database::of(&context);
    let network = context.sockets().tcp("images")?;
    let router = api::router(config, mirror.clone(), database.clone());
    context.ready("images are served")?;
    let migrate = database.migrate(&MIGRATIONS, &context.stop);
    let inventory = Client::unix(context.socket_of(Service::Inventory));
    let follow = mirror.follow_socket(inventory, context.stop.clone());
    let (served, (), ()) = tokio::join!(web::serve_all(&context, router, network), migrate, follow);
    served
}
