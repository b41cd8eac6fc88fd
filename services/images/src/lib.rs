//! Kernels, initrds and root file systems over HTTP, with ranges, as booting nodes fetch them.
//!
//! | what | where |
//! | --- | --- |
//! | callers | nodes (port 8080, no token), pilotctl, boot |
//! | socket | `/run/pilothouse/images.sock`; TCP 8080, which serves files alone |
//! | files | below `images.root`, `/data/domain-images`: served at `/` at once, nothing is imported |
//! | store | `images.store`, by content: `/blobs/sha256/…`, and `/images/<name>/<tag>/{kernel,initrd,root}` |
//! | tables | `blob`, `manifest`, `tag`, `pin`; a Mirror of manifests and tags, fed by `/changes` |
//! | specification | RFC 9110 sections 8.8, 13, 14; RFC 9112; INTERFACES 9 |

mod answer;
mod api;
mod blobs;
mod catalog;
pub mod client;
mod config;
mod digest;
mod error;
mod event;
mod file;
mod floor;
#[doc(hidden)]
pub mod fuzz;
mod model;
mod scan;
mod send;
mod store;
mod wire;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use web::mirror::Mirror;
use web::{Client, Database};

use crate::answer::Door;
use crate::blobs::UPLOAD_IDLE;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::digest::Digests;
use crate::floor::Floor;

/// How often uploads that nobody goes on with and files that could not be read are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

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
    let load = "load the last good copy";
    let inventory = Mirror::<Inventory>::load(&context.paths.state, "inventory").context(load)?;
    let catalog = Mirror::<Catalog>::load(&context.paths.state, "images").context(load)?;
    let (digests, waiting) = Digests::load(&context.paths.state);
    let network = context.sockets().tcp("images")?;
    let mirrors = (inventory.clone(), catalog.clone());
    let floor = Arc::new(Floor::new(&context, config, mirrors, digests, Database::of(&context)));
    let door = Door::new(Arc::clone(&floor));
    let router = api::router(Arc::clone(&floor));
    context.ready("images are served")?;
    let stop = &context.stop;
    let neighbour = Client::unix(context.socket_of(Service::Inventory));
    let (served, (), (), (), (), (), ()) = tokio::join!(
        web::serve(&context, router),
        door.serve(network),
        floor.database.migrate(&MIGRATIONS, stop),
        catalog.follow_database(floor.database.clone(), stop.clone()),
        inventory.follow_socket(neighbour, stop.clone()),
        floor.digests.run(waiting, stop.clone()),
        look_after(&floor),
    );
    served
}

/// What is done now and then, until the stop.
async fn look_after(floor: &Arc<Floor>) {
    let mut times = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = floor.context.stop.cancelled() => return,
            _ = times.tick() => {}
        }
        floor.look_again().await;
        let blobs = floor.blobs.clone();
        let forget = move || blobs.forget(SystemTime::now(), UPLOAD_IDLE, false);
        match tokio::task::spawn_blocking(forget).await {
            Ok(Ok((0, _))) => {}
            Ok(Ok((count, bytes))) => {
                tracing::info!("{count} unfinished uploads are given up ({bytes} bytes)")
            }
            Ok(Err(error)) => tracing::warn!(%error, "the uploads of images cannot be looked through"),
            Err(error) => tracing::error!(%error, "the uploads of images are not looked after"),
        }
    }
}
