//! `ochami cloud-init config` and `data`, of the bootcamp's time: entries named by group, xname or MAC
//! address, in an open store and in one that wants a token to be read.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::config::Service;
use super::error::{Done, Tally};
use super::http::{Ask, Client, Failure, segment};
use super::output::{self, Output};
use super::payload::{Payload, entries, name_of};
use super::{Confirm, Session, log};

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Add entries
    Add(Payload),
    /// Change entries that there are
    Update(Payload),
    /// Show all entries, or one
    Get {
        id: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Delete entries
    Delete {
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Show what groups and nodes get: user-data unless something else is asked for
    Get {
        #[arg(required = true)]
        ids: Vec<String>,
        #[arg(long, group = "part")]
        user: bool,
        #[arg(long, group = "part")]
        meta: bool,
        #[arg(long, group = "part")]
        vendor: bool,
    },
}

/// A client that may write.
fn writer(session: &Session, secure: bool) -> Result<Client, super::Stop> {
    session.client(if secure { Service::CloudInitSecure } else { Service::CloudInit })
}

/// A client that reads: the open store needs no token for that.
fn reader(session: &Session, secure: bool) -> Result<Client, super::Stop> {
    if secure { session.client(Service::CloudInitSecure) } else { session.open_client(Service::CloudInit) }
}

pub(super) async fn config(session: &Session, secure: bool, command: Config) -> Done {
    match command {
        Config::Add(payload) => {
            let list = given(session, &payload)?;
            let mut client = writer(session, secure)?;
            let mut tally = Tally::default();
            for entry in list {
                tally.count(client.ask(Ask::new(Method::POST, "").body(entry)).await);
            }
            tally.end("entries")
        }
        Config::Update(payload) => {
            let list = given(session, &payload)?;
            let mut client = writer(session, secure)?;
            let mut tally = Tally::default();
            for entry in list {
                let path = format!("/{}", segment(name_of(&entry, &["name"])?));
                tally.count(client.ask(Ask::new(Method::PUT, path).body(entry)).await);
            }
            tally.end("entries")
        }
        Config::Get { id, output } => {
            let path = id.map(|it| format!("/{}", segment(&it))).unwrap_or_default();
            session.print(&reader(session, secure)?.ask(Ask::get(path)).await?, output)
        }
        Config::Delete { ids, confirm } => {
            if !confirm.ask("Really delete?")? {
                return Ok(());
            }
            let mut client = writer(session, secure)?;
            let mut tally = Tally::default();
            for id in ids {
                tally.count(client.ask(Ask::delete(format!("/{}", segment(&id)))).await);
            }
            tally.end("entries")
        }
    }
}

/// The entries, a list or one alone.
fn given(session: &Session, payload: &Payload) -> Result<Vec<Value>, super::Stop> {
    let Some(data) = payload.read(session)? else {
        return Err(super::Stop::usage("write -f FILE, or -d"));
    };
    let mut list = entries(data, "entries")?;
    for entry in &mut list {
        name_of(entry, &["name"])?;
        if let Some(parts) = entry.get_mut("cloud-init").and_then(Value::as_object_mut) {
            for part in ["userdata", "metadata", "vendordata"] {
                parts.entry(part).or_insert(json!(null));
            }
        }
    }
    Ok(list)
}

pub(super) async fn data(session: &Session, secure: bool, command: Data) -> Done {
    let Data::Get { ids, meta, vendor, .. } = command;
    let part = match (meta, vendor) {
        (true, _) => "meta-data",
        (_, true) => "vendor-data",
        _ => "user-data",
    };
    let mut client = reader(session, secure)?;
    let mut tally = Tally::default();
    for id in ids {
        log::info(format!("{part} of {id}"));
        match client.try_ask(Ask::get(format!("/{}/{part}", segment(&id)))).await? {
            Ok(reply) => {
                tally.count(Ok(()));
                output::print(&reply.body)?;
            }
            // What a node with nothing would get stands in the body.
            Err(failure) => {
                if let Failure::Status { body, .. } = &failure {
                    output::print(body)?;
                }
                tally.count::<()>(Err(failure.into()));
            }
        }
    }
    tally.end(part)
}
