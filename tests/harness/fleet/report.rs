//! What came of many boots, as figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use domain::BootStage;
use serde::Serialize;

use super::Outcome;

/// The stages of a node that boots, in their order.
const STAGES: [BootStage; 10] = [
    BootStage::DhcpDiscover,
    BootStage::DhcpAck,
    BootStage::TftpEnd,
    BootStage::Script,
    BootStage::Kernel,
    BootStage::Initrd,
    BootStage::Root,
    BootStage::Metadata,
    BootStage::Userdata,
    BootStage::PhoneHome,
];
/// So many kinds of failure are told.
const KINDS_MAX: usize = 10;

/// All outcomes of a storm.
#[derive(Clone, Debug)]
pub struct Report {
    /// One a node, in the order they ended.
    pub outcomes: Vec<Outcome>,
}

/// A storm in a few numbers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// Nodes.
    pub nodes: usize,
    /// Those that are not up.
    pub failed: usize,
    /// First DISCOVER to last user-data, seconds.
    pub seconds: f64,
    /// The same without the time that each node waited before it asked again.
    pub seconds_without_waits: f64,
    /// How often something was asked again.
    pub again: u64,
}

impl Report {
    pub(super) fn new(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes }
    }

    /// The numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let begin = self.begin();
        let since = |it: &Outcome| it.up_at().zip(begin).map(|(end, begin)| end.duration_since(begin));
        let most = |pick: &dyn Fn(&Outcome) -> Option<Duration>| {
            self.outcomes.iter().filter_map(pick).max().unwrap_or_default().as_secs_f64()
        };
        Summary {
            nodes: self.outcomes.len(),
            failed: self.outcomes.iter().filter(|it| it.error.is_some()).count(),
            seconds: most(&since),
            seconds_without_waits: most(&|it| since(it).map(|all| all.saturating_sub(it.waited))),
            again: self.outcomes.iter().map(|it| u64::from(it.again)).sum(),
        }
    }

    fn begin(&self) -> Option<Instant> {
        self.outcomes.iter().filter_map(|it| it.steps.first()).map(|it| it.1).min()
    }

    /// Seconds from a node's first packet to each stage, and failures by stage and cause.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<14} {:>7} {:>8} {:>8} {:>8} {:>8}\n",
            "STAGE", "NODES", "p50/s", "p90/s", "p99/s", "most/s"
        );
        for stage in STAGES {
            let taken = |it: &Outcome| it.at(stage).zip(it.steps.first()).map(|(at, first)| at - first.1);
            let mut times: Vec<f64> =
                self.outcomes.iter().filter_map(taken).map(|it| it.as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            let Some(last) = times.last().copied() else { continue };
            let share = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
            let line = writeln!(
                table,
                "{:<14} {:>7} {:>8.2} {:>8.2} {:>8.2} {last:>8.2}",
                stage.name(),
                times.len(),
                share(50),
                share(90),
                share(99)
            );
            line.expect("a string takes what is written");
        }
        let mut kinds: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (outcome, error) in self.outcomes.iter().filter_map(|it| Some((it, it.error.as_deref()?))) {
            let stage = outcome.last().map_or("nothing", BootStage::name);
            let kind = kinds.entry(format!("{stage}: {}", plain(error))).or_default();
            kind.0 += 1;
            kind.1 = outcome.node.mac.to_string();
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|it| std::cmp::Reverse(it.1.0));
        for (kind, (count, mac)) in kinds.iter().take(KINDS_MAX) {
            writeln!(table, "{count} failed after {kind} ({mac})").expect("a string takes what is written");
        }
        table
    }
}

/// An error without what differs from node to node.
fn plain(error: &str) -> String {
    let mut text: String = error.chars().map(|it| if it.is_ascii_digit() { '#' } else { it }).collect();
    while text.contains("##") {
        text = text.replace("##", "#");
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::{Duration, Instant};

    use domain::BootStage;

    use super::Report;
    use crate::fleet::{Firmware, Node, Outcome};

    #[test]
    fn a_report_counts_from_the_first_packet_to_the_last_user_data() {
        let begin = Instant::now();
        let outcome = |number: u8, up_s: u64, waited_s: u64, error: Option<&str>| {
            let node =
                Node { mac: format!("02:00:00:00:00:0{number}").parse().unwrap(), firmware: Firmware::Bios };
            let mut outcome = Outcome::new(node);
            outcome.steps.push((BootStage::DhcpDiscover, begin));
            outcome.steps.push((BootStage::Userdata, begin + Duration::from_secs(up_s)));
            outcome.waited = Duration::from_secs(waited_s);
            outcome.error = error.map(str::to_owned);
            outcome
        };
        let report = Report::new(vec![
            outcome(1, 3, 0, None),
            outcome(2, 9, 8, None),
            outcome(3, 2, 0, Some("status 404")),
        ]);
        let summary = report.summary();
        assert_eq!((summary.nodes, summary.failed), (3, 1));
        assert!((summary.seconds - 9.0).abs() < 0.01 && (summary.seconds_without_waits - 3.0).abs() < 0.01);
        let table = report.table();
        assert!(table.contains("1 failed after userdata: status # (02:00:00:00:00:03)"), "{table}");
    }
}
