//! Health issues: many machines that stand still for one reason are one issue with a count.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use daemon::{Issue, Severity};
use serde_json::json;
use time::OffsetDateTime;

use crate::Timeline;
use crate::model::{Cause, Finding, group_findings};

/// So many of the machines are named.
const NAMED_MAX: usize = 50;

/// The issues that are raised now.
#[derive(Debug, Default)]
pub(crate) struct Raised(Mutex<BTreeSet<String>>);

impl Timeline {
    /// Tells the journal of what was noticed.
    pub(crate) fn tell(&self, node: &str, finding: &Finding) {
        let Finding { stage, detail, next, .. } = finding;
        let mac = self.board().get(node).and_then(|it| it.mac).map(|it| it.to_string()).unwrap_or_default();
        daemon::event!(
            domain::event::BOOT_STOPPED,
            node = node,
            mac = mac,
            "{} at {stage}: {detail}. {next}",
            self.name_of(node)
        );
    }

    /// Raises what is wrong with boots now, and clears what no longer is.
    pub(crate) fn raise_issues(&self, now: OffsetDateTime) {
        let groups: Vec<(Finding, Vec<String>)> = {
            let board = self.board();
            let groups = group_findings(board.all(), now);
            // dhcp has its own event for machines that nobody knows.
            let ours = groups.into_iter().filter(|it| it.0.cause != Cause::UnknownMachine);
            ours.map(|it| (it.0.clone(), it.1.iter().map(|it| it.node.clone()).collect())).collect()
        };
        let mut present = BTreeSet::new();
        for (finding, nodes) in groups {
            let id = format!("boot-stopped/{}/{}", finding.stage, finding.cause);
            present.insert(id.clone());
            let mut names: Vec<String> = nodes.iter().map(|it| self.name_of(it)).collect();
            names.sort_unstable();
            let named = domain::fold(&names[..names.len().min(NAMED_MAX)]);
            let more = if names.len() > NAMED_MAX { ", …" } else { "" };
            let (stage, count) = (finding.stage, names.len());
            let plural = if count == 1 { "node stands" } else { "nodes stand" };
            self.context.issues().raise(Issue {
                id,
                kind: "boot-stopped".to_owned(),
                context: json!({"stage": stage, "cause": finding.cause, "count": count, "nodes": named}),
                severity: Severity::Warning,
                since: String::new(),
                summary: format!("{count} {plural} at {stage} ({named}{more}): {}", finding.detail),
                suggestion: format!("{}. All steps: pilotctl boot history NODE", finding.next),
                fix: None,
                message_id: domain::event::BOOT_STOPPED.id.to_owned(),
            });
        }
        let mut raised = self.raised.0.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in raised.difference(&present) {
            self.context.issues().clear(gone);
        }
        *raised = present;
    }
}
