//! Certificates of BMCs as they were shown first, kept over restarts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use daemon::{Context, Issue, Severity};
use domain::{Xname, event};
use redfish::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Their file in the state folder.
const FILE: &str = "certificates.json";
/// The kind of the health issue.
const KIND: &str = "bmc-certificate-changed";

/// A certificate that is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// Since when, RFC 3339.
    pub(crate) since: String,
}

/// All of them.
pub(super) struct Pins {
    context: Context,
    path: PathBuf,
    held: Mutex<BTreeMap<Xname, Pin>>,
}

impl Pins {
    pub(super) fn load(context: &Context) -> anyhow::Result<Self> {
        let path = context.state(FILE);
        let held = match std::fs::read(&path) {
            // A file that cannot be read must not make every BMC believed anew.
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        Ok(Self { context: context.clone(), path, held: Mutex::new(held) })
    }

    pub(super) fn find(&self, bmc: &Xname) -> Option<Pin> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(bmc).cloned()
    }

    /// Keeps the first certificate of a BMC, or another one that somebody vouches for.
    pub(super) fn keep(&self, bmc: &Xname, shown: Fingerprint) -> std::io::Result<()> {
        let sha256 = shown.to_string();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(bmc).is_some_and(|it| it.sha256 == sha256) {
            return Ok(());
        }
        let since = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let before = held.insert(bmc.clone(), Pin { sha256, since });
        let written = serde_json::to_vec(&*held).map_err(std::io::Error::from);
        let written = written.and_then(|it| daemon::replace_file(&self.path, &it, 0o600));
        if let Err(error) = written {
            // What does not last is not believed: after a restart anybody could be the first again.
            match before {
                Some(before) => drop(held.insert(bmc.clone(), before)),
                None => drop(held.remove(bmc)),
            }
            return Err(error);
        }
        self.context.issues().clear(&id(bmc));
        Ok(())
    }

    /// Says that a BMC shows another certificate.
    pub(super) fn raise(&self, bmc: &Xname, known: Fingerprint, shown: Fingerprint) {
        let summary = format!("BMC {bmc} shows another certificate than before; nothing is sent to it");
        daemon::event!(event::BMC_CERTIFICATE_CHANGED, node = bmc, "{summary}: known {known}, shown {shown}");
        self.context.issues().raise(Issue {
            id: id(bmc),
            kind: KIND.to_owned(),
            context: serde_json::json!({"bmc": bmc, "known": known.to_string(), "shown": shown.to_string()}),
            severity: Severity::Error,
            since: String::new(),
            summary,
            suggestion: format!(
                "it was {known} and is {shown}: if the board was replaced or its certificate renewed, pilotctl bmc \
                 trust {bmc} {shown}; else look who stands in between"
            ),
            fix: None,
            message_id: event::BMC_CERTIFICATE_CHANGED.id.to_owned(),
        });
    }

    /// It shows the one that is known.
    pub(super) fn settle(&self, bmc: &Xname) {
        self.context.issues().clear(&id(bmc));
    }
}

fn id(bmc: &Xname) -> String {
    format!("{KIND}/{bmc}")
}
