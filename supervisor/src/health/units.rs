//! Units that failed, or that are started again and again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::event;
use serde_json::json;

use super::issue::{Issue, Severity};
use crate::model::Health;

/// A unit that was started again so often within [`FLAPPING_TIME`] does not stay up.
const FLAPPING_RESTARTS: u32 = 3;
/// Twenty patient restarts of our units, which wait 30 s at last.
const FLAPPING_TIME: Duration = Duration::from_secs(600);

/// A unit that the supervisor looks after, as it is.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// `pilothouse-boot.service`
    pub(super) unit: String,
    pub(super) health: Health,
    /// How often systemd started it again by itself since somebody last started it.
    pub(super) restarts: u32,
}

/// How often units were started again, over time.
#[derive(Debug, Default)]
pub(super) struct Flaps(BTreeMap<String, VecDeque<(Duration, u32)>>);

impl Flaps {
    /// How often it was started again within the last ten minutes. `now` is a clock that never jumps.
    fn note(&mut self, fact: &Fact, now: Duration) -> u32 {
        let seen = self.0.entry(fact.unit.clone()).or_default();
        let last = seen.back().map(|it| it.1);
        if last.is_some_and(|it| fact.restarts < it) {
            // Somebody started it anew: what was before is settled.
            seen.clear();
        }
        if seen.back().map(|it| it.1) != Some(fact.restarts) {
            seen.push_back((now, fact.restarts));
        }
        // What is older than the time is kept once: it is where counting begins.
        while seen.get(1).is_some_and(|it| now.saturating_sub(it.0) > FLAPPING_TIME) {
            seen.pop_front();
        }
        let first = seen.front().filter(|it| seen.len() > 1 || now.saturating_sub(it.0) <= FLAPPING_TIME);
        first.map_or(0, |it| fact.restarts.saturating_sub(it.1))
    }
}

/// What is wrong with our own units, and with those of others that systemd calls failed.
pub(super) fn check(facts: &[Fact], others: &[String], flaps: &mut Flaps, now: Duration) -> Vec<Issue> {
    let mut issues = Vec::new();
    for fact in facts {
        let unit = &fact.unit;
        let restarts = flaps.note(fact, now);
        let suggestion = format!("see why: journalctl -u {unit}; then start it: pilotctl health --fix");
        if restarts >= FLAPPING_RESTARTS {
            let minutes = FLAPPING_TIME.as_secs() / 60;
            let summary = format!("{unit} does not stay up: {restarts} restarts within {minutes} minutes");
            let issue = Issue::new(
                format!("unit-flapping/{unit}"),
                Severity::Error,
                event::UNIT_FAILED,
                summary,
                suggestion,
            );
            issues.push(issue.about(json!({"unit": unit, "restarts": restarts})).fixed_by("restart-unit"));
        } else if fact.health == Health::Failed {
            let summary = format!("{unit} has failed");
            let id = format!("unit-failed/{unit}");
            let issue = Issue::new(id, Severity::Error, event::UNIT_FAILED, summary, suggestion);
            issues.push(issue.about(json!({"unit": unit})).fixed_by("restart-unit"));
        }
    }
    let others = others.iter().filter(|it| !facts.iter().any(|fact| fact.unit == **it));
    issues.extend(others.map(|it| of_other(it)));
    issues
}

fn of_other(unit: &str) -> Issue {
    let ours = unit.starts_with("pilothouse-");
    let suggestion = if ours {
        format!("see why: journalctl -u {unit}; then forget it: pilotctl health --fix")
    } else {
        format!("see why: journalctl -u {unit}; then: sudo systemctl restart {unit}")
    };
    let summary = format!("{unit} has failed");
    let id = format!("unit-failed/{unit}");
    let issue = Issue::new(id, Severity::Warning, event::UNIT_FAILED, summary, suggestion);
    let issue = issue.about(json!({"unit": unit}));
    // A oneshot of ours is not run again by guess: a generation would be rendered that is long past.
    if ours { issue.fixed_by("reset-failed") } else { issue }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fact, Flaps, check};
    use crate::model::Health;

    fn fact(health: Health, restarts: u32) -> Fact {
        Fact { unit: "pilothouse-boot.service".into(), health, restarts }
    }

    fn ids(flaps: &mut Flaps, fact: Fact, minutes: u64) -> Vec<String> {
        let found = check(&[fact], &[], flaps, Duration::from_secs(60 * minutes));
        found.into_iter().map(|it| it.id).collect()
    }

    #[test]
    fn a_unit_that_failed_is_told_and_one_that_runs_is_not() {
        let mut flaps = Flaps::default();
        assert_eq!(ids(&mut flaps, fact(Health::Failed, 0), 0), ["unit-failed/pilothouse-boot.service"]);
        for health in [Health::Ok, Health::Starting, Health::Stopped] {
            assert!(ids(&mut flaps, fact(health, 0), 0).is_empty());
        }
        let found = check(
            &[],
            &["chrony.service".into(), "pilothouse-render@3.service".into()],
            &mut flaps,
            Duration::ZERO,
        );
        assert_eq!(found[0].fix, None, "it is not ours to start");
        assert_eq!(found[1].fix.as_deref(), Some("reset-failed"));
    }

    #[test]
    fn restarts_within_ten_minutes_are_flapping_until_they_are_long_past_or_it_was_started_anew() {
        let flapping = ["unit-flapping/pilothouse-boot.service"];
        let mut flaps = Flaps::default();
        assert!(ids(&mut flaps, fact(Health::Ok, 7), 0).is_empty(), "what was before our start is not news");
        assert!(ids(&mut flaps, fact(Health::Ok, 9), 1).is_empty());
        assert_eq!(ids(&mut flaps, fact(Health::Ok, 10), 2), flapping);
        assert_eq!(ids(&mut flaps, fact(Health::Ok, 10), 9), flapping);
        assert!(ids(&mut flaps, fact(Health::Ok, 10), 13).is_empty(), "it has been up since");
        assert_eq!(ids(&mut flaps, fact(Health::Ok, 13), 14), flapping);
        assert!(ids(&mut flaps, fact(Health::Ok, 0), 15).is_empty(), "somebody started it anew");
    }
}
