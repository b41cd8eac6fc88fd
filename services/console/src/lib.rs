//! Serial consoles: every line of every node logged from the moment it is known, and any number of readers.
//!
//! | what | where |
//! | --- | --- |
//! | callers | pilotctl, the gateway (`/remote-console`) |
//! | socket | `/run/pilothouse/console.sock` |
//! | tables | none: nodes and BMCs come from the Mirror of inventory; logs are files under `console.log_dir` |
//! | specification | IPMI 2.0 section 15 by the library `ipmi`; OpenCHAMI remote-console's paths |

mod api;
pub mod client;
mod config;
mod hub;
mod line;
mod lines;
mod log;
mod model;

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use power::Bmcs;
use web::Client;
use web::mirror::Mirror;

use crate::config::Config;
use crate::hub::Hub;
use crate::lines::Lines;

/// Checks `[console]` of the document.
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
    // The image makes it for operators to read; elsewhere it is for its owner and group, as its files are.
    let folder = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(&config.log_dir);
    folder.with_context(|| format!("make {}", config.log_dir.display()))?;
    let mirror =
        Mirror::<Inventory>::load(&context.paths.state, "inventory").context("load the last good copy")?;
    let inventory = Client::unix(context.socket_of(Service::Inventory));
    let bmcs = Bmcs::new(inventory.clone()).with_dead_after(config.dead_after());
    let hub = Arc::new(Hub::new(config, context.document.cluster.host_pattern.clone()));
    let router = api::router(mirror.clone(), Arc::clone(&hub));
    context.ready("consoles are logged")?;
    let lines = Lines::new(Arc::clone(&hub), bmcs, context.stop.clone());
    let lines = lines.keep(mirror.clone());
    let follow = mirror.follow_socket(inventory, context.stop.clone());
    let (served, (), ()) = tokio::join!(web::serve(&context, router), follow, lines);
    hub.close().await;
    served
}
