//! `pilotctl bmc`.

use std::io::{BufRead, IsTerminal, Write};

use axum::http::Method;
use clap::Subcommand;
use domain::Service;
use serde_json::Value;

use crate::Head;
use crate::error::Failure;
use crate::output::{print, text};

/// Accounts of management controllers.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl bmc list
  pilotctl bmc set --user admin                       for all without one of their own; asks for the password
  pilotctl bmc set x1000c1s7b1 --user admin <password.txt")]
pub(crate) enum Command {
    /// The controllers and how they are reached
    List,
    /// Set the account; the password is read from the terminal or standard input, never from the command line
    Set {
        /// An xname, class:NAME, or default
        #[arg(default_value = "default")]
        scope: String,
        /// The account's name, at most 16 bytes
        #[arg(long)]
        user: String,
    },
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let client = head.client(Service::Inventory);
    match command {
        Command::List => {
            let list: Value = client.get("/pilothouse/v1/bmcs").await?;
            let rows: Vec<_> = list
                .as_array()
                .into_iter()
                .flatten()
                .map(|it| {
                    ["id", "address", "protocol", "class", "nodes"].map(|member| text(it, member)).to_vec()
                })
                .collect();
            print(head.format, &list, &["BMC", "ADDRESS", "PROTOCOL", "CLASS", "NODES"], &rows);
        }
        Command::Set { scope, user } => {
            let password = read_password()?;
            let body = serde_json::json!({"user": user, "password": *password});
            let path = format!("/pilothouse/v1/bmc-credentials/{scope}");
            client.text(Method::PUT, &path, Some(&body)).await?;
        }
    }
    Ok(())
}

/// One line, without echo on a terminal.
pub(crate) fn read_password() -> Result<zeroize::Zeroizing<String>, Failure> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    let input = std::io::stdin();
    let mut line = zeroize::Zeroizing::new(String::new());
    let terminal =
        input.is_terminal().then(|| tcgetattr(&input)).transpose().map_err(std::io::Error::from)?;
    if let Some(before) = &terminal {
        eprint!("Password: ");
        std::io::stderr().flush()?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSAFLUSH, &quiet).map_err(std::io::Error::from)?;
    }
    let read = input.lock().read_line(&mut line);
    if let Some(before) = &terminal {
        tcsetattr(&input, SetArg::TCSAFLUSH, before).map_err(std::io::Error::from)?;
        eprintln!();
    }
    read?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() { Err(Failure::usage("the password is empty")) } else { Ok(line) }
}
