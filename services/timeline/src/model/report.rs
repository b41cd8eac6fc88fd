//! What many boots come to: how many are good, what the others have in common, and how long each stage took.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::BootStage;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::boot::{Boot, Finding, Kind, Outcome};
use super::cause::Cause;

/// The slowest boots that are named.
const SLOWEST: usize = 10;

/// What many boots come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the first of them began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub from: Option<OffsetDateTime>,
    /// When the last of them was heard of.
    #[serde(with = "time::serde::rfc3339::option")]
    pub to: Option<OffsetDateTime>,
    /// Machines: of each the last boot counts.
    pub nodes: usize,
    /// Those whose boot has come to its end.
    pub good: usize,
    /// Those that were refused something.
    pub failed: usize,
    /// Those that stand still.
    pub stopped: usize,
    /// Those that are under way.
    pub running: usize,
    /// What is wrong, by stage and cause, the most frequent first.
    pub findings: Vec<Group>,
    /// How long each stage took, in the order of a boot.
    pub stages: Vec<Times>,
    /// From the first step to the last one.
    pub total: Option<Times>,
    /// The slowest good boots, the slowest first.
    pub slowest: Vec<Slow>,
}

/// Machines that have one thing wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The stage that was not reached.
    pub stage: BootStage,
    /// The likely cause.
    pub cause: Cause,
    /// What it rests on; `sign` does not stop a boot.
    pub kind: Kind,
    /// How many.
    pub count: usize,
    /// Which.
    pub nodes: Vec<String>,
    /// The cause as a sentence, of the first of them.
    pub detail: String,
    /// What to do.
    pub next: String,
}

/// How long something took, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The stage; none: the whole boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<BootStage>,
    /// How many boots.
    pub count: usize,
    /// Half of them took at most this.
    pub p50_ms: u64,
    /// Nine of ten.
    pub p90_ms: u64,
    /// Ninety-nine of a hundred.
    pub p99_ms: u64,
    /// All.
    pub most_ms: u64,
}

/// A slow boot, and where it was slow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// What the node is called.
    pub node: String,
    /// From its first step to the last.
    pub total_ms: u64,
    /// The stage that took longest.
    pub stage: BootStage,
    /// How long it took.
    pub took_ms: u64,
}

/// The last boots that began together: from the newest back to the first gap of this length. Of each machine the last
/// one counts.
pub(crate) fn last_together(mut boots: Vec<Boot>, gap: Duration) -> Vec<Boot> {
    boots.sort_by_key(|it| std::cmp::Reverse(it.started));
    let mut end = 0;
    for pair in boots.windows(2) {
        if pair[0].started - pair[1].started > gap {
            break;
        }
        end += 1;
    }
    boots.truncate(end + 1);
    boots
}

/// What they come to; of each machine the last boot counts.
pub(crate) fn report(boots: &[Boot]) -> Report {
    let mut last: BTreeMap<&str, &Boot> = BTreeMap::new();
    for boot in boots {
        let newest = last.entry(&boot.node).or_insert(boot);
        if newest.started < boot.started {
            *newest = boot;
        }
    }
    let boots: Vec<&Boot> = last.into_values().collect();
    let count = |outcome| boots.iter().filter(|it| it.result == outcome).count();
    let good: Vec<&Boot> = boots.iter().copied().filter(|it| it.result == Outcome::Good).collect();
    Report {
        from: boots.iter().map(|it| it.started).min(),
        to: boots.iter().map(|it| it.updated).max(),
        nodes: boots.len(),
        good: good.len(),
        failed: count(Outcome::Failed),
        stopped: count(Outcome::Stopped),
        running: count(Outcome::Running),
        findings: group(&boots),
        stages: stages(&boots),
        total: times(None, good.iter().map(|it| it.total_ms()).collect()),
        slowest: slowest(good),
    }
}

fn called(boot: &Boot) -> String {
    if boot.name.is_empty() { boot.node.clone() } else { boot.name.clone() }
}

fn group(boots: &[&Boot]) -> Vec<Group> {
    let mut groups: BTreeMap<(BootStage, Cause), (&Finding, Vec<String>)> = BTreeMap::new();
    for boot in boots {
        for finding in &boot.findings {
            let group = groups.entry((finding.stage, finding.cause)).or_insert((finding, Vec::new()));
            group.1.push(called(boot));
        }
    }
    let mut groups: Vec<Group> = groups
        .into_values()
        .map(|(finding, nodes)| Group {
            stage: finding.stage,
            cause: finding.cause,
            kind: finding.kind,
            count: nodes.len(),
            nodes,
            detail: finding.detail.clone(),
            next: finding.next.clone(),
        })
        .collect();
    groups.iter_mut().for_each(|it| it.nodes.sort_unstable());
    groups.sort_by_key(|it| (it.kind == Kind::Sign, std::cmp::Reverse(it.count)));
    groups
}

fn stages(boots: &[&Boot]) -> Vec<Times> {
    let mut all: BTreeMap<BootStage, Vec<u64>> = BTreeMap::new();
    for boot in boots {
        // The first one is where the clock starts.
        for step in boot.steps.iter().skip(1).filter(|it| it.stage <= BootStage::Login) {
            all.entry(step.stage).or_default().push(step.took_ms);
        }
    }
    all.into_iter().filter_map(|(stage, took)| times(Some(stage), took)).collect()
}

fn times(stage: Option<BootStage>, mut took: Vec<u64>) -> Option<Times> {
    took.sort_unstable();
    // The nearest rank.
    let at = |percent: usize| took.get((took.len() * percent).div_ceil(100).max(1) - 1).copied();
    Some(Times {
        stage,
        count: took.len(),
        p50_ms: at(50)?,
        p90_ms: at(90)?,
        p99_ms: at(99)?,
        most_ms: took.last().copied()?,
    })
}

fn slowest(mut good: Vec<&Boot>) -> Vec<Slow> {
    good.sort_by_key(|it| std::cmp::Reverse(it.total_ms()));
    let slow = good.into_iter().take(SLOWEST).filter_map(|boot| {
        let longest = boot.steps.iter().skip(1).max_by_key(|it| it.took_ms)?;
        let (stage, took_ms) = (longest.stage, longest.took_ms);
        Some(Slow { node: called(boot), total_ms: boot.total_ms(), stage, took_ms })
    });
    slow.collect()
}
