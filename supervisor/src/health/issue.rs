//! A thing that is wrong, as data (INTERFACES 7), and lists of them.

use std::collections::{BTreeMap, BTreeSet};

use domain::event::Event;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// So many are shown; a service tells of 200 at most.
pub(super) const ISSUES_MAX: usize = 500;
/// Longer words and sentences are cut: they come from other processes.
const TEXT_MAX: usize = 2000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Good to know.
    Info,
    /// Someone should look.
    Warning,
    /// Something does not work.
    Error,
    /// The head does not do its work.
    Critical,
}

impl Severity {
    pub(crate) const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// A thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Issue {
    /// The kind, and what it is about: `certificate-expiring/gateway`.
    pub(crate) id: String,
    /// `certificate-expiring`
    #[serde(default)]
    pub(crate) kind: String,
    /// Who noticed: a service, or `supervisor`.
    #[serde(default)]
    pub(crate) source: String,
    /// What it is about, as data.
    #[serde(default)]
    pub(crate) context: Value,
    pub(crate) severity: Severity,
    /// RFC 3339.
    #[serde(default)]
    pub(crate) since: String,
    /// One sentence.
    #[serde(default)]
    pub(crate) summary: String,
    /// What to do.
    #[serde(default)]
    pub(crate) suggestion: String,
    /// A verb that [`super::fix`] carries out.
    #[serde(default)]
    pub(crate) fix: Option<String>,
    /// The journal event beside it.
    #[serde(default)]
    pub(crate) message_id: String,
}

impl Issue {
    /// One that the supervisor noticed itself.
    pub(super) fn new(
        id: impl Into<String>,
        severity: Severity,
        event: Event,
        summary: impl Into<String>,
        suggestion: impl Into<String>,
    ) -> Self {
        let id = id.into();
        Self {
            kind: id.split('/').next().unwrap_or(&id).to_owned(),
            id,
            source: "supervisor".to_owned(),
            context: Value::Null,
            severity,
            since: String::new(),
            summary: summary.into(),
            suggestion: suggestion.into(),
            fix: None,
            message_id: event.id.to_owned(),
        }
    }

    pub(super) fn about(mut self, context: Value) -> Self {
        self.context = context;
        self
    }

    pub(super) fn fixed_by(mut self, verb: &str) -> Self {
        self.fix = Some(verb.to_owned());
        self
    }

    /// As long as it may be.
    pub(super) fn cut(mut self) -> Self {
        let texts = [&mut self.id, &mut self.kind, &mut self.since, &mut self.summary, &mut self.suggestion];
        for text in texts {
            if text.chars().nth(TEXT_MAX).is_some() {
                *text = text.chars().take(TEXT_MAX).collect();
            }
        }
        self
    }
}

/// One list of what all sources say: each thing once (the first source's word counts), the worst first. `since` is
/// that of an earlier list where it was there already, else `now`.
pub(super) fn merge(sources: &BTreeMap<String, Vec<Issue>>, before: &[Issue], now: &str) -> Vec<Issue> {
    let known: BTreeMap<&str, &Issue> = before.iter().map(|it| (it.id.as_str(), it)).collect();
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    // What a service says of itself comes before what the supervisor sees of it.
    let (own, told): (Vec<_>, Vec<_>) = sources.iter().partition(|it| it.0.starts_with("supervisor"));
    for issue in told.into_iter().chain(own).flat_map(|it| it.1) {
        if !seen.insert(issue.id.as_str()) {
            continue;
        }
        let mut issue = issue.clone();
        if issue.since.is_empty() {
            let since = known.get(issue.id.as_str()).map(|it| it.since.as_str());
            since.filter(|it| !it.is_empty()).unwrap_or(now).clone_into(&mut issue.since);
        }
        all.push(issue);
    }
    all.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
    all.truncate(ISSUES_MAX);
    all
}

/// How many there are of each severity, the least first.
pub(crate) fn count(issues: &[Issue]) -> [usize; 4] {
    Severity::ALL.map(|severity| issues.iter().filter(|it| it.severity == severity).count())
}

/// What `systemctl status` says: nothing if nothing is wrong.
pub(crate) fn status_text(issues: &[Issue]) -> String {
    let mut words: Vec<String> = Vec::new();
    for (severity, number) in Severity::ALL.into_iter().zip(count(issues)).rev() {
        if number > 0 && severity > Severity::Info {
            words.push(format!("{number} {}", severity.word()));
        }
    }
    let Some(worst) = issues.first().filter(|_| !words.is_empty()) else { return String::new() };
    format!("health: {} ({})", words.join(", "), worst.id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::event;

    use super::{Issue, Severity, merge, status_text};

    fn issue(id: &str, severity: Severity) -> Issue {
        Issue::new(id, severity, event::UNIT_FAILED, "it is wrong", "mend it")
    }

    #[test]
    fn each_thing_is_told_once_the_worst_first_and_keeps_its_beginning() {
        let mut of_gateway = issue("certificate-expiring/gateway", Severity::Warning);
        of_gateway.since = "2026-01-01T00:00:00Z".into();
        let own = vec![
            issue("certificate-expiring/gateway", Severity::Error),
            issue("disk-full//srv", Severity::Error),
        ];
        let sources =
            BTreeMap::from([("gateway".to_owned(), vec![of_gateway]), ("supervisor".to_owned(), own)]);
        let first = merge(&sources, &[], "2026-02-01T00:00:00Z");
        let shown: Vec<_> = first.iter().map(|it| (it.id.as_str(), it.since.as_str())).collect();
        let expected = [
            ("disk-full//srv", "2026-02-01T00:00:00Z"),
            ("certificate-expiring/gateway", "2026-01-01T00:00:00Z"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(merge(&sources, &first, "2026-03-01T00:00:00Z"), first, "it began when it began");
    }

    #[test]
    fn the_status_counts_what_somebody_should_look_at() {
        assert_eq!(status_text(&[]), "");
        assert_eq!(status_text(&[issue("a/b", Severity::Info)]), "");
        let two = [issue("a/b", Severity::Error), issue("c", Severity::Warning)];
        assert_eq!(status_text(&two), "health: 1 error, 1 warning (a/b)");
    }
}
