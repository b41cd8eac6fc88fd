//! `pilotctl boot`.

mod once;
mod params;
mod report;
mod watch;

use boot::client::{Architecture, Client, Considered, Script};
use clap::Subcommand;
use domain::Service;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};

/// What nodes boot.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl boot script nid001
  pilotctl boot script nid001 --explain      which entry gave what, and which others were considered
  pilotctl boot set --group compute --image compute:latest
  pilotctl boot once nid001 --image rescue:latest
  pilotctl boot params list
  pilotctl boot params set --group compute --kernel http://172.16.0.254:8080/compute/latest/vmlinuz
  pilotctl boot watch 'nid[001-003]'
  pilotctl boot report                       how the last mass boot went, and why some failed
  pilotctl boot history nid001
  pilotctl boot forget nid001                it is taken away: nothing is wrong with its last boot any more")]
pub(crate) enum Command {
    /// The script that a node would be sent now, and where it comes from
    Script(ScriptArguments),
    /// Another image, kernel or disk for the next boot alone
    Once(once::Arguments),
    /// What nodes, groups or all boot from now on; the same as `params set`
    #[command(after_help = params::SET_HELP)]
    Set(params::Set),
    /// The entries that decide what nodes boot, what they boot once among them; the same as `params show`
    Show(params::Targets),
    /// Kernel, initrd and command line, by node, group or for all
    #[command(subcommand)]
    Params(params::Command),
    /// Boots as they happen, a row a node
    Watch(watch::Arguments),
    /// What the last mass boot came to: failures by stage and cause, times, the slowest
    Report(report::ReportArguments),
    /// The boots of one node, and each step of the last one
    History(report::HistoryArguments),
    /// Forget the last boot of nodes that were seen to or taken away, and what is wrong with it; the steps are kept
    Forget {
        /// Names, xnames, MAC addresses or lists such as 'nid[001-009]'
        #[arg(required = true)]
        nodes: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The first of these that has an entry decides: the node's MAC addresses, its xname, its name, \
its number, its groups in order of label, Default, [boot.default] of the document. Before all of them comes what \
the node boots once.

Examples:
  pilotctl boot script nid001
  pilotctl boot script 52:54:00:10:00:01 --explain
  pilotctl boot script x1000c0s0b0n0 --arch arm64
  pilotctl boot script nid001 --json | jq -r .target"
)]
pub(crate) struct ScriptArguments {
    /// A name, an xname or a MAC address
    node: String,
    /// Show what was considered, in order of precedence, instead of the script
    #[arg(long)]
    explain: bool,
    /// As a machine of this architecture, by iPXE's word; else as the inventory says
    #[arg(long, value_parser = architecture)]
    arch: Option<Architecture>,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

fn architecture(word: &str) -> Result<Architecture, String> {
    let known = Architecture::ALL.map(Architecture::name).join(", ");
    Architecture::parse(word).ok_or_else(|| format!("write one of {known}"))
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    match command {
        Command::Script(arguments) => script(head, &arguments).await,
        Command::Once(arguments) => once::run(head, arguments).await,
        Command::Set(arguments) => params::run(head, params::Command::Set(arguments)).await,
        Command::Show(targets) => params::run(head, params::Command::Show(targets)).await,
        Command::Params(command) => params::run(head, command).await,
        Command::Watch(arguments) => watch::run(head, &arguments).await,
        Command::Report(arguments) => report::report(head, &arguments).await,
        Command::History(arguments) => report::history(head, &arguments).await,
        Command::Forget { nodes } => report::forget(head, &nodes).await,
    }
}

fn client(head: &Head) -> Client {
    Client::unix(head.socket(Service::Boot))
}

async fn script(head: &Head, arguments: &ScriptArguments) -> Result<(), Failure> {
    let found = client(head).script_of(&arguments.node, arguments.arch).await?;
    if arguments.json || head.format == Format::Json {
        println!("{:#}", serde_json::json!(found));
    } else if arguments.explain {
        explain(head, &arguments.node, &found);
    } else {
        let node = found.node.as_ref().map_or("in no inventory", |it| it.as_str());
        eprintln!("{node}, parameters from: {}", found.target.as_deref().unwrap_or(&found.source));
        println!("{}", found.script.trim_end());
    }
    Ok(())
}

fn explain(head: &Head, asked: &str, found: &Script) {
    let row = |it: &Considered| {
        let used = if it.used { "boots" } else { "" };
        vec![used.to_owned(), it.target.clone(), it.source.clone(), it.kernel.clone().unwrap_or_default()]
    };
    let rows: Vec<_> = found.considered.iter().map(row).collect();
    let value = serde_json::json!(found.considered);
    print(head.format, &value, &["", "ENTRY OF", "AS", "KERNEL"], &rows);
    match (&found.node, &found.target) {
        (_, Some(_)) => {}
        (Some(node), None) => eprintln!(
            "{node} has nothing to boot and waits; set it: pilotctl boot params set {node} --kernel URL"
        ),
        (None, None) => eprintln!("{asked} is in no inventory and waits until it is"),
    }
}
