//! Addresses and boot files: DHCPv4 (RFC 2131) for every machine of the inventory that has an address, and
//! TFTP (RFC 1350) for the network boot loaders.
//!
//! - Callers: machines on node and BMC planes and relays (UDP 67), TFTP clients (UDP 69); cloud-init and
//!   pilotctl over the socket.
//! - Sockets: `dhcp` and `tftp` (UDP), `http` (UNIX).
//! - Data: a Mirror of the inventory; leases of unknown machines in `unknown-leases.json`. No database.
//! - A packet's way: [`wire`] reads it, [`model`] decides, [`wire`] writes the answer, `server` sends it.

mod api;
pub mod client;
mod config;
mod model;
mod net;
mod server;
mod state;
mod store;
mod tftp;
mod wire;

use std::sync::Arc;

use anyhow::Context as _;
use domain::{Document, Service};
use tokio::task::JoinSet;
use web::mirror::Mirror;

use crate::config::Config;
use crate::state::State;

/// Checks the document's `[dhcp]` and what it says of the planes that dhcp answers on.
///
/// # Errors
///
/// What does not hold, with the place.
pub fn check(document: &Document) -> anyhow::Result<()> {
    Config::of(document).map(drop)
}

/// Runs the service until the context's stop.
///
/// # Errors
///
/// Whatever keeps it from starting, or ends one of its parts.
pub async fn serve(context: daemon::Context) -> anyhow::Result<()> {
    let config = Config::of(&context.document)?;
    let inventory =
        Mirror::load(&context.paths.state, "inventory").context("load the last good inventory")?;
    let leases_path = context.state(store::LEASES_FILE);
    let leases = store::load_leases(&leases_path).context("load the leases of unknown machines")?;
    let state = Arc::new(State::new(config, inventory.clone(), leases));
    let dhcp = context.sockets().udp("dhcp").context("take the inherited socket")?;
    let tftp = context.sockets().udp("tftp").context("take the inherited socket")?;
    let (writer, written) = store::writer(leases_path);
    let dhcp = server::Server::new(dhcp, Arc::clone(&state), writer).context("open the DHCP socket")?;
    let tftp = tftp::Server::new(tftp, Arc::clone(&state)).context("open the TFTP socket")?;
    context.ready(&format!("the inventory is {}", state::word(inventory.freshness())))?;

    let mut parts = JoinSet::new();
    let stop = context.stop.clone();
    let client = web::Client::unix(context.socket_of(Service::Inventory));
    parts.spawn({
        let stop = stop.clone();
        async move {
            inventory.follow_socket(client, stop).await;
            Ok(())
        }
    });
    let sender = dhcp.sender();
    parts.spawn(dhcp.run(stop.clone()));
    parts.spawn(store::write_leases(written, sender, stop.clone()));
    parts.spawn(tftp.run(stop));
    let router = api::router(state);
    parts.spawn(async move { web::serve(&context, router).await });
    while let Some(ended) = parts.join_next().await {
        ended.context("run a part of dhcp")??;
    }
    Ok(())
}
