//! `pilotctl console grep`: lines of the logs.

use std::io::Write;

use console::client::{Line, SearchRequest, search};
use domain::{Service, Span};

use crate::error::Failure;
use crate::output::Format;
use crate::{Head, power::expand};

/// Finds lines that consoles wrote.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl console grep 'MCE|Oops' --since 1h 'nid[001-640]'
  pilotctl console grep -i 'link is down' --max 100")]
pub(crate) struct Arguments {
    /// A regular expression
    pattern: String,
    /// Names or lists such as 'nid[001-009]'; none: all
    nodes: Vec<String>,
    /// Lines of the last 30m, 1h, 7d …
    #[arg(long)]
    since: Option<Span>,
    /// Letters match in either case
    #[arg(long, short)]
    ignore_case: bool,
    /// So many lines at most
    #[arg(long, default_value_t = 10_000)]
    max: usize,
}

pub(super) async fn run(head: &Head, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { pattern, nodes, since, ignore_case, max } = arguments;
    if !nodes.is_empty() {
        expand(&nodes)?; // A list that is none is said here.
    }
    let request = SearchRequest {
        pattern,
        ignore_case,
        since_s: since.map(|it| it.0.as_secs()),
        nodes: nodes.join(","),
        max: Some(max),
    };
    let mut found = search(&head.client(Service::Console), &request).await?;
    let mut output = std::io::stdout().lock();
    loop {
        match found.next().await? {
            Some(Line::Found(it)) if head.format == Format::Json => {
                writeln!(output, "{}", serde_json::json!({ "node": it.node, "line": it.line }))?;
            }
            Some(Line::Found(it)) => {
                writeln!(output, "{}: {}", it.node, it.line.replace(char::is_control, "?"))?
            }
            Some(Line::End { end }) => {
                output.flush()?;
                if end.more {
                    eprintln!(
                        "pilotctl: there are more than {} lines; narrow it down, or use --max",
                        end.found
                    );
                }
                return match end.failed.as_slice() {
                    [] if end.found == 0 => Err(Failure::failed("")),
                    [] => Ok(()),
                    failed => Err(Failure::some_nodes(format!("not searched:\n  {}", failed.join("\n  ")))),
                };
            }
            None => return Err(Failure::failed("the search broke off; journalctl -u pilothouse-console")),
        }
    }
}
