//! What BMCs tell of themselves and their nodes, and where these belong: a crawl through Redfish, IPMI where there is
//! none, as a job whose progress can be followed.
//!
//! | what | where |
//! | --- | --- |
//! | callers | `pilotctl discover` |
//! | socket | `/run/pilothouse/discovery.sock` |
//! | tables | none: the last eight discoveries are in memory, and gone with the service |
//! | asks | inventory (its Mirror, accounts), power (certificates that are believed), dhcp (strangers) |
//! | specification | DMTF's schemas (DSP8010) by the library `redfish`, IPMI 2.0 by the library `ipmi` |
//!
//! It writes nothing to the inventory: whoever asked does, by their own rights, or to a `nodes.yaml` (`client`).

mod api;
pub mod client;
mod config;
mod crawl;
mod error;
mod job;
mod model;
mod plan;

use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use web::Client;
use web::mirror::Mirror;

use crate::config::Config;
use crate::crawl::Crawler;
use crate::job::Board;

/// Checks `[discovery]` of the document.
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
    let crawler = Crawler::new(&context, &config, mirror.clone());
    let board = Arc::new(Board::new(&context, &config, crawler));
    let router = api::router(Arc::clone(&board));
    context.ready("BMCs can be discovered")?;
    let inventory = Client::unix(context.socket_of(Service::Inventory));
    let follow = mirror.follow_socket(inventory, context.stop.clone());
    let (served, ()) = tokio::join!(web::serve(&context, router), follow);
    board.finish().await;
    served
}
