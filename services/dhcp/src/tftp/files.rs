//! The table of files that TFTP serves, and their contents in memory. A client's name is looked up in the table and
//! goes no further: no path of anybody's reaches the file system.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model;
use crate::state::State;

/// A larger file is no boot loader.
const FILE_MAX: u64 = 128 << 20;
/// So long is a file served as it was, before it is looked whether it was replaced.
const FRESH: Duration = Duration::from_secs(1);
/// A file that nobody asked for leaves the memory after this time.
const UNUSED: Duration = Duration::from_secs(60);

/// What a name of the table stands for.
pub(super) enum Entry {
    /// These bytes, the same for all or made for this client.
    Bytes(Cow<'static, [u8]>),
    /// This file, in memory while somebody loads it.
    File(PathBuf),
}

/// The table: what is served by this name to a client at `client`, which asked the head at `head`.
pub(super) fn entry(state: &State, name: &str, (_client, head): (Ipv4Addr, Ipv4Addr)) -> Option<Entry> {
    let table = &state.config.table;
    Some(match name.trim_start_matches("./") {
        "autoexec.ipxe" => Entry::Bytes(model::autoexec(table, head).into_bytes().into()),
        // coresmd's script of this name.
        "default" => Entry::Bytes(b"#!ipxe\nreboot\n".into()),
        name => Entry::File(match state.config.files.get(name) {
            Some(own) => own.clone(),
            None => table.tftp_root.join(model::LOADERS.iter().find(|it| **it == name)?),
        }),
    })
}

/// Loaders in memory, shared by all who load them.
#[derive(Default)]
pub(super) struct Files(HashMap<PathBuf, Loaded>);

struct Loaded {
    bytes: Arc<Vec<u8>>,
    /// Device, inode, length, time of change: another file has another.
    stamp: Stamp,
    looked: Instant,
    used: Instant,
}

type Stamp = (u64, u64, u64, i64, i64);

impl Files {
    /// A file by its name in the table.
    pub(super) async fn find(
        &mut self,
        state: &State,
        name: &str,
        whom: (Ipv4Addr, Ipv4Addr),
        now: Instant,
    ) -> Option<Arc<Vec<u8>>> {
        let path = match entry(state, name, whom)? {
            Entry::Bytes(bytes) => return Some(Arc::new(bytes.into_owned())),
            Entry::File(path) => path,
        };
        let known = self.0.get_mut(&path);
        if let Some(loaded) = known {
            loaded.used = now;
            if now.duration_since(loaded.looked) < FRESH {
                return Some(Arc::clone(&loaded.bytes));
            }
        }
        let known = self.0.get(&path).map(|it| (it.stamp, Arc::clone(&it.bytes)));
        let from = path.clone();
        let read = tokio::task::spawn_blocking(move || load(&from, known)).await;
        match read.unwrap_or_else(|it| Err(io::Error::other(it))) {
            Ok((stamp, bytes)) => {
                let loaded = Loaded { bytes: Arc::clone(&bytes), stamp, looked: now, used: now };
                self.0.insert(path, loaded);
                Some(bytes)
            }
            Err(error) => {
                self.0.remove(&path);
                let path = path.display();
                tracing::warn!(%error, %path, "a boot loader cannot be read; is ipxe installed?");
                None
            }
        }
    }

    /// Gives back what nobody asks for any more; transfers under way keep theirs.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, it| now.duration_since(it.used) < UNUSED);
    }
}

/// The file, or what is known of it already if it still is the same.
fn load(path: &Path, known: Option<(Stamp, Arc<Vec<u8>>)>) -> io::Result<(Stamp, Arc<Vec<u8>>)> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let about = file.metadata()?;
    let stamp = (about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec());
    if let Some(known) = known.filter(|it| it.0 == stamp) {
        return Ok(known);
    }
    if !about.is_file() || about.len() > FILE_MAX {
        return Err(io::Error::other(format!("it is no file of at most {} MiB", FILE_MAX >> 20)));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or_default());
    file.by_ref().take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok((stamp, Arc::new(bytes)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use super::load;

    #[test]
    fn a_file_is_read_again_only_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snponly.efi");
        std::fs::write(&path, "one").unwrap();
        let first = load(&path, None).unwrap();
        let same = load(&path, Some(first.clone())).unwrap();
        assert!(Arc::ptr_eq(&first.1, &same.1));
        let new = folder.path().join("new");
        std::fs::write(&new, "two").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(*load(&path, Some(first)).unwrap().1, b"two");
        load(folder.path(), None).unwrap_err();
    }
}
