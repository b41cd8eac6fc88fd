//! What is decided, without any bus or file: health of a unit, the status text, what a change of the document
//! restarts.

use domain::{Document, Service};

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// `active`, `inactive`, `activating`, `deactivating`, `failed`, `reloading`.
    pub(crate) active: String,
    /// `running`, `dead`, `auto-restart` …
    pub(crate) sub: String,
    /// How often systemd started it again by itself.
    pub(crate) restarts: u32,
    /// When it came into this state, microseconds of the UNIX clock; 0: never started.
    pub(crate) since_us: u64,
}

/// Health in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers.
    Ok,
    /// It is on its way.
    Starting,
    /// It ended with an error, and perhaps is started again.
    Failed,
    /// It is off, because somebody stopped it or the head is not set up.
    Stopped,
}

impl Health {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Starting => "starting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl State {
    pub(crate) fn health(&self) -> Health {
        match (self.active.as_str(), self.sub.as_str()) {
            (_, "auto-restart" | "auto-restart-queued") | ("failed", _) => Health::Failed,
            ("active" | "reloading" | "refreshing", _) => Health::Ok,
            ("activating", _) => Health::Starting,
            _ => Health::Stopped,
        }
    }

    /// Whether the step from an earlier state to this one is a failure that nobody has heard of yet.
    pub(crate) fn failed_since(&self, before: &Self) -> bool {
        let failed = self.health() == Health::Failed;
        (failed && before.health() != Health::Failed)
            || (before.since_us != 0 && self.restarts > before.restarts)
    }
}

/// The line of `systemctl status`: `10 of 10 services run`, and what does not.
pub(crate) fn status_text<'a>(units: impl Iterator<Item = (&'a str, &'a State)>) -> String {
    let (mut all, mut run, mut others) = (0, 0, Vec::new());
    for (name, state) in units {
        let health = state.health();
        let service = name.parse::<Service>().is_ok();
        all += usize::from(service);
        run += usize::from(service && health == Health::Ok);
        if health != Health::Ok {
            others.push(format!("{name} {}", health.word()));
        }
    }
    let text = format!("{run} of {all} services run");
    if others.is_empty() { text } else { format!("{text}; {}", others.join(", ")) }
}

/// The services that read something that changed: their own table, or what all share.
pub(crate) fn changed(before: Option<&Document>, after: &Document) -> Vec<Service> {
    let Some(before) = before else { return Service::ALL.to_vec() };
    let shared = before.cluster != after.cluster
        || before.network != after.network
        || before.database != after.database
        || before.admins != after.admins;
    // They ask join on behalf of the nodes whose policy says so.
    let policies = before.join != after.join;
    let asks_join = |it: Service| matches!(it, Service::Boot | Service::CloudInit | Service::Power);
    let differs = |it: Service| before.table(it) != after.table(it) || (policies && asks_join(it));
    Service::ALL.into_iter().filter(|it| shared || differs(*it)).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::{Document, Service};

    use super::{Health, State, changed, status_text};

    fn state(active: &str, sub: &str, restarts: u32) -> State {
        State { active: active.to_owned(), sub: sub.to_owned(), restarts, since_us: 1 }
    }

    #[test]
    fn a_unit_that_is_started_again_has_failed() {
        assert_eq!(state("activating", "auto-restart", 3).health(), Health::Failed);
        assert_eq!(state("activating", "start", 0).health(), Health::Starting);
        assert_eq!(State::default().health(), Health::Stopped);
        let running = state("active", "running", 1);
        assert!(state("activating", "auto-restart", 1).failed_since(&running));
        assert!(state("active", "running", 2).failed_since(&running), "it was quicker than we looked");
        assert!(!running.failed_since(&State::default()), "what was before our start is not news");
    }

    #[test]
    fn the_status_counts_services_and_names_what_does_not_run() {
        let (good, bad) = (state("active", "running", 0), state("failed", "failed", 0));
        let all = |postgres| Service::ALL.iter().map(|it| (it.name(), &good)).chain([("postgres", postgres)]);
        let count = Service::ALL.len();
        assert_eq!(status_text(all(&good)), format!("{count} of {count} services run"));
        assert_eq!(status_text(all(&bad)), format!("{count} of {count} services run; postgres failed"));
    }

    #[test]
    fn only_what_reads_a_changed_table_restarts() {
        let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n";
        let before = Document::parse(text).unwrap();
        let after = Document::parse(&format!("{text}[power]\nattempts = 2\n")).unwrap();
        assert_eq!(changed(Some(&before), &after), [Service::Power]);
        assert_eq!(changed(Some(&before), &before), []);
        let renamed = Document::parse(&text.replace("demo", "other")).unwrap();
        assert_eq!(changed(Some(&before), &renamed).len(), Service::ALL.len());
        assert_eq!(changed(None, &before), Service::ALL);
        let joined = Document::parse(&format!("{text}[join]\nhold = '1s'\n")).unwrap();
        let readers = [Service::Boot, Service::CloudInit, Service::Power, Service::Join];
        assert_eq!(changed(Some(&before), &joined), readers);
    }
}
