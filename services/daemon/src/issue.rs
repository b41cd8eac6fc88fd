//! Health issues: what is wrong at this moment, as a file the supervisor watches (INTERFACES 7).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The most entries a file holds; the rest is counted in an entry `more`.
const ENTRIES_MAX: usize = 200;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Someone should look.
    Warning,
    /// Something does not work.
    Error,
    /// The head does not do its work.
    Critical,
}

/// How many are raised in this process, by severity: what its metrics show.
static RAISED: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

impl Severity {
    /// Each, the least first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// As files and metrics have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// How many issues of this severity the process has raised.
    #[must_use]
    pub fn raised(self) -> usize {
        RAISED[self as usize].load(Ordering::Relaxed)
    }
}

/// A thing that is wrong, as data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Issue {
    /// Unique: the kind, and what it is about: `certificate-expiring/gateway`.
    pub id: String,
    /// `certificate-expiring`
    pub kind: String,
    /// What it is about, as data.
    pub context: Value,
    /// How bad it is.
    pub severity: Severity,
    /// Since when, RFC 3339; filled in by [`Issues::raise`].
    pub since: String,
    /// One sentence.
    pub summary: String,
    /// What to do.
    pub suggestion: String,
    /// A verb that `pilotctl health --fix` may carry out.
    pub fix: Option<String>,
    /// The journal event beside it.
    pub message_id: String,
}

/// The issues of one service. What is taken out of the file counts as solved.
#[derive(Debug)]
pub struct Issues {
    path: PathBuf,
    raised: Mutex<BTreeMap<String, Issue>>,
}

impl Issues {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, raised: Mutex::default() }
    }

    /// Says that something is wrong; saying it again keeps `since`.
    pub fn raise(&self, mut issue: Issue) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let since = raised.get(&issue.id).map(|it| it.since.clone());
        issue.since = since.unwrap_or_else(|| OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default());
        if raised.get(&issue.id) != Some(&issue) {
            raised.insert(issue.id.clone(), issue);
            self.write(&raised);
        }
    }

    /// Says that it is no longer so.
    pub fn clear(&self, id: &str) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if raised.remove(id).is_some() {
            self.write(&raised);
        }
    }

    /// Says that what an earlier process raised and this one has not counts no more.
    pub fn renew(&self) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if self.path.exists() {
            self.write(&raised);
        }
    }

    fn write(&self, raised: &BTreeMap<String, Issue>) {
        for severity in Severity::ALL {
            let count = raised.values().filter(|it| it.severity == severity).count();
            RAISED[severity as usize].store(count, Ordering::Relaxed);
        }
        let mut entries: Vec<Value> =
            raised.values().take(ENTRIES_MAX).filter_map(|it| serde_json::to_value(it).ok()).collect();
        if raised.len() > ENTRIES_MAX {
            entries.push(serde_json::json!({"id": "more", "count": raised.len() - ENTRIES_MAX}));
        }
        let temporary = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&temporary, serde_json::to_vec(&entries)?)?;
            fs::rename(&temporary, &self.path)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, path = %self.path.display(), "cannot write the health issues");
        }
    }
}
