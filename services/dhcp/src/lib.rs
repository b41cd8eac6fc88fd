//! Addresses and boot files: DHCPv4 (RFC 2131) for every machine of the inventory that has an address, and
//! TFTP (RFC 1350) for the network boot loaders.
//!
//! - Callers: machines on node and BMC planes and relays (UDP 67), machines that another server gives an
//!   address (UDP 4011), TFTP clients (UDP 69); cloud-init, join and pilotctl over the socket.
//! - Sockets: `dhcp`, `proxy` and `tftp` (UDP), `http` (UNIX).
//! - Data: a Mirror of the inventory; table `lease`: the addresses of machines that have none of their own,
//!   with `unknown-leases.json` as its last good copy. Known machines have theirs from memory.
//! - A packet's way: [`wire`] reads it, [`model`] decides, [`wire`] writes the answer, `server` sends it; a
//!   lease goes by `store` first.

mod alarm;
mod api;
pub mod client;
mod config;
mod event;
#[doc(hidden)]
pub mod fuzz;
mod model;
mod net;
mod nics;
mod probe;
mod rival;
mod server;
mod state;
mod store;
mod tftp;
mod wire;

use std::sync::Arc;

use anyhow::Context as _;
use domain::{Document, Service};
use tokio::task::JoinSet;
use web::Database;
use web::mirror::Mirror;

use crate::alarm::Alarms;
use crate::config::Config;
use crate::state::State;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

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
    let database = Database::of(&context);
    serve_with(context, database).await
}

/// As [`serve`], on a database of the caller's choice.
///
/// # Errors
///
/// Whatever keeps it from starting, or ends one of its parts.
pub async fn serve_with(context: daemon::Context, database: Database) -> anyhow::Result<()> {
    let config = Config::of(&context.document)?;
    let inventory =
        Mirror::load(&context.paths.state, "inventory").context("load the last good inventory")?;
    let path = context.state(store::LEASES_FILE);
    let leases = store::load_leases(&path, &config).context("load the leases of unknown machines")?;
    let state = Arc::new(State::new(config, inventory.clone(), leases));
    let alarms = Arc::new(Alarms::new(context.clone()));
    let dhcp = context.sockets().udp("dhcp").context("take the inherited socket")?;
    let tftp = context.sockets().udp("tftp").context("take the inherited socket")?;
    let (keeper, kept) = store::queue();
    let server = |socket, proxy| {
        server::Server::new(socket, proxy, Arc::clone(&state), Arc::clone(&alarms), keeper.clone())
            .context("open the DHCP socket")
    };
    // Where no other server is expected, nobody passes this one.
    let proxy = context.sockets().udp("proxy").ok().map(|it| server(it, true)).transpose()?;
    let dhcp = server(dhcp, false)?;
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
    let keeper = store::Keeper {
        database: database.clone(),
        state: Arc::clone(&state),
        alarms: Arc::clone(&alarms),
        sender: dhcp.sender(),
        path,
    };
    parts.spawn({
        let stop = stop.clone();
        async move {
            database.migrate(&MIGRATIONS, &stop).await;
            Ok(())
        }
    });
    parts.spawn(keeper.run(kept, stop.clone()));
    parts.spawn(dhcp.run(stop.clone()));
    if let Some(proxy) = proxy {
        parts.spawn(proxy.run(stop.clone()));
    }
    parts.spawn(rival::listen(Arc::clone(&state), alarms, stop.clone()));
    parts.spawn(tftp.run(stop));
    parts.spawn(nics::watch(context.clone(), Arc::clone(&state)));
    let router = api::router(state, Arc::clone(&context.document));
    parts.spawn(async move { web::serve(&context, router).await });
    while let Some(ended) = parts.join_next().await {
        ended.context("run a part of dhcp")??;
    }
    Ok(())
}
