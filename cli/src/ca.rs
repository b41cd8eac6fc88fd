//! `pilotctl ca`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use axum::http::Method;
use clap::Subcommand;
use domain::Service;
use serde_json::{Value, json};

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print, text};

/// The certificate authority.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl ca roots                            whom clients are to trust
  pilotctl ca eab add --description 'rack 1'   admits ACME accounts where ca.eab = true
  pilotctl ca csr >request.pem                 to have the intermediate signed by the site's own PKI
  pilotctl ca install chain.pem                the answer: intermediate first, the site's root last")]
pub(crate) enum Command {
    /// Print the root certificates
    Roots,
    /// Print the request for an intermediate under the site's own root; its key stays here
    Csr,
    /// Take the chain that the site's PKI made of a request, and issue under it
    Install {
        /// From the intermediate to the site's root, PEM; - reads standard input
        chain: PathBuf,
        /// Issue at once, though clients may not know the site's root yet
        #[arg(long)]
        now: bool,
    },
    /// Keys that admit ACME accounts (external account binding)
    #[command(subcommand)]
    Eab(EabCommand),
}

/// Keys that admit ACME accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum EabCommand {
    /// Make a key; its secret is shown once
    Add {
        /// What it is for, one line
        #[arg(long, default_value = "")]
        description: String,
    },
    /// The keys, without their secrets
    List,
    /// Remove a key; accounts that it admitted stay
    Remove {
        /// The key's name
        kid: String,
    },
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let client = head.client(Service::Ca);
    match command {
        Command::Roots => {
            let pem = client.text(Method::GET, "/pilothouse/v1/root.pem", None::<&()>).await?;
            std::io::stdout().write_all(&pem)?;
        }
        Command::Csr => {
            let answer: Value = client.call(Method::POST, "/pilothouse/v1/site/request", None::<&()>).await?;
            if matches!(head.format, Format::Json) {
                println!("{answer:#}");
                return Ok(());
            }
            print!("{}", text(&answer, "csr_pem"));
            eprintln!(
                "It is to be an authority (CA:TRUE, keyCertSign, cRLSign), bound to these names or to none:"
            );
            for name in answer["name_constraints"].as_array().into_iter().flatten() {
                eprintln!("  {}", name.as_str().unwrap_or_default());
            }
        }
        Command::Install { chain, now } => {
            let body = json!({"chain_pem": read(&chain)?, "at_once": now});
            let answer: Value = client.call(Method::POST, "/pilothouse/v1/site/chain", Some(&body)).await?;
            match head.format {
                Format::Json => println!("{answer:#}"),
                Format::Table if answer["at_once"] == true => println!("certificates are issued under it"),
                Format::Table => println!(
                    "certificates are issued under it from {}; until then clients learn its root",
                    text(&answer, "used_from")
                ),
            }
        }
        Command::Eab(command) => eab(head, &client, command).await?,
    }
    Ok(())
}

async fn eab(head: &Head, client: &web::Client, command: EabCommand) -> Result<(), Failure> {
    match command {
        EabCommand::Add { description } => {
            let body = json!({"description": description});
            let key: Value = client.call(Method::POST, "/pilothouse/v1/eab", Some(&body)).await?;
            let row = ["kid", "hmac_key"].map(|member| text(&key, member)).to_vec();
            print(head.format, &key, &["KID", "HMAC KEY"], &[row]);
        }
        EabCommand::List => {
            let list: Value = client.get("/pilothouse/v1/eab").await?;
            let row = |it: &Value| {
                ["kid", "created", "accounts", "description"].map(|member| text(it, member)).to_vec()
            };
            let rows: Vec<_> = list.as_array().into_iter().flatten().map(row).collect();
            print(head.format, &list, &["KID", "CREATED", "ACCOUNTS", "DESCRIPTION"], &rows);
        }
        EabCommand::Remove { kid } => {
            let good = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
            if kid.is_empty() || !kid.bytes().all(good) {
                return Err(Failure::usage(format!("{kid:?} names no key; pilotctl ca eab list does")));
            }
            client.text(Method::DELETE, &format!("/pilothouse/v1/eab/{kid}"), None::<&()>).await?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
        .map_err(|it| Failure::failed(format!("cannot read {}: {it}", path.display())))
}
