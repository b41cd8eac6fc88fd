//! `pilotctl boot watch`: boots as they happen, a row a node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use domain::{BootStage, Service};
use serde_json::json;
use time::OffsetDateTime;
use timeline::client::{self, Boot, Kind, Outcome, Update};

use super::report::{names, span};
use crate::Head;
use crate::error::Failure;
use crate::output::Format;

/// How often the times move on while nothing happens.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);
/// The stages that have a column, and its heading.
const COLUMNS: [(&str, &[BootStage]); 8] = [
    ("power", &[BootStage::PowerOn]),
    ("dhcp", &[BootStage::DhcpAck]),
    ("loader", &[BootStage::TftpEnd]),
    ("script", &[BootStage::Script]),
    ("kernel", &[BootStage::Kernel]),
    ("initrd", &[BootStage::Initrd]),
    ("root", &[BootStage::Root]),
    ("cloud", &[BootStage::Userdata]),
];

/// Boots as they happen.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without a terminal each step is a line. Control-C ends it.

Examples:
  pilotctl boot watch 'nid[001-003]'
  pilotctl boot watch --until-up 'nid[001-064]'        ends when all are up; exit status 3 if some failed
  pilotctl boot watch --output json | jq -c '.event'")]
pub(crate) struct Arguments {
    /// Names, xnames or lists such as 'nid[001-009]' [default: all]
    nodes: Vec<String>,
    /// End when no boot is under way any more
    #[arg(long)]
    until_up: bool,
}

pub(crate) async fn run(head: &Head, arguments: &Arguments) -> Result<(), Failure> {
    let nodes = names(&arguments.nodes)?;
    let mut stream = client::follow(&head.client(Service::Timeline), nodes.as_deref()).await?;
    let terminal = std::io::stdout().is_terminal() && head.format == Format::Table;
    let mut screen = Screen::default();
    let mut told = false;
    loop {
        let update = match tokio::time::timeout(TICK, stream.next()).await.map(Result::transpose) {
            Ok(Some(update)) => Some(update?),
            Ok(None) => {
                return Err(Failure::unreachable("the stream ended; is the service timeline running?"));
            }
            Err(_) => None,
        };
        if let Some(update) = update {
            told |= update.present;
            match head.format {
                Format::Json if update != Update::default() => say(&json!(update).to_string())?,
                Format::Table if !terminal => say(&line(&update))?,
                _ => {}
            }
            screen.take(update);
        }
        if terminal && told {
            let drawn = screen.draw(OffsetDateTime::now_utc());
            // Home, what is left of the line and of the screen cleared.
            say(&format!("\x1b[H{}\x1b[J", drawn.replace('\n', "\x1b[K\n")))?;
        }
        if arguments.until_up && told && screen.is_over() {
            return screen.verdict();
        }
    }
}

