//! `pilotctl power`.

mod recover;
mod told;

use clap::Subcommand;
use power::client::{Action, Boot, Request};

use crate::Head;
use crate::error::Failure;

/// Switches nodes on and off.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl power status 'nid[001-009]'
  pilotctl power on nid001 nid007 --boot pxe
  pilotctl power cycle x1000c1s7b1n0 --output json
  pilotctl power recover --dry-run             nodes that are on and have not booted")]
pub(crate) enum Command {
    /// Whether nodes are on
    Status(Nodes),
    /// Switch on
    On(Switch),
    /// Switch off at once
    Off(Nodes),
    /// Off and on again; a node that is off is switched on
    Cycle(Switch),
    /// Reset without switching power
    Reset(Switch),
    /// Ask the operating system to shut down
    Soft(Nodes),
    /// Switch nodes off and on, in stages, that are on without having booted
    Recover(recover::Arguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Nodes {
    /// Names, xnames or lists such as 'nid[001-009]'
    #[arg(required = true)]
    nodes: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Switch {
    #[command(flatten)]
    nodes: Nodes,
    /// Boot from there, this time alone
    #[arg(long, value_parser = boot_device)]
    boot: Option<Boot>,
}

fn boot_device(text: &str) -> Result<Boot, String> {
    serde_json::from_value(text.into()).map_err(|_| "write pxe, disk, cdrom or bios".to_owned())
}

/// The nodes that lists stand for.
pub(crate) fn expand(lists: &[String]) -> Result<Vec<String>, Failure> {
    let names = domain::expand(&lists.join(",")).map_err(|it| Failure::usage(it.to_string()))?;
    if names.is_empty() { Err(Failure::usage("name at least one node")) } else { Ok(names) }
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let (nodes, action, boot) = match command {
        Command::Status(nodes) => (nodes, None, None),
        Command::On(it) => (it.nodes, Some(Action::On), it.boot),
        Command::Off(nodes) => (nodes, Some(Action::Off), None),
        Command::Cycle(it) => (it.nodes, Some(Action::Cycle), it.boot),
        Command::Reset(it) => (it.nodes, Some(Action::Reset), it.boot),
        Command::Soft(nodes) => (nodes, Some(Action::Soft), None),
        Command::Recover(arguments) => return recover::run(head, arguments).await,
    };
    let nodes = expand(&nodes.nodes)?;
    told::ask(head, action.map_or("status", Action::name), Request { nodes, action, boot }).await
}
