//! Folders that go when we go: at once when dropped, and when we were killed, by whoever comes next.

use std::fs::{DirEntry, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

const PREFIX: &str = "pilothouse-";
/// Making a folder takes milliseconds.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder of our own, open to every uid. The lock on its file `.lock` says that its maker lives.
#[derive(Debug)]
pub struct Folder {
    // Before the lock, so that nobody else sweeps what is just being removed.
    folder: TempDir,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes a folder named after a kind, and sweeps away those whose makers were killed.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn make(kind: &str) -> anyhow::Result<Self> {
        for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            sweep(&entry);
        }
        let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{kind}-")).tempdir();
        let folder = folder.context("make a temporary folder")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let file = File::create(folder.path().join(".lock")).context("make a lock")?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, it)| it)
            .context("take a lock")?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes a folder whose lock nobody holds. A young one may be just being made, its lock there and not yet taken.
fn sweep(entry: &DirEntry) {
    if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
        return;
    }
    let Ok(file) = File::open(entry.path().join(".lock")) else { return };
    let age = file.metadata().and_then(|it| it.modified()).ok().and_then(|it| it.elapsed().ok());
    if age.is_none_or(|it| it < YOUNG) {
        return;
    }
    if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
        && let Err(error) = std::fs::remove_dir_all(entry.path())
    {
        eprintln!("cannot remove {}, which was left behind: {error}", entry.path().display());
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Folder, PREFIX};

    #[test]
    fn what_a_killed_maker_left_is_swept_away_and_nothing_else() {
        let left = std::env::temp_dir().join(format!("{PREFIX}left-{}", std::process::id()));
        std::fs::create_dir(&left).unwrap();
        let lock = std::fs::File::create(left.join(".lock")).unwrap();
        let young = Folder::make("young").unwrap();
        assert!(left.exists() && young.path().exists());
        lock.set_modified(std::time::SystemTime::now() - 2 * super::YOUNG).unwrap();
        drop(lock);
        let first = Folder::make("first").unwrap();
        assert!(!left.exists());
        let second = Folder::make("second").unwrap();
        assert!(first.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
