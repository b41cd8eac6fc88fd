//! The files of the folder: replaced as a whole, on disk before anything relies on them. Root writes here too, into
//! a folder of another user, so no link is followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{About, Generations, KEPT};

/// A document is at most this long.
pub(crate) const DOCUMENT_MAX: u64 = 1 << 20;
/// The name of a generation's document.
const FILE: &str = "pilothouse.toml";

impl Generations {
    /// Where a generation's document is.
    pub(crate) fn path(&self, generation: u64) -> PathBuf {
        self.0.join(generation.to_string()).join(FILE)
    }

    /// A generation's text.
    ///
    /// # Errors
    ///
    /// If there is no such generation, or it is no plain file of fitting size.
    pub(crate) fn read(&self, generation: u64) -> anyhow::Result<String> {
        read_bounded(&self.path(generation))
            .with_context(|| format!("read generation {generation} of the configuration"))
    }

    /// Writes the next generation.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(crate) fn add(&self, text: &str, about: &About) -> anyhow::Result<u64> {
        let write = || -> io::Result<u64> {
            let generation = self.numbers()?.last().copied().unwrap_or(0) + 1;
            let (new, folder) = (self.0.join("new"), self.0.join(generation.to_string()));
            if new.exists() {
                fs::remove_dir_all(&new)?;
            }
            fs::create_dir(&new)?;
            write_file(&new.join(FILE), text.as_bytes())?;
            write_file(&new.join("about.json"), &serde_json::to_vec(about)?)?;
            File::open(&new)?.sync_all()?;
            fs::rename(new, folder)?;
            File::open(&self.0)?.sync_all()?;
            Ok(generation)
        };
        let generation = write().context("write the next generation of the configuration")?;
        self.prune(generation).context("remove old generations of the configuration")?;
        Ok(generation)
    }

    fn prune(&self, newest: u64) -> anyhow::Result<()> {
        let (applied, pending) = (self.applied(), self.pending());
        for generation in self.numbers()?.into_iter().filter(|it| it + KEPT <= newest) {
            let base = pending.as_ref().and_then(|it| it.base);
            if applied != Some(generation) && base != Some(generation) {
                fs::remove_dir_all(self.0.join(generation.to_string()))?;
                self.remove(&format!("{generation}.outcome"))?;
            }
        }
        Ok(())
    }

    /// The numbers of all generations, in order.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            numbers.extend(entry?.file_name().to_str().and_then(|it| it.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        read_bounded(&self.0.join(name)).ok()
    }

    /// None if there is none. One that cannot be read is not there either, but that is said.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let read = serde_json::from_str(&self.text(name)?);
        read.map_err(|error| log::warn!("{name} in the folder of the configuration is unreadable: {error}"))
            .ok()
    }

    pub(super) fn put_json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.put(name, &serde_json::to_vec(value)?)
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        let work = || -> io::Result<()> {
            remove(&new)?;
            write_file(&new, bytes)?;
            fs::rename(&new, self.0.join(name))?;
            File::open(&self.0)?.sync_all()
        };
        work().with_context(|| format!("write {name} in the folder of the configuration"))
    }

    pub(super) fn remove(&self, name: &str) -> anyhow::Result<()> {
        let removed = remove(&self.0.join(name)).and_then(|()| File::open(&self.0)?.sync_all());
        removed.with_context(|| format!("remove {name} in the folder of the configuration"))
    }
}

/// Makes a file that was not there. It is for all to read, who may enter the folder: root's are the supervisor's to
/// read too.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a plain file of at most [`DOCUMENT_MAX`]; no link is followed.
fn read_bounded(path: &Path) -> io::Result<String> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut text = String::new();
    file.take(DOCUMENT_MAX).read_to_string(&mut text)?;
    Ok(text)
}
