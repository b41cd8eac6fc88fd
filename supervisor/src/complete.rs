//! The end of the set-up (root): the marker, and the answer file without its secrets.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use domain::document::Answer;

use crate::generations::DOCUMENT_MAX;

const MARKER: &str = "/var/lib/pilothouse/setup-complete";
const SEED: &str = "/run/pilothouse/seed/volume/pilothouse.toml";

/// Wipes the seed and writes the marker.
///
/// # Errors
///
/// If the marker cannot be written. A seed that cannot be wiped (a read-only medium) is a warning.
pub(crate) fn run() -> anyhow::Result<()> {
    if let Err(error) = wipe(Path::new(SEED)) {
        log::warn!("the answer file on the volume PH_SEED still holds its secrets; keep it safe: {error:#}");
    }
    let file = File::create(MARKER).context("write the marker that the set-up is complete")?;
    file.sync_all().context("write the marker to disk")
}

/// Overwrites the secrets of an answer file in place: what is not there any more is blanks.
fn wipe(path: &Path) -> anyhow::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.context("open the answer file")?,
    };
    let mut text = String::new();
    std::io::Read::by_ref(&mut file)
        .take(DOCUMENT_MAX)
        .read_to_string(&mut text)
        .context("read the answer file")?;
    let answer = Answer::parse(&text).context("parse the answer file")?;
    let blanks = text.len().saturating_sub(answer.text.len());
    file.rewind().context("rewind the answer file")?;
    file.write_all(answer.text.as_bytes()).context("write the answer file")?;
    file.write_all(&vec![b'\n'; blanks]).context("write the answer file")?;
    file.sync_all().context("write the answer file to its medium")?;
    file.set_len(answer.text.len() as u64).context("shorten the answer file")?;
    file.sync_all().context("write the answer file to its medium")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    #[test]
    fn a_seed_keeps_its_document_and_loses_its_secrets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let document = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n";
        let secrets = "[secrets.bmc]\nuser = \"admin\"\npassword = \"canary\"\n";
        std::fs::write(file.path(), format!("{document}{secrets}")).unwrap();
        super::wipe(file.path()).unwrap();
        let left = std::fs::read_to_string(file.path()).unwrap();
        assert!(
            left.starts_with(document) && !left.contains("canary") && !left.contains("secrets"),
            "{left}"
        );
        super::wipe(file.path()).unwrap();
    }
}
