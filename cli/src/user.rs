//! `pilotctl user` and `pilotctl client`: who may log in at the head from elsewhere, people and programs.

use std::path::PathBuf;

use axum::http::Method;
use clap::Subcommand;
use domain::Service;
use serde_json::{Value, json};

use crate::Head;
use crate::bmc::read_password;
use crate::error::Failure;
use crate::output::{print, text};

/// People who log in with a password; the administrators of the head itself have SSH keys.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl user add bob --role operator        asks for the password
  pilotctl user set-password bob <password.txt
  pilotctl user remove bob                     ends every log-in and token of theirs")]
pub(crate) enum UserCommand {
    /// Everybody who can log in
    List,
    /// Add someone; the password is read from the terminal or standard input, never from the command line
    Add {
        /// Letters, digits, '.', '_' and '-'
        name: String,
        /// viewer, operator or admin
        #[arg(long, default_value = "viewer")]
        role: String,
    },
    /// Set another password, which ends their log-ins
    SetPassword {
        /// Who
        name: String,
    },
    /// Give another role, which ends their log-ins
    SetRole {
        /// Who
        name: String,
        /// viewer, operator or admin
        role: String,
    },
    /// Remove someone
    Remove {
        /// Who
        name: String,
    },
}

/// Programs that fetch tokens for themselves, or send people to the head to log in.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl client add ci --role operator                                    prints its secret, once
  pilotctl client add grafana --role viewer --redirect-uri https://grafana.site/login/generic_oauth
  pilotctl client add runner --role viewer --jwks runner.jwks.json          signs its requests, has no secret")]
pub(crate) enum ClientCommand {
    /// The registered clients
    List,
    /// Register one
    Add {
        /// Letters, digits, '.', '_' and '-'
        id: String,
        /// viewer, operator or admin: what it may, and the most that people may through it
        #[arg(long, default_value = "viewer")]
        role: String,
        /// What it is
        #[arg(long, default_value = "")]
        description: String,
        /// Where people are sent back to; may be repeated
        #[arg(long)]
        redirect_uri: Vec<String>,
        /// It runs on people's own machines, and has no secret
        #[arg(long)]
        public: bool,
        /// Its public keys, a file with a JWK set
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
        /// How its tokens are signed, ES256 or RS256
        #[arg(long)]
        algorithm: Option<String>,
    },
    /// Remove one, which ends its tokens and the log-ins through it
    Remove {
        /// Which
        id: String,
    },
}

const USERS: &str = "/pilothouse/v1/users";
const CLIENTS: &str = "/pilothouse/v1/clients";

pub(crate) async fn run_user(head: &Head, command: UserCommand) -> Result<(), Failure> {
    let auth = head.client(Service::Auth);
    match command {
        UserCommand::List => {
            let list: Value = auth.get(USERS).await?;
            show(head, &list, &["name", "role", "created"], &["NAME", "ROLE", "SINCE"]);
        }
        UserCommand::Add { name, role } => {
            let password = read_password()?;
            let body = json!({"name": name, "role": role, "password": *password});
            auth.text(Method::POST, USERS, Some(&body)).await?;
        }
        UserCommand::SetPassword { name } => {
            let password = read_password()?;
            let body = json!({"password": *password});
            auth.text(Method::PUT, &format!("{USERS}/{}", segment(&name)), Some(&body)).await?;
        }
        UserCommand::SetRole { name, role } => {
            let body = json!({"role": role});
            auth.text(Method::PUT, &format!("{USERS}/{}", segment(&name)), Some(&body)).await?;
        }
        UserCommand::Remove { name } => {
            auth.text(Method::DELETE, &format!("{USERS}/{}", segment(&name)), None::<&()>).await?;
        }
    }
    Ok(())
}

pub(crate) async fn run_client(head: &Head, command: ClientCommand) -> Result<(), Failure> {
    let auth = head.client(Service::Auth);
    match command {
        ClientCommand::List => {
            let list: Value = auth.get(CLIENTS).await?;
            let members = ["id", "role", "proof", "redirect_uris", "description"];
            show(head, &list, &members, &["CLIENT", "ROLE", "PROOF", "REDIRECT", "DESCRIPTION"]);
        }
        ClientCommand::Add { id, role, description, redirect_uri, public, jwks, algorithm } => {
            let mut body = json!({"id": id, "role": role, "description": description,
                "redirect_uris": redirect_uri, "public": public});
            if let Some(file) = jwks {
                let fail = |it: String| Failure::failed(format!("cannot read {}: {it}", file.display()));
                let bytes = std::fs::read(&file).map_err(|it| fail(it.to_string()))?;
                body["jwks"] = serde_json::from_slice(&bytes).map_err(|it| fail(it.to_string()))?;
            }
            if let Some(algorithm) = algorithm {
                body["algorithm"] = algorithm.into();
            }
            let made: Value = auth.call(Method::POST, CLIENTS, Some(&body)).await?;
            if let Some(secret) = made["secret"].as_str() {
                println!("{secret}");
            }
        }
        ClientCommand::Remove { id } => {
            auth.text(Method::DELETE, &format!("{CLIENTS}/{}", segment(&id)), None::<&()>).await?;
        }
    }
    Ok(())
}

fn show(head: &Head, list: &Value, members: &[&str], headings: &[&str]) {
    let rows = list.as_array().into_iter().flatten();
    let rows: Vec<_> = rows.map(|it| members.iter().map(|name| text(it, name)).collect()).collect();
    print(head.format, list, headings, &rows);
}

/// A name as one part of a path.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}
