//! Who may do what: the OpenID Connect issuer of the head's tokens.
//!
//! | what | where |
//! | --- | --- |
//! | callers | every service (keys, revocations), pilotctl and `gen_access_token`, join, clients through the gateway |
//! | socket | `/run/pilothouse/auth.sock` |
//! | tables | `signing_key` (sealed), `client`, `account` (digests), `session`, `code`, `device`, `assertion`, `revoked` |
//! | state | `signing-keys.json`: the sealed keys' last good copy; `directory.ndjson`: the Mirror of clients, people and revocations; `issuers.json`: other issuers' keys |
//! | specification | RFC 6749, 7009, 7517, 7523, 7636, 7662, 8252, 8414, 8628, 9068, 9207; OpenID Connect Core and Discovery 1.0 |

mod api;
pub mod client;
mod config;
mod error;
mod fetch;
mod keys;
mod model;
mod outer;
mod password;
mod store;
mod upkeep;

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use daemon::Context;
use domain::Document;
use uuid::Uuid;
use web::mirror::Mirror;
use web::{Database, SealKey};

pub use crate::api::{Auth, router};
use crate::config::Config;
use crate::keys::Keys;
use crate::model::Throttle;
use crate::outer::Outer;
use crate::password::Passwords;

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

/// What the router works with, from the last good copies; nothing of it needs the database.
///
/// # Errors
///
/// If the settings, the sealing key or a last good copy cannot be read.
pub fn open(context: &Context, database: Database) -> anyhow::Result<Auth> {
    let config = Config::parse(&context.document)?;
    let seal = || SealKey::new(&context.credential("seal-key")?).context("read the sealing key");
    let keys = Keys::load(context.state("signing-keys.json"), seal()?, config.key_life.0);
    let directory = Mirror::load(&context.paths.state, "directory");
    Ok(Auth {
        issuer: format!("https://{}:8443", context.document.cluster.service_name()).into(),
        cluster: context.document.cluster.name.as_str().into(),
        keys: Arc::new(keys.context("load the last good keys")?),
        seal: Arc::new(seal()?),
        directory: directory.context("load the last good directory")?,
        outer: Arc::new(Outer::load(config.trusted.clone(), context.state("issuers.json"))),
        passwords: Arc::new(Passwords::new()?),
        throttle: Arc::new(Mutex::new(Throttle::of_passwords())),
        device_throttle: Arc::new(Mutex::new(Throttle::of_devices())),
        life: Uuid::new_v4(),
        stop: context.stop.clone(),
        config: Arc::new(config),
        database,
    })
}
