//! `pilotctl audit`: who did what, and whether the records are those that were written.

use domain::Service;
use serde_json::json;
use timeline::client::{self, Record, Verdict, Wanted};

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};

/// Who did what on this head.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Who did what, whence, and what became of it
    List(ListArguments),
    /// Look whether a record was changed or taken away
    #[command(
        after_help = "Each record holds the hash of the one before; a file beside the database knows the last. What \
was removed for its age (timeline.audit_keep of the document) leaves its hash behind.

Exit status: 1 if a record is not what was written; the first one is named."
    )]
    Verify,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl audit list --since 24h
  pilotctl audit list --actor alice --what power
  pilotctl audit list --node nid001 --result refused --output json")]
pub(crate) struct ListArguments {
    /// Since then: 30m, 12h, 7d, or 2026-11-22T20:00:00Z
    #[arg(long)]
    since: Option<String>,
    /// Until then
    #[arg(long)]
    until: Option<String>,
    /// A part of the name of who did it
    #[arg(long)]
    actor: Option<String>,
    /// A part of what was done
    #[arg(long)]
    what: Option<String>,
    /// ok, refused or failed
    #[arg(long)]
    result: Option<String>,
    /// What was done to one node, by name or xname
    #[arg(long)]
    node: Option<String>,
    /// The last so many
    #[arg(long, short = 'n', default_value_t = 100)]
    limit: u32,
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(head, &arguments).await,
        Command::Verify => verify(head).await,
    }
}

/// The newest last, as a log is read.
async fn list(head: &Head, arguments: &ListArguments) -> Result<(), Failure> {
    let wanted = Wanted {
        since: arguments.since.as_deref(),
        until: arguments.until.as_deref(),
        actor: arguments.actor.as_deref(),
        what: arguments.what.as_deref(),
        result: arguments.result.as_deref(),
        node: arguments.node.as_deref(),
        limit: Some(arguments.limit),
    };
    let mut records = client::list_audit(&head.client(Service::Timeline), &wanted).await?;
    records.reverse();
    let row = |it: &Record| {
        let deed = &it.deed;
        let time = deed.time.replace_nanosecond(0).unwrap_or(deed.time).to_string();
        let time = time.split_once(".0 ").map_or(time.clone(), |it| it.0.to_owned());
        let text = [&deed.source, &deed.actor, &deed.whence, &deed.result, &deed.what].map(String::clone);
        [vec![it.id.to_string(), time], text.to_vec(), vec![deed.node.clone().unwrap_or_default()]].concat()
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    let headings = ["RECORD", "TIME (UTC)", "BY WAY OF", "WHO", "WHENCE", "RESULT", "WHAT", "NODE"];
    print(head.format, &json!(records), &headings, &rows);
    Ok(())
}

async fn verify(head: &Head) -> Result<(), Failure> {
    let verdicts = client::verify_audit(&head.client(Service::Timeline)).await?;
    if head.format == Format::Json {
        println!("{:#}", json!(verdicts));
    } else if verdicts.is_empty() {
        println!("there are no records yet");
    } else {
        verdicts.iter().for_each(tell);
    }
    match verdicts.iter().find_map(|it| it.broken.as_ref().map(|broken| (it, broken))) {
        None => Ok(()),
        Some((verdict, broken)) => Err(Failure::failed(format!(
            "record {} of head {}: {}; compare with journalctl PILOTHOUSE_AUDIT=1 and the site's syslog",
            broken.id, verdict.head, broken.detail
        ))),
    }
}

fn tell(verdict: &Verdict) {
    let Verdict { head, records, pruned, last, broken } = verdict;
    let holds = if broken.is_some() { "hold, and no more" } else { "hold" };
    let old = if *pruned > 0 {
        format!(", {pruned} before them were removed for their age")
    } else {
        String::new()
    };
    println!("head {head}: {records} records {holds}{old}");
    println!("  up to {}, {}", last.id, last.hash);
}
