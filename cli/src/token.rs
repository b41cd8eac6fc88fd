//! `pilotctl token` and `pilotctl ca-cert`, the bootcamp's `gen_access_token` and `get_ca_cert`; the keys that sign
//! tokens, and the end of tokens before their time.

use std::io::Write;

use axum::http::Method;
use clap::Subcommand;
use domain::Service;
use serde_json::{Value, json};

use crate::Head;
use crate::error::Failure;
use crate::login;
use crate::output::{print, text};

/// Prints an access token for the APIs, for use as `export DEMO_ACCESS_TOKEN=$(gen_access_token)`: on the head for
/// one's own account, elsewhere that of `pilotctl login`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// How long it is good, 60 to 86400 seconds
    #[arg(long, default_value_t = 43_200)]
    seconds: u32,
    /// viewer, operator or admin; at most the caller's own role, which it is if none is named
    #[arg(long)]
    role: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The keys that sign tokens
    Keys,
    /// Make the next keys now; they sign in ten minutes, once everybody knows them
    RotateKeys {
        /// Throw the old keys away at once, since somebody else has them; every token ends
        #[arg(long)]
        at_once: bool,
    },
    /// End tokens before their time; every service hears of it at once
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Revoke {
        /// Every token of a person, a client or an account
        #[arg(long, group = "what")]
        subject: Option<String>,
        /// Every token of a log-in, by its `sid`
        #[arg(long, group = "what")]
        session: Option<String>,
        /// One token, by its `jti`
        #[arg(long, group = "what")]
        jti: Option<String>,
    },
}

pub(crate) async fn run(head: &Head, arguments: Arguments) -> Result<(), Failure> {
    let auth = head.client(Service::Auth);
    match arguments.command {
        None => return give(head, arguments.seconds, arguments.role).await,
        Some(Command::Keys) => show_keys(head, &auth.get("/pilothouse/v1/keys").await?),
        Some(Command::RotateKeys { at_once }) => {
            let body = json!({"at_once": at_once});
            show_keys(head, &auth.call(Method::POST, "/pilothouse/v1/keys/rotate", Some(&body)).await?);
        }
        Some(Command::Revoke { subject, session, jti }) => {
            let all = [("subject", subject), ("session", session), ("token", jti)];
            for (kind, id) in all.into_iter().filter_map(|(kind, id)| Some((kind, id?))) {
                let body = json!({kind: id});
                auth.text(Method::POST, "/pilothouse/v1/revocations", Some(&body)).await?;
            }
        }
    }
    Ok(())
}

async fn give(head: &Head, seconds: u32, role: Option<String>) -> Result<(), Failure> {
    if !head.socket(Service::Auth).exists() {
        let token = login::access_token().await?.ok_or_else(|| {
            Failure::refused("this is no head, and you are not logged in; run pilotctl login --head URL")
        })?;
        println!("{}", *token);
        return Ok(());
    }
    let mut body = json!({"seconds": seconds});
    if let Some(role) = role {
        body["role"] = role.into();
    }
    let client = head.client(Service::Auth);
    let answer: Value = client.call(Method::POST, "/pilothouse/v1/tokens", Some(&body)).await?;
    match answer["access_token"].as_str() {
        Some(token) => {
            println!("{token}");
            Ok(())
        }
        None => Err(Failure::failed("the answer of auth holds no token")),
    }
}

fn show_keys(head: &Head, keys: &Value) {
    let row = |it: &Value| ["kid", "algorithm", "signs_from", "signs"].map(|name| text(it, name)).to_vec();
    let rows: Vec<_> = keys.as_array().into_iter().flatten().map(row).collect();
    print(head.format, keys, &["KEY", "ALGORITHM", "SIGNS FROM", "SIGNS"], &rows);
}

pub(crate) async fn root_certificate(head: &Head) -> Result<(), Failure> {
    let client = head.client(Service::Ca);
    let pem = client.text(Method::GET, "/pilothouse/v1/root.pem", None::<&()>).await?;
    std::io::stdout().write_all(&pem)?;
    Ok(())
}
