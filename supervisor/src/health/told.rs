//! What the services say is wrong: `issues.json` of each (INTERFACES 7), read when it was replaced.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::Service;
use serde_json::Value;

use super::issue::Issue;

/// The longest file that is read.
const FILE_MAX: u64 = 64 << 10;
/// The most entries of one file.
const ENTRIES_MAX: usize = 201;

/// By what a file is known to have been replaced.
type Stamp = Option<(SystemTime, u64)>;

/// The services' files.
#[derive(Debug)]
pub(super) struct Told {
    folder: PathBuf,
    stamps: HashMap<Service, Stamp>,
}

impl Told {
    /// `folder`: that of the services' sockets.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, stamps: HashMap::new() }
    }

    /// The services whose files changed since the last look, with what they say now.
    pub(super) fn look(&mut self) -> Vec<(Service, Vec<Issue>)> {
        let mut changed = Vec::new();
        for service in Service::ALL {
            let path = self.folder.join(service.name()).join("issues.json");
            let stamp = std::fs::metadata(&path).ok().and_then(|it| Some((it.modified().ok()?, it.len())));
            if self.stamps.insert(service, stamp) == Some(stamp) {
                continue;
            }
            if stamp.is_none() {
                changed.push((service, Vec::new()));
                continue;
            }
            match read(&path, service) {
                Ok(issues) => changed.push((service, issues)),
                // What it said before counts on: a file is replaced whole, so this one is not its word.
                Err(error) => log::warn!("cannot read {}: {error:#}", path.display()),
            }
        }
        changed
    }
}

fn read(path: &Path, service: Service) -> anyhow::Result<Vec<Issue>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut text)?;
    let entries: Vec<Value> = serde_json::from_slice(&text)?;
    // An entry that is none of ours (`more`, or one of a newer version) is left out.
    let issues = entries.into_iter().take(ENTRIES_MAX).filter_map(|it| serde_json::from_value(it).ok());
    let of_service = |mut it: Issue| {
        service.name().clone_into(&mut it.source);
        it.cut()
    };
    Ok(issues.map(of_service).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Service;

    use super::Told;

    #[test]
    fn a_file_is_read_when_it_was_replaced_and_rubbish_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Told::new(folder.path().to_owned());
        assert_eq!(told.look().len(), Service::ALL.len(), "at first all are news");
        assert_eq!(told.look(), []);
        let place = folder.path().join("dhcp");
        std::fs::create_dir(&place).unwrap();
        let entry = r#"{"id":"other-dhcp-server/10.0.0.9","kind":"other-dhcp-server","context":{"a":1},
            "severity":"warning","since":"2026-11-23T00:00:00Z","summary":"s","suggestion":"t","fix":null,
            "message_id":"x"}"#;
        std::fs::write(place.join("issues.json"), format!(r#"[{entry},{{"id":"more","count":3}}]"#)).unwrap();
        let changed = told.look();
        assert_eq!(changed.len(), 1);
        let (service, issues) = &changed[0];
        assert_eq!((*service, issues.len()), (Service::Dhcp, 1));
        assert_eq!((issues[0].source.as_str(), &issues[0].context["a"]), ("dhcp", &1.into()));
        std::fs::write(place.join("issues.json"), "[").unwrap();
        assert_eq!(told.look(), []);
        std::fs::remove_file(place.join("issues.json")).unwrap();
        assert_eq!(told.look(), [(Service::Dhcp, vec![])]);
    }
}
