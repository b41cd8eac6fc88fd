//! Node identity: hands a booting node its token for `/cloud-init-secure`.
//!
//! | what | where |
//! | --- | --- |
//! | callers | booting nodes through the gateway; boot, cloud-init and power; pilotctl |
//! | socket | `/run/pilothouse/join.sock` |
//! | tables | `enrolment`, `ssh_key` (sealed), and the change feed's |
//! | state | `state.json`: windows and pushes under way; `join.ndjson`: the Mirror of the tables |
//! | specification | TPM 2.0 Library parts 1 and 2; newc of cpio; draft-ietf-sshm-ssh-agent |
//!
//! By policy of its groups a node gets its token over SSH ([`push`]), for a nonce that came as a second initrd, or
//! for the answer to its TPM's challenge (both in `api/node.rs`). What each way resists: docs/security.md.

mod api;
pub mod client;
mod config;
mod error;
mod issue;
mod key;
mod model;
mod push;
mod state;
mod store;
mod token;
mod wire;

use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use web::mirror::Mirror;
use web::{Client, Database, SealKey};

pub use crate::api::{Join, router};
pub use crate::config::{Config, Policy};
use crate::state::Kept;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Checks `[join]` of the document.
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
    let database = Database::of(&context);
    serve_with(context, database).await
}

/// As [`serve`], on a database of the caller's choice.
///
/// # Errors
///
/// What keeps it from starting.
pub async fn serve_with(context: Context, database: Database) -> anyhow::Result<()> {
    let join = open(&context, database)?;
    let router = router(join.clone());
    context.ready("nodes are given their tokens")?;
    let (served, ()) = tokio::join!(web::serve(&context, router), join.upkeep());
    served
}

/// What the router works with, from the last good copies; nothing of it needs the database.
///
/// # Errors
///
/// If the settings, the sealing key or a last good copy cannot be read.
pub fn open(context: &Context, database: Database) -> anyhow::Result<Join> {
    let config = Config::parse(&context.document)?;
    let load = "load the last good copy";
    let inventory = Mirror::<Inventory>::load(&context.paths.state, "inventory").context(load)?;
    let held = Mirror::load(&context.paths.state, "join").context(load)?;
    let kept = Kept::load(context.state("state.json")).context("load the windows")?;
    let seal = SealKey::new(&context.credential("seal-key")?).context("read the sealing key")?;
    Ok(Join::new(context.clone(), config, inventory, held, kept, database, seal))
}

impl Join {
    /// Migrates and follows, writes the state, pushes tokens, until the context's stop.
    pub async fn upkeep(&self) {
        let stop = &self.context.stop;
        let inventory = Client::unix(self.context.socket_of(Service::Inventory));
        let settle = async {
            self.database.migrate(&MIGRATIONS, stop).await;
            self.settle_key().await;
        };
        tokio::join!(
            settle,
            self.held.follow_database(self.database.clone(), stop.clone()),
            self.inventory.follow_socket(inventory, stop.clone()),
            self.kept.write(stop),
            self.push_all(),
        );
    }
}

/// Re-exported for [`Join`]'s fields.
impl std::ops::Deref for Join {
    type Target = api::Inner;
    fn deref(&self) -> &api::Inner {
        Arc::as_ref(&self.0)
    }
}
