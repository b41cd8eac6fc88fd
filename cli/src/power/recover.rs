//! `pilotctl power recover`.

use std::time::Duration;

use domain::Service;
use power::client::{Recovery, RecoveryPhase, RecoveryRequest, Verdict, recover, recovery};
use serde_json::json;

use super::expand;
use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print, progress};

/// How often the service is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A node counts as not booted if its BMC says that it is on, it has asked for no script since the \
head was started, and its address is nobody's: it was switched on while the head was down, and its firmware has given \
up. Who answers at its address, or might, is left alone. Nodes are switched a stage at a time; the next stage begins \
when all have asked for their scripts, or --wait is over. It goes on when this command is left; --follow shows it \
again. With power.recover = \"cycle\" in the document the head does it by itself after a start, with \"list\" (the \
default) it tells of such nodes as a health issue, with \"off\" nobody looks.

Examples:
  pilotctl power recover --dry-run
  pilotctl power recover --stage 32
  pilotctl power recover 'nid[001-512]' --stage 64 --wait 600
  pilotctl power recover --follow --output json"
)]
pub(crate) struct Arguments {
    /// Names, xnames or lists such as 'nid[001-009]'; none are all that have a BMC and no lock
    nodes: Vec<String>,
    /// So many are switched off and on at once; else as the document says
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    stage: Option<u16>,
    /// Seconds that the nodes of a stage have to ask for their scripts; else as the document says
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Only show them
    #[arg(long)]
    dry_run: bool,
    /// Show the one that is under way, or the last one
    #[arg(long, conflicts_with_all = ["nodes", "stage", "wait", "dry_run"])]
    follow: bool,
}

pub(crate) async fn run(head: &Head, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { nodes, stage, wait, dry_run, follow } = arguments;
    let client = head.client(Service::Power);
    let mut now = if follow {
        recovery(&client).await?.ok_or_else(|| Failure::failed("nobody has begun a recovery"))?
    } else {
        let nodes = if nodes.is_empty() { Vec::new() } else { expand(&nodes)? };
        recover(&client, &RecoveryRequest { nodes, stage: stage.map(Into::into), wait_s: wait, dry: dry_run })
            .await?
    };
    let bar = progress(told(&now));
    while now.phase != RecoveryPhase::Done {
        tokio::time::sleep(ASK_EVERY).await;
        if let Some(next) = recovery(&client).await? {
            now = next;
        }
        bar.set_message(told(&now));
    }
    bar.finish_and_clear();
    show(head, &now)
}

fn told(now: &Recovery) -> String {
    let count = |it| now.count(it);
    match now.phase {
        RecoveryPhase::Looking => format!("looking: {} nodes so far", now.nodes.len()),
        _ => format!(
            "{} booted, {} under way, {} to go, {} late or failed",
            count(Verdict::Booted),
            count(Verdict::Waiting),
            count(Verdict::Silent),
            count(Verdict::Late) + count(Verdict::Failed)
        ),
    }
}

fn show(head: &Head, now: &Recovery) -> Result<(), Failure> {
    let told = |it: &Verdict| !matches!(it, Verdict::Alive | Verdict::Off);
    let rows: Vec<_> = now
        .nodes
        .iter()
        .filter(|(_, it)| told(&it.verdict))
        .map(|(node, it)| {
            vec![node.to_string(), it.verdict.name().to_owned(), it.reason.clone().unwrap_or_default()]
        })
        .collect();
    print(head.format, &json!(now), &["NODE", "IS", "REASON"], &rows);
    if head.format == Format::Table {
        let (alive, off) = (now.count(Verdict::Alive), now.count(Verdict::Off));
        eprintln!("{alive} nodes are alive, {off} are off");
    }
    if let Some(error) = &now.error {
        return Err(Failure::failed(error.clone()));
    }
    let mut bad: Vec<String> = now.unknown.iter().map(|it| format!("{it} (no node)")).collect();
    if !now.dry {
        bad.extend(now.bad().iter().map(ToString::to_string));
    }
    match bad.is_empty() {
        true => Ok(()),
        false if head.format == Format::Json => Err(Failure::some_nodes("")),
        false => Err(Failure::some_nodes(format!("not booted: {}", bad.join(", ")))),
    }
}
