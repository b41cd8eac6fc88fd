//! What each node did, from the first DHCP packet to login: which boot a step belongs to, where a boot stands still
//! and why.
//!
//! | what | where |
//! | --- | --- |
//! | callers | pilotctl and whoever draws boots, by HTTP; every service, by datagram |
//! | sockets | `/run/pilothouse/timeline.sock`, `/run/pilothouse/timeline-events.sock` |
//! | tables | `event` and `boot`, a partition a day; `audit`, a chain of hashes |
//! | state | `inventory.ndjson`: the Mirror of the inventory, for names and addresses; `audit.json`: where the audit stands |
//! | specification | INTERFACES 2; the rules are in `model/rule.rs`, what they say in `model/cause.rs` |
//!
//! Nothing waits for it: a step is a datagram that is lost when nobody reads. The present boot of each node is in
//! memory; tables are written in batches, and steps wait for PostgreSQL in a bounded queue.
//!
//! It also follows the journal for what people do (`daemon::audit!`, and sshd's log-ins), and chains that by hashes, so
//! that no record can be changed or taken away unseen.

mod api;
mod audit;
pub mod client;
mod config;
mod error;
mod issue;
mod journal;
mod keep;
mod model;
mod receive;
mod store;
mod stream;
mod wire;

use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{Document, Service};
use web::mirror::Mirror;
use web::{Client, Database};

pub use crate::api::{Timeline, router};
pub use crate::config::{Config, Limits};
pub use crate::journal::Journal;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Checks `[timeline]` of the document.
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
    serve_with(context, database, Journal::of_systemd()).await
}

/// As [`serve`], on a database of the caller's choice, and another journal or none.
///
/// # Errors
///
/// What keeps it from starting.
pub async fn serve_with(
    context: Context,
    database: Database,
    journal: Option<Journal>,
) -> anyhow::Result<()> {
    let config = Config::parse(&context.document)?;
    let inventory =
        Mirror::<Inventory>::load(&context.paths.state, "inventory").context("load the last good copy")?;
    let events = context.sockets().datagram("events").context("take the socket of the events")?;
    let timeline = Timeline::new(context.clone(), config, inventory, database, journal);
    let router = router(timeline.clone());
    context.ready("boots are watched")?;
    let (served, received, ()) =
        tokio::join!(web::serve(&context, router), timeline.receive(events), timeline.upkeep());
    served.and(received)
}

impl Timeline {
    /// Migrates and follows, looks for boots that stand still, writes, until the context's stop.
    async fn upkeep(&self) {
        let stop = &self.context.stop;
        let inventory = Client::unix(self.context.socket_of(Service::Inventory));
        let written = async {
            self.database.migrate(&MIGRATIONS, stop).await;
            self.load().await;
            self.write().await;
        };
        let followed = self.inventory.follow_socket(inventory, stop.clone());
        tokio::join!(written, followed, self.look_for_silence(), self.keep_audit());
    }
}

/// Re-exported for [`Timeline`]'s fields.
impl std::ops::Deref for Timeline {
    type Target = api::Inner;
    fn deref(&self) -> &api::Inner {
        Arc::as_ref(&self.0)
    }
}
