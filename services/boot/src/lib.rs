//! What a node boots: boot parameters and iPXE scripts, the BSS API.
//!
//! | what | where |
//! | --- | --- |
//! | callers | booting nodes and `ochami` through the gateway, pilotctl, images |
//! | socket | `/run/pilothouse/boot.sock` |
//! | tables | `boot_parameters`, `boot_once`, and the change feed's |
//! | specification | OpenCHAMI BSS 1.32 as recorded (`bss-params`, `bss-script`); ipxe.org/scripting |
//!
//! Scripts are rendered from two Mirrors, the inventory's and the service's own; no request of a booting node
//! waits for PostgreSQL or for another service, but for join's word where the policy `nonce` holds. Images are asked
//! when somebody sets what a node boots: the digests that a name stands for then are what the node boots.

mod api;
pub mod client;
mod config;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod model;
mod store;
mod wire;

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use web::mirror::Mirror;
use web::{Client, Database};

pub use crate::api::{Boot, router};
pub use crate::config::Config;
pub use crate::model::Parameters;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Checks `[boot]` of the document.
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
    let parameters = Mirror::<Parameters>::load(&context.paths.state, "bootparams").context(load)?;
    let database = Database::of(&context);
    let boot = Boot::new(config, inventory.clone(), parameters.clone(), database.clone());
    let boot = boot.with_join(Client::unix(context.socket_of(Service::Join)));
    let boot = boot.with_images(Client::unix(context.socket_of(Service::Images)));
    let router = router(boot.clone());
    context.ready("boot scripts are served from memory")?;
    let stop = &context.stop;
    let neighbour = Client::unix(context.socket_of(Service::Inventory));
    let (served, (), (), (), ()) = tokio::join!(
        web::serve(&context, router),
        database.migrate(&MIGRATIONS, stop),
        parameters.follow_database(database.clone(), stop.clone()),
        inventory.follow_socket(neighbour, stop.clone()),
        boot.settle_until(stop),
    );
    served
}
