//! Certificates that end soon, from the files that the services write (INTERFACES 7).
//!
//! A service that runs says so itself, under the same id; this is for one that does not run.

use std::io::Read as _;
use std::path::Path;

use domain::{Service, event};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::issue::{Issue, Severity};

/// The longest file that is read.
const FILE_MAX: u64 = 64 << 10;

/// A certificate as its service tells of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fact {
    #[serde(skip)]
    service: Option<Service>,
    id: String,
    #[serde(default)]
    not_before: String,
    #[serde(default)]
    not_after: String,
    #[serde(default)]
    last_error: Option<String>,
}

/// Reads what the services wrote; `folder` is that of their sockets.
pub(super) fn gather(folder: &Path) -> Vec<Fact> {
    let mut facts = Vec::new();
    for service in Service::ALL {
        let path = folder.join(service.name()).join("certificates.json");
        let mut text = Vec::new();
        let read = std::fs::File::open(path).and_then(|it| it.take(FILE_MAX).read_to_end(&mut text));
        let told: Vec<Fact> = read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default();
        facts.extend(told.into_iter().map(|it| Fact { service: Some(service), ..it }));
    }
    facts
}

/// They are renewed at two thirds of their life; one with less than a quarter left is late.
pub(super) fn check(facts: &[Fact], now: OffsetDateTime) -> Vec<Issue> {
    let late = |fact: &Fact| {
        let service = fact.service?;
        let instant = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let (begin, end) = (instant(&fact.not_before)?, instant(&fact.not_after)?);
        let over = now >= end;
        if !over && (end - now) * 4 >= end - begin {
            return None;
        }
        let (id, until) = (&fact.id, &fact.not_after);
        let why = fact.last_error.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
        let summary = if over {
            format!("the certificate {id} of {service} ended at {until}{why}")
        } else {
            format!("the certificate {id} of {service} is not renewed and ends at {until}{why}")
        };
        let severity = if over { Severity::Error } else { Severity::Warning };
        let suggestion = format!(
            "have a new one: pilotctl cert renew {service}; what keeps it from that: pilotctl cert list"
        );
        let id = format!("certificate-expiring/{id}");
        let issue = Issue::new(id, severity, event::CERTIFICATE_FAILED, summary, suggestion);
        let context = json!({"service": service.name(), "certificate": fact.id, "not_after": until});
        Some(issue.about(context).fixed_by("renew-certificate"))
    };
    facts.iter().filter_map(late).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::super::issue::Severity;
    use super::{check, gather};

    #[test]
    fn a_certificate_is_late_when_a_quarter_of_its_life_is_left() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("gateway")).unwrap();
        let told = r#"[{"id":"gateway","names":[],"not_before":"2026-11-01T00:00:00Z",
            "not_after":"2026-11-05T00:00:00Z","last_error":"ca is away"},{"id":"none yet"}]"#;
        std::fs::write(folder.path().join("gateway/certificates.json"), told).unwrap();
        let facts = gather(folder.path());
        assert_eq!(facts.len(), 2);
        let at = |text: &str| check(&facts, OffsetDateTime::parse(text, &Rfc3339).unwrap());
        assert!(at("2026-11-04T00:00:00Z").is_empty());
        let late = at("2026-11-04T00:00:01Z");
        assert_eq!(
            (late[0].severity, late[0].id.as_str()),
            (Severity::Warning, "certificate-expiring/gateway")
        );
        assert!(late[0].summary.ends_with("ends at 2026-11-05T00:00:00Z: ca is away"), "{}", late[0].summary);
        assert_eq!(at("2026-11-05T00:00:00Z")[0].severity, Severity::Error);
    }
}