/// Prints at once; nothing for nothing.
fn say(text: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// A step as a line; empty if it is none.
fn line(update: &Update) -> String {
    let (Some(boot), Some(event)) = (&update.boot, &update.event) else { return String::new() };
    let since = (event.time - boot.started).whole_milliseconds();
    let since = span(u64::try_from(since).unwrap_or(0));
    let detail = event.detail.replace(char::is_control, "?");
    format!("{} {since} {} {}: {detail}", called(boot), event.stage, event.result.name())
}

fn called(boot: &Boot) -> &str {
    if boot.name.is_empty() { &boot.node } else { &boot.name }
}

/// What is drawn.
#[derive(Debug, Default)]
struct Screen {
    boots: BTreeMap<String, Boot>,
}

impl Screen {
    fn take(&mut self, update: Update) {
        if let Some(boot) = update.boot {
            self.boots.insert(called(&boot).to_owned(), boot);
        }
    }

    fn is_over(&self) -> bool {
        !self.boots.is_empty() && self.boots.values().all(|it| it.result != Outcome::Running)
    }

    fn verdict(&self) -> Result<(), Failure> {
        let bad = self.boots.values().filter(|it| it.result != Outcome::Good).count();
        match bad {
            0 => Ok(()),
            _ => Err(Failure::some_nodes(format!("{bad} of {} nodes did not boot", self.boots.len()))),
        }
    }

    fn draw(&self, now: OffsetDateTime) -> String {
        let width = self.boots.keys().map(|it| it.chars().count()).max().unwrap_or(4).max(4);
        let mut text = format!("{:width$}", "NODE");
        for (heading, _) in COLUMNS {
            write!(text, " {:>8}", heading.to_uppercase()).unwrap_or_default();
        }
        text.push_str("  STAGE\n");
        for (name, boot) in &self.boots {
            text.push_str(&row(name, boot, width, now));
        }
        let count = |outcome| self.boots.values().filter(|it| it.result == outcome).count();
        let (good, running) = (count(Outcome::Good), count(Outcome::Running));
        let bad = self.boots.len() - good - running;
        text + &format!("{good} good, {running} under way, {bad} failed or standing still")
    }
}

/// The seconds since the boot began at which each stage was reached, and what it is at.
fn row(name: &str, boot: &Boot, width: usize, now: OffsetDateTime) -> String {
    let mut text = format!("{:width$}", name.replace(char::is_control, "?"));
    for (_, stages) in COLUMNS {
        let reached = boot.steps.iter().find(|it| stages.contains(&it.stage));
        let cell = reached.map(|it| (it.at - boot.started).as_seconds_f64());
        let cell = cell.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
        write!(text, " {cell:>8}").unwrap_or_default();
    }
    let since = u64::try_from((now - boot.updated).whole_milliseconds()).unwrap_or(0);
    let state = match (boot.result, boot.findings.iter().find(|it| it.kind != Kind::Sign)) {
        (Outcome::Good, _) => format!("up ({})", boot.stage),
        (_, Some(wrong)) => format!("{}: {} ({})", wrong.stage, wrong.cause, span(since)),
        _ => format!("{} ({})", boot.stage, span(since)),
    };
    text + "  " + &state + "\n"
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::{Screen, line};

    fn update(name: &str, result: &str, findings: serde_json::Value) -> super::Update {
        let boot = json!({"node": "x0c0s0b0n0", "name": name, "started": "2026-11-22T20:00:00Z",
            "updated": "2026-11-22T20:00:05Z", "stage": "dhcp-ack", "result": result, "attempt": 1,
            "steps": [{"stage": "dhcp-ack", "at": "2026-11-22T20:00:02.5Z", "took_ms": 2500, "times": 1}],
            "findings": findings, "evidence": {"place": "ack", "since": "2026-11-22T20:00:05Z"}});
        let event = json!({"time": "2026-11-22T20:00:02.5Z", "service": "dhcp", "stage": "dhcp-ack",
            "result": "ok", "detail": "has 172.16.0.1\u{1b}"});
        serde_json::from_value(json!({"boot": boot, "event": event})).unwrap()
    }

    #[test]
    fn a_row_a_node_with_what_it_is_at() {
        let mut screen = Screen::default();
        screen.take(update("nid001", "running", json!([])));
        assert!(!screen.is_over());
        let wrong = json!([{"stage": "tftp-start", "cause": "no-loader-request", "kind": "silence", "detail": "",
            "next": "", "since": "2026-11-22T20:00:05Z", "until": "loader-start"}]);
        screen.take(update("nid002", "stopped", wrong));
        let drawn = screen.draw(datetime!(2026-11-22 20:00:25 UTC));
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].starts_with("NODE      POWER     DHCP   LOADER"), "{drawn}");
        assert!(lines[1].starts_with("nid001        -      2.5        -"), "{drawn}");
        assert!(lines[1].ends_with("dhcp-ack (20 s)"), "{drawn}");
        assert!(lines[2].ends_with("tftp-start: no-loader-request (20 s)"), "{drawn}");
        assert_eq!(lines[3], "0 good, 1 under way, 1 failed or standing still");
        assert_eq!(line(&update("nid001", "good", json!([]))), "nid001 2.5 s dhcp-ack ok: has 172.16.0.1?");
    }
}
