//! What is wrong with nodes' tokens, as health issues and journal entries.

use daemon::{Issue, Severity};
use domain::Xname;
use domain::event::{self, Event};
use serde_json::{Value, json};

use crate::Join;
use crate::model::Claim;

impl Join {
    /// Two machines passed for one node.
    pub(crate) fn raise_contested(&self, node: &Xname, (first, second): &(Claim, Claim)) {
        let (one, other) = (first.address, second.address);
        let apart = second.at.saturating_sub(first.at);
        let summary = format!(
            "two machines claimed the token of {node} in one window: one at {one}, another at {other} {apart} s later"
        );
        daemon::event!(event::JOIN_CONTESTED, node = node, "{summary}");
        let context = json!({"node": node, "addresses": [one, other], "seconds_apart": apart});
        let suggestion = format!(
            "Find out which machine on the boot network is not {node} (pilotctl nodes list --unknown, the switch's \
             tables); replace the secrets if a token had been given out; then open another window: \
             pilotctl join open {node}"
        );
        self.raise(
            "join-contested",
            node,
            Severity::Error,
            context,
            summary,
            suggestion,
            event::JOIN_CONTESTED,
        );
    }

    /// A token could not be written on a node.
    pub(crate) fn raise_push(&self, node: &Xname, step: &str, reason: &str) {
        let summary = format!("the token of {node} could not be written on it: {step}: {reason}");
        daemon::event!(event::JOIN_PUSH_FAILED, node = node, "{summary}");
        let context = json!({"node": node, "step": step, "reason": reason});
        let suggestion = match step {
            "host key" => format!(
                "Another machine may answer at its address. If {node} has new host keys, reboot it, or enrol them: \
                 pilotctl join enroll {node} --host-keys FILE"
            ),
            "log in" => {
                "Give root the key that `pilotctl join key` prints, in the first cloud-init stage, and \
                         disable_root: false"
                    .to_owned()
            }
            _ => format!("Look at the console of {node}, then reboot it: pilotctl console {node}"),
        };
        self.raise(
            "join-push-failed",
            node,
            Severity::Warning,
            context,
            summary,
            suggestion,
            event::JOIN_PUSH_FAILED,
        );
    }

    /// What was wrong with a node is over.
    pub(crate) fn clear_issues(&self, node: &Xname) {
        for kind in ["join-contested", "join-push-failed"] {
            self.context.issues().clear(&format!("{kind}/{node}"));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an issue has that many members")]
    fn raise(
        &self,
        kind: &str,
        node: &Xname,
        severity: Severity,
        context: Value,
        summary: String,
        suggestion: String,
        event: Event,
    ) {
        self.context.issues().raise(Issue {
            id: format!("{kind}/{node}"),
            kind: kind.to_owned(),
            context,
            severity,
            since: String::new(),
            summary,
            suggestion,
            fix: None,
            message_id: event.id.to_owned(),
        });
    }
}
