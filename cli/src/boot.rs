//! `pilotctl boot`.

use clap::Subcommand;
use domain::Service;
use serde_json::Value;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, text};

/// What nodes boot.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl boot script nid001")]
pub(crate) enum Command {
    /// The script that a node would be sent now, and where it comes from
    Script {
        /// A name or an xname
        node: String,
    },
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let Command::Script { node } = command;
    let found: Value = head.client(Service::Boot).get(&format!("/pilothouse/v1/script/{node}")).await?;
    match head.format {
        Format::Json => println!("{found:#}"),
        Format::Table => {
            eprintln!("{}, parameters from: {}", text(&found, "node"), text(&found, "source"));
            println!("{}", text(&found, "script").trim_end());
        }
    }
    Ok(())
}
