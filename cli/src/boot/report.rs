//! `pilotctl boot report` and `pilotctl boot history`.

use domain::Service;
use serde_json::json;
use timeline::client::{self, Boot, Event, Group, Kind, Report, Times};

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};
use crate::power::expand;

/// What the boots of many nodes come to.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Of each node its last boot counts. Without --since those count that began together with the \
newest.

Examples:
  pilotctl boot report
  pilotctl boot report --since 30m
  pilotctl boot report 'nid[001-064]' --output json | jq '.findings[] | {stage, cause, count}'

Exit status: 3 if some nodes failed or stand still."
)]
pub(crate) struct ReportArguments {
    /// Names, xnames or lists such as 'nid[001-009]' [default: all]
    nodes: Vec<String>,
    /// Boots that began since then: 30m, 12h, or 2026-11-22T20:00:00Z
    #[arg(long)]
    since: Option<String>,
}

/// The boots of one node.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl boot history nid001               its boots, and the steps of the last one
  pilotctl boot history nid001 --since 24h
  pilotctl boot history 52:54:00:10:00:01 --output json")]
pub(crate) struct HistoryArguments {
    /// A name, an xname or a MAC address
    node: String,
    /// Boots that began since then: 30m, 12h, 7d, or 2026-11-22T20:00:00Z
    #[arg(long)]
    since: Option<String>,
}

/// The names of lists, a comma between; none: all.
pub(crate) fn names(lists: &[String]) -> Result<Option<String>, Failure> {
    if lists.is_empty() { Ok(None) } else { Ok(Some(expand(lists)?.join(","))) }
}

pub(crate) async fn report(head: &Head, arguments: &ReportArguments) -> Result<(), Failure> {
    let nodes = names(&arguments.nodes)?;
    let since = arguments.since.as_deref();
    let report = client::report(&head.client(Service::Timeline), since, nodes.as_deref()).await?;
    match head.format {
        Format::Json => println!("{:#}", json!(report)),
        Format::Table => print_report(head, &report),
    }
    match report.failed + report.stopped {
        0 => Ok(()),
        count => Err(Failure::some_nodes(format!("{count} of {} nodes did not boot", report.nodes))),
    }
}

fn print_report(head: &Head, report: &Report) {
    let Some(from) = report.from else {
        return println!("no boot is known; pilotctl power on 'nid[001-009]' boots nodes");
    };
    let Report { nodes, good, failed, stopped, running, .. } = report;
    println!(
        "{nodes} nodes since {}: {good} good, {failed} failed, {stopped} stand still, {running} under way",
        at(from)
    );
    if !report.findings.is_empty() {
        println!();
        let row = |it: &Group| {
            let kind = if it.kind == Kind::Sign { "sign" } else { "" };
            let (stage, cause) = (it.stage.to_string(), it.cause.to_string());
            vec![it.count.to_string(), stage, cause, kind.to_owned(), domain::fold(&it.nodes)]
        };
        let rows: Vec<_> = report.findings.iter().map(row).collect();
        print(head.format, &json!(null), &["COUNT", "STAGE", "CAUSE", "", "NODES"], &rows);
        for it in &report.findings {
            println!("\n{} at {}: {}\n  {}", it.cause, it.stage, it.detail, it.next);
        }
    }
    let times: Vec<_> = report.stages.iter().chain(&report.total).map(times).collect();
    if !times.is_empty() {
        println!();
        print(head.format, &json!(null), &["STAGE", "COUNT", "P50", "P90", "P99", "MOST"], &times);
    }
    if report.slowest.len() > 1 {
        println!();
        let rows: Vec<_> = report
            .slowest
            .iter()
            .map(|it| {
                vec![it.node.clone(), span(it.total_ms), format!("{} took {}", it.stage, span(it.took_ms))]
            })
            .collect();
        print(head.format, &json!(null), &["SLOWEST", "TOTAL", "LONGEST"], &rows);
    }
}

fn times(it: &Times) -> Vec<String> {
    let stage = it.stage.map_or_else(|| "all".to_owned(), |it| it.to_string());
    let spans = [it.p50_ms, it.p90_ms, it.p99_ms, it.most_ms].map(span);
    [stage, it.count.to_string()].into_iter().chain(spans).collect()
}

pub(crate) async fn history(head: &Head, arguments: &HistoryArguments) -> Result<(), Failure> {
    let timeline = head.client(Service::Timeline);
    let boots = client::list(&timeline, Some(&arguments.node), arguments.since.as_deref(), None).await?;
    // Says what is wrong with the name, if nothing is known of it.
    let shown = client::show(&timeline, &arguments.node).await?;
    if head.format == Format::Json {
        println!("{:#}", json!({"boots": boots, "last": shown}));
        return Ok(());
    }
    let row = |it: &Boot| {
        let wrong: Vec<String> =
            it.findings.iter().map(|it| format!("{} ({})", it.cause, it.stage)).collect();
        let (stage, result) = (it.stage.to_string(), it.result.name().to_owned());
        vec![at(it.started), result, stage, span(it.total_ms()), wrong.join(", ")]
    };
    let rows: Vec<_> = boots.iter().map(row).collect();
    print(head.format, &json!(null), &["STARTED", "RESULT", "STAGE", "TOOK", "WRONG"], &rows);
    println!("\nThe last one:");
    let started = shown.boot.started;
    let step = |it: &Event| {
        let since = span(u64::try_from((it.time - started).whole_milliseconds()).unwrap_or(0));
        vec![
            since,
            it.stage.to_string(),
            it.result.name().to_owned(),
            it.service.to_string(),
            it.detail.clone(),
        ]
    };
    let rows: Vec<_> = shown.events.iter().map(step).collect();
    print(head.format, &json!(null), &["AFTER", "STAGE", "RESULT", "SERVICE", "DETAIL"], &rows);
    print_image(&shown.boot);
    for it in &shown.boot.findings {
        println!("\n{} at {}: {}\n  {}", it.cause, it.stage, it.detail, it.next);
    }
    Ok(())
}

/// What it booted, to the byte as far as that is known.
fn print_image(boot: &Boot) {
    let Some(image) = boot.evidence.script.as_ref().and_then(|it| it.image.as_ref()) else { return };
    println!("\nIt booted {image}");
    for step in &boot.steps {
        if let Some(digest) = &step.digest {
            println!("  {} {digest}", step.stage);
        }
    }
}

pub(crate) async fn forget(head: &Head, lists: &[String]) -> Result<(), Failure> {
    let timeline = head.client(Service::Timeline);
    for node in expand(lists)? {
        client::forget(&timeline, &node).await?;
    }
    Ok(())
}

/// Seconds, as people read them: `0.4 s`, `12 s`, `3m05s`.
pub(crate) fn span(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{:.1} s", millis as f64 / 1000.0),
        10_000..120_000 => format!("{} s", millis / 1000),
        _ => format!("{}m{:02}s", millis / 60_000, millis / 1000 % 60),
    }
}

fn at(time: time::OffsetDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("{year}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC", u8::from(month))
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn a_span_is_as_exact_as_it_matters() {
        for (millis, text) in [(0, "0.0 s"), (420, "0.4 s"), (12_900, "12 s"), (185_000, "3m05s")] {
            assert_eq!(span(millis), text);
        }
    }
}
