//! The numbered generations of the document, and which one is in force.
//!
//! ```text
//! 3/pilothouse.toml   a generation; never changed once it is there
//! pending             the number of the one that is being applied
//! applied             the number of the one in force
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A document is at most this long.
pub(crate) const DOCUMENT_MAX: u64 = 1 << 20;
/// The name of a generation's document.
pub(crate) const FILE: &str = "pilothouse.toml";

/// The folder of the generations.
#[derive(Clone, Debug)]
pub(crate) struct Generations(PathBuf);

impl Generations {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The number of the generation in force, if there is one.
    pub(crate) fn applied(&self) -> Option<u64> {
        self.number("applied")
    }

    /// The number of the generation that was being applied when the supervisor ended.
    pub(crate) fn pending(&self) -> Option<u64> {
        self.number("pending")
    }

    fn number(&self, name: &str) -> Option<u64> {
        fs::read_to_string(self.0.join(name)).ok()?.trim().parse().ok()
    }

    /// A generation's text.
    ///
    /// # Errors
    ///
    /// If there is no such generation, or it is no plain file of fitting size.
    pub(crate) fn read(&self, generation: u64) -> anyhow::Result<String> {
        let path = self.0.join(generation.to_string()).join(FILE);
        read_bounded(&path).with_context(|| format!("read generation {generation} of the configuration"))
    }

    /// Writes the next generation and marks it as the one being applied.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn add(&self, text: &str) -> anyhow::Result<u64> {
        let write = || -> io::Result<u64> {
            let generation = self.last()? + 1;
            let (new, folder) = (self.0.join("new"), self.0.join(generation.to_string()));
            if new.exists() {
                fs::remove_dir_all(&new)?;
            }
            fs::create_dir(&new)?;
            let mut file = File::create(new.join(FILE))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(new, folder)?;
            self.mark("pending", generation)?;
            Ok(generation)
        };
        write().context("write the next generation of the configuration")
    }

    fn last(&self) -> io::Result<u64> {
        let mut last = 0;
        for entry in fs::read_dir(&self.0)? {
            last = last.max(entry?.file_name().to_str().and_then(|it| it.parse().ok()).unwrap_or(0));
        }
        Ok(last)
    }

    /// Says that a generation is in force.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn commit(&self, generation: u64) -> anyhow::Result<()> {
        self.mark("applied", generation).context("mark the generation as applied")?;
        self.forget_pending()
    }

    /// Says that nothing is being applied any more.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn forget_pending(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.0.join("pending")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("remove the mark `pending`")
            }
            _ => Ok(()),
        }
    }

    fn mark(&self, name: &str, generation: u64) -> io::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        let mut file = File::create(&new)?;
        writeln!(file, "{generation}")?;
        file.sync_all()?;
        fs::rename(new, self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }
}

/// Reads a plain file of at most [`DOCUMENT_MAX`]; no link is followed, since the folder belongs to another
/// user.
fn read_bounded(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc_nofollow()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut text = String::new();
    file.take(DOCUMENT_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn libc_nofollow() -> i32 {
    (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Generations;

    #[test]
    fn generations_are_numbered_and_one_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let generations = Generations::new(folder.path());
        assert_eq!((generations.applied(), generations.pending()), (None, None));
        assert_eq!(generations.add("a").unwrap(), 1);
        assert_eq!(generations.pending(), Some(1));
        generations.commit(1).unwrap();
        assert_eq!(generations.add("b").unwrap(), 2);
        assert_eq!((generations.applied(), generations.pending()), (Some(1), Some(2)));
        generations.forget_pending().unwrap();
        assert_eq!(generations.add("c").unwrap(), 3, "a number is used once");
        assert_eq!(generations.read(2).unwrap(), "b");
    }

    #[test]
    fn a_link_is_no_generation() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("7")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("7/pilothouse.toml")).unwrap();
        assert!(Generations::new(folder.path()).read(7).is_err());
    }
}
