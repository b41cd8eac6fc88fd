//! The answer's secrets on their way to render and the inventory: a file in memory, ours and root's to read.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::document::Secrets;

/// Where those of a generation are.
pub(crate) fn path(run: &Path, generation: u64) -> PathBuf {
    run.join(format!("secrets-{generation}.json"))
}

/// Keeps them until the generation is in force.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write(run: &Path, generation: u64, secrets: &Secrets) -> anyhow::Result<()> {
    let bmc = secrets.bmc.as_ref().map(|it| serde_json::json!({"user": it.user, "password": it.password}));
    let text = serde_json::json!({ "bmc": bmc, "password_hashes": secrets.password_hashes }).to_string();
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path(run, generation));
    file.and_then(|mut it| it.write_all(text.as_bytes())).context("keep the secrets for render")
}

/// None where there are none, as after a restart of the machine.
///
/// # Errors
///
/// If they are there and cannot be read.
pub(crate) fn read(run: &Path, generation: u64) -> anyhow::Result<Option<Secrets>> {
    match fs::read(path(run, generation)) {
        Ok(bytes) => {
            let read = serde_json::from_slice(&bytes);
            read.map(Some).map_err(|_| anyhow::anyhow!("the answer's secrets cannot be read"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("read the answer's secrets"),
    }
}

/// Removes those of every generation but one.
///
/// # Errors
///
/// If the folder cannot be read or a file not be removed.
pub(crate) fn remove_all_but(run: &Path, kept: Option<u64>) -> anyhow::Result<()> {
    let kept = kept.map(|it| path(run, it));
    let work = || -> io::Result<()> {
        for entry in fs::read_dir(run)? {
            let entry = entry?;
            let ours = entry.file_name().to_str().is_some_and(|it| it.starts_with("secrets-"));
            if ours && Some(entry.path()) != kept {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    work().context("remove the answer's secrets")
}
