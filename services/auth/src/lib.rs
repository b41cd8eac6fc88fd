//! Who may do what: the OpenID Connect issuer of the head's tokens.
//!
//! | what | where |
//! | --- | --- |
//! | callers | every service (keys), pilotctl and `gen_access_token` (tokens), clients through the gateway |
//! | socket | `/run/pilothouse/auth.sock` |
//! | tables | `signing_key` (sealed), `client` (hashes of secrets) |
//! | state | `signing-keys.json`: the sealed keys' last good copy; `clients.ndjson`: the Mirror of `client` |
//! | specification | RFC 6749 section 4.4, RFC 8414, RFC 7517, RFC 9068; OpenID Connect Discovery 1.0 |

mod api;
pub mod client;
mod config;
mod error;
mod keys;
mod model;
mod store;

use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use domain::Document;
use web::mirror::Mirror;
use web::{Database, SealKey};

pub use crate::api::{Auth, router};
use crate::config::Config;
use crate::keys::Keys;

/// The tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Checks `[auth]` of the document.
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
    let auth = open(&context, database)?;
    let status =
        if auth.keys.is_empty() { "no key yet: waiting for the database" } else { "tokens are issued" };
    context.ready(status)?;
    let (served, ()) = tokio::join!(web::serve(&context, router(auth.clone())), auth.upkeep(&context));
    served
}

impl Auth {
    /// Migrates the database, settles the keys with it and follows the clients, until the context's stop.
    pub async fn upkeep(&self, context: &Context) {
        let stop = &context.stop;
        let settle = async {
            self.database.migrate(&MIGRATIONS, stop).await;
            self.keys.settle(context, &self.database).await;
        };
        tokio::join!(settle, self.clients.follow_database(self.database.clone(), stop.clone()));
    }
}

/// What the router works with, from the last good copies; nothing of it needs the database.
///
/// # Errors
///
/// If the settings, the sealing key or a last good copy cannot be read.
pub fn open(context: &Context, database: Database) -> anyhow::Result<Auth> {
    let config = Config::parse(&context.document)?;
    let seal = SealKey::new(&context.credential("seal-key")?).context("read the sealing key")?;
    let keys = Keys::load(context.state("signing-keys.json"), seal).context("load the last good keys")?;
    let clients = Mirror::load(&context.paths.state, "clients").context("load the last good clients")?;
    Ok(Auth {
        issuer: format!("https://{}:8443", context.document.cluster.service_name()).into(),
        keys: Arc::new(keys),
        clients,
        database,
        config,
    })
}
