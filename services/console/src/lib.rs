//! Serial consoles: every line of every node logged from the moment it is known, and any number of readers.
//!
//! | what | where |
//! | --- | --- |
//! | callers | pilotctl, the gateway (`/remote-console`), conman's client (port 7890 of the loopback) |
//! | socket | `/run/pilothouse/console.sock`; TCP `conman` |
//! | tables | none: nodes and BMCs come from the Mirror of inventory |
//! | files | logs under `console.log_dir`; sessions outlive a restart in systemd's store of descriptors |
//! | specification | IPMI 2.0 section 15 by `ipmi`; OpenCHAMI remote-console; conman 0.3.1; RFC 854 |

mod api;
pub mod client;
mod config;
mod conman;
mod grep;
mod hub;
mod keeper;
mod line;
mod lines;
mod log;
mod model;
mod nodes;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::Context;
use domain::{Document, Service};
use ipmi::SessionOptions;
use power::Bmcs;
use web::Client;
use web::mirror::Mirror;

use crate::config::Config;
use crate::hub::Hub;
use crate::keeper::Keeper;
use crate::line::Places;
use crate::lines::Lines;
use crate::nodes::Nodes;

/// How long one step of a session may take, retransmissions included.
const STEP_MAX: Duration = Duration::from_secs(5);

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
    let mirror =
        Mirror::<Nodes>::load(&context.paths.state, "inventory").context("load the last good copy")?;
    let inventory = Client::unix(context.socket_of(Service::Inventory));
    let keeper = Keeper::take(&context)?;
    let options =
        SessionOptions { deadline: STEP_MAX, dead_after: config.dead_after.0, ..SessionOptions::default() };
    let bmcs =
        Bmcs::new(inventory.clone()).with_dead_after(config.dead_after.0).with_pool(keeper.pool().clone());
    let pattern = context.document.cluster.host_pattern.clone();
    let power = Client::unix(context.socket_of(Service::Power));
    let hub = Arc::new(Hub::new(config, pattern, power, context.stop.clone())?);
    let router = api::router(mirror.clone(), Arc::clone(&hub));
    let conman = context.sockets().tcp("conman").context("take the socket of conman's protocol")?;
    context.ready("consoles are logged")?;
    let places = Arc::new(Places {
        hub: Arc::clone(&hub),
        bmcs,
        keeper,
        options,
        known_hosts: context.state("known_hosts"),
        ssh_key: context
            .paths
            .credentials
            .as_ref()
            .map(|it| it.join("console.ssh-key"))
            .filter(|it| it.exists()),
        opening: Places::opening(),
    });
    let lines = Lines::new(Arc::clone(&places), context.stop.clone()).keep(mirror.clone());
    let follow = mirror.follow_socket(inventory, context.stop.clone());
    let conman = conman::serve(conman, Arc::clone(&hub), context.stop.clone());
    let (served, (), (), ()) = tokio::join!(web::serve(&context, router), follow, lines, conman);
    if hub.close().await && places.keeper.keeps() {
        places.keeper.close();
    }
    served
}
