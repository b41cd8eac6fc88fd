//! Outcomes as they come: the living at once, in the order they were asked for, the silent at the end.

use std::collections::HashMap;
use std::time::Duration;

use domain::Service;
use power::client::{Outcome, Request, State};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, cell, print, progress};

/// When nothing has come for so long, what is there is shown.
const PAUSE: Duration = Duration::from_millis(120);
/// As wide as the widest state and a gap.
const STATE_WIDTH: usize = 9;

/// Asks for power, and shows what becomes of each node.
pub(super) async fn ask(head: &Head, verb: &str, request: Request) -> Result<(), Failure> {
    let count = request.nodes.len();
    let bar = progress(format!("power {verb} of {count} nodes"));
    let (told, outcomes) = mpsc::unbounded_channel();
    let client = head.client(Service::Power);
    let asking = async {
        // The channel lasts as long as this: its end tells that there is no more.
        let told = told;
        power::client::stream(&client, &request, |it| drop(told.send(it))).await
    };
    let show = Show { head, verb, nodes: &request.nodes, bar: &bar };
    let (asked, shown) = tokio::join!(asking, show.run(outcomes));
    bar.finish_and_clear();
    asked?;
    let results: Vec<Outcome> = request.nodes.iter().filter_map(|it| shown.get(it).cloned()).collect();
    if head.format == Format::Json {
        print(head.format, &json!({ "results": results }), &[], &[]);
    }
    let failed: Vec<String> = results.iter().filter(|it| !it.ok).map(|it| it.node.clone()).collect();
    match failed.len() {
        0 => Ok(()),
        _ if head.format == Format::Json => Err(Failure::some_nodes("")),
        some => {
            Err(Failure::some_nodes(format!("{some} of {count} nodes failed: {}", domain::fold(&failed))))
        }
    }
}

struct Show<'a> {
    head: &'a Head,
    verb: &'a str,
    nodes: &'a [String],
    bar: &'a indicatif::ProgressBar,
}

impl Show<'_> {
    async fn run(&self, mut outcomes: mpsc::UnboundedReceiver<Outcome>) -> HashMap<String, Outcome> {
        let place: HashMap<&str, usize> =
            self.nodes.iter().enumerate().map(|it| (it.1.as_str(), it.0)).collect();
        let width = self.nodes.iter().map(|it| it.chars().count()).max().unwrap_or(0).max("NODE".len());
        let (mut all, mut fresh, mut begun) = (HashMap::new(), Vec::new(), false);
        loop {
            let next = match fresh.is_empty() {
                true => Ok(outcomes.recv().await),
                false => timeout(PAUSE, outcomes.recv()).await,
            };
            let is_over = matches!(next, Ok(None));
            if let Ok(Some(outcome)) = next {
                fresh.push(outcome.clone());
                all.insert(outcome.node.clone(), outcome);
                self.bar.set_message(format!(
                    "power {}: {} of {} nodes",
                    self.verb,
                    all.len(),
                    self.nodes.len()
                ));
                continue;
            }
            fresh.sort_by_key(|it: &Outcome| place.get(it.node.as_str()).copied());
            let lines: String = fresh.drain(..).map(|it| line(&it, width)).collect();
            if self.head.format == Format::Table && !lines.is_empty() {
                let heading =
                    if begun { String::new() } else { format!("{:width$}  POWER    ERROR\n", "NODE") };
                begun = true;
                self.bar.suspend(|| print!("{heading}{lines}"));
                // A block at a time, also into a pipe.
                if let Err(error) = std::io::Write::flush(&mut std::io::stdout()) {
                    eprintln!("pilotctl: cannot write: {error}");
                }
            }
            if is_over {
                return all;
            }
        }
    }
}

fn line(outcome: &Outcome, width: usize) -> String {
    let state = match outcome.state {
        Some(State::On) => "on",
        Some(State::Off) => "off",
        None => "unknown",
    };
    let (node, error) = (cell(&outcome.node), cell(outcome.error.as_deref().unwrap_or_default()));
    format!("{node:width$}  {state:STATE_WIDTH$}{error}\n")
}
