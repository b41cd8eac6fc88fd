//! Power of nodes through their BMCs: status, on, off, cycle, reset, soft shut-down, boot device.
//!
//! | what | where |
//! | --- | --- |
//! | callers | pilotctl, console (`&R`), `ochami pcs`, powerman's clients |
//! | socket | `/run/pilothouse/power.sock`; TCP `powerman` on the loopback, port 10101 |
//! | tables | none: nodes and BMCs come from the Mirror of inventory, secrets by its `client.rs`; who has booted, boot says |
//! | kept | `certificates.json`: the BMCs' certificates as they were shown first |
//! | specification | IPMI 2.0 section 28 by the library `ipmi`, Redfish by the library `redfish`, OpenCHAMI's power-control, powerman 2.4.4 |

mod api;
mod bmc;
pub mod client;
mod command;
mod config;
mod error;
mod model;
mod pcs;
mod powerman;
mod recover;

use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use web::Client;
use web::mirror::Mirror;

pub use crate::bmc::{Bmcs, OpenError};
use crate::command::Switchboard;
use crate::config::Config;
use crate::pcs::Pcs;
use crate::powerman::Powerman;
use crate::recover::Recoverer;

/// Checks `[power]` of the document.
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
    let inventory = Client::unix(context.socket_of(Service::Inventory));
    let bmcs = Bmcs::new(inventory.clone()).with_trust(&context, &config)?;
    let reach = bmcs.reach();
    let recovery = config.recovery();
    let pattern = context.document.cluster.host_pattern.clone();
    let windows = join::Config::parse(&context.document)?.uses_windows();
    let join = windows.then(|| Client::unix(context.socket_of(Service::Join)));
    let board = Switchboard::new(mirror.clone(), bmcs, config, pattern, context.stop.clone());
    let board = board.with_join(join);
    let board = Arc::new(board);
    let boot = boot::client::Client::unix(context.socket_of(Service::Boot));
    let recoverer = Recoverer::new(Arc::clone(&board), boot, recovery, context.stop.clone());
    let pcs = Pcs::new(Arc::clone(&board));
    let router = api::router(Arc::clone(&board), Arc::clone(&recoverer)).merge(pcs::router(pcs));
    let powerman = Powerman::new(Arc::clone(&board));
    for listener in context.sockets().tcp("powerman").context("take the inherited socket powerman")? {
        board.spawn(Arc::clone(&powerman).serve(listener, context.stop.clone()));
    }
    context.ready("power commands are taken")?;
    let follow = mirror.follow_socket(inventory, context.stop.clone());
    let served = web::serve(&context, router);
    let watch = recoverer.watch(&context);
    let reach = reach.watch(&context, &mirror);
    let (served, (), (), (), ()) = tokio::join!(served, follow, watch, board.tidy(), reach);
    recoverer.finish().await;
    board.finish().await;
    served
}
