//! Blobs on disk: `blobs/sha256/ab/abcd…`, and uploads that are no blobs yet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::digest::digest_of;
use crate::file::{self, Opened};

/// Uploads at once.
const UPLOADS_MAX: usize = 32;
/// What stays free on the file system: a head without room for its journal is of no use.
const FREE_MIN: u64 = 512 << 20;
/// An upload that nothing was added to for so long is given up.
pub(crate) const UPLOAD_IDLE: Duration = Duration::from_secs(15 * 60);

/// The folder of the store.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    root: PathBuf,
}

/// Why an upload does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("there is no such upload, or it was given up; begin anew")]
    Missing,
    #[error("the upload stands at byte {0}; go on there")]
    Offset(u64),
    #[error("there are {UPLOADS_MAX} uploads already; wait until one has ended")]
    TooMany,
    #[error("less than {} MiB would be left free for the rest of the head; remove images: pilotctl image gc", FREE_MIN >> 20)]
    NoRoom,
    #[error("what was sent has the digest sha256:{0}, not the one that was given; send it again")]
    Digest(String),
    #[error("the store cannot be written")]
    Io(#[from] io::Error),
}

impl Blobs {
    /// The store in this folder, which is made when it is first needed.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    fn folder(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn place(&self, digest: &str) -> PathBuf {
        self.folder().join(&digest[..2]).join(digest)
    }

    /// An upload's file. The id is one that was given out, or it is none.
    fn upload(&self, id: &str) -> Result<PathBuf, Trouble> {
        let id = Uuid::try_parse(id).map_err(|_| Trouble::Missing)?;
        Ok(self.uploads().join(id.simple().to_string()))
    }

    /// Opens a blob, by 64 hexadecimal digits.
    pub(crate) fn open(&self, digest: &str) -> io::Result<Opened> {
        let mut opened = file::open(&self.folder(), &format!("{}/{digest}", &digest[..2]))?;
        opened.known.tags.insert(0, format!("\"sha256-{digest}\""));
        Ok(opened)
    }

    /// Begins an upload; its id.
    pub(crate) fn begin(&self, id: Uuid) -> Result<String, Trouble> {
        let folder = self.uploads();
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.root)?;
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        if fs::read_dir(&folder)?.count() >= UPLOADS_MAX {
            return Err(Trouble::TooMany);
        }
        self.need(0)?;
        let id = id.simple().to_string();
        File::create_new(folder.join(&id))?;
        Ok(id)
    }

    /// Whether so many more bytes find room.
    fn need(&self, bytes: u64) -> Result<(), Trouble> {
        let about = rustix::fs::statvfs(&self.root).map_err(io::Error::from)?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        if free < bytes.saturating_add(FREE_MIN) { Err(Trouble::NoRoom) } else { Ok(()) }
    }

    /// How far an upload is.
    pub(crate) fn received(&self, id: &str) -> Result<u64, Trouble> {
        match fs::metadata(self.upload(id)?) {
            Ok(about) => Ok(about.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Trouble::Missing),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a piece where the upload stands; how far it is then.
    pub(crate) fn append(&self, id: &str, offset: u64, piece: &[u8]) -> Result<u64, Trouble> {
        let stands = self.received(id)?;
        if stands != offset {
            return Err(Trouble::Offset(stands));
        }
        self.need(piece.len() as u64)?;
        let mut file = OpenOptions::new().append(true).open(self.upload(id)?)?;
        if let Err(error) = file.write_all(piece) {
            // What half a piece added is taken back, so that it can be sent again.
            file.set_len(stands)?;
            return Err(if error.kind() == io::ErrorKind::StorageFull {
                Trouble::NoRoom
            } else {
                error.into()
            });
        }
        Ok(stands + piece.len() as u64)
    }

    /// Makes an upload a blob, if it has this digest: synced, then in its place at once. Its length.
    pub(crate) fn finish(&self, id: &str, digest: &str) -> Result<u64, Trouble> {
        self.received(id)?;
        let upload = self.upload(id)?;
        let file = OpenOptions::new().read(true).mode(0o644).open(&upload)?;
        let (found, bytes) = digest_of(&file, |_| true)?;
        if found != digest {
            fs::remove_file(&upload)?;
            return Err(Trouble::Digest(found));
        }
        let place = self.place(digest);
        let folder = place.parent().map(Path::to_owned).unwrap_or_default();
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        fs::set_permissions(&upload, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&upload, &place)?;
        File::open(&folder)?.sync_all()?;
        Ok(bytes)
    }

    /// Gives an upload up.
    pub(crate) fn cancel(&self, id: &str) -> Result<(), Trouble> {
        match fs::remove_file(self.upload(id)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Trouble::Missing),
            done => Ok(done?),
        }
    }

    /// Gives up every upload that rested for so long; how many, and their bytes.
    pub(crate) fn forget(&self, now: SystemTime, idle: Duration, dry: bool) -> io::Result<(u64, u64)> {
        let entries = match fs::read_dir(self.uploads()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
            entries => entries?,
        };
        let (mut count, mut bytes) = (0, 0);
        for entry in entries {
            let entry = entry?;
            // One that has just ended is none.
            let Ok(about) = entry.metadata() else { continue };
            if now.duration_since(about.modified()?).is_ok_and(|it| it >= idle) {
                (count, bytes) = (count + 1, bytes + about.len());
                if !dry {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok((count, bytes))
    }

    /// Takes a blob's file away.
    pub(crate) fn remove(&self, digest: &str) -> io::Result<()> {
        match fs::remove_file(self.place(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Read as _;
    use std::time::{Duration, SystemTime};

    use uuid::Uuid;

    use super::{Blobs, Trouble};
    use crate::digest::digest_of_bytes;

    #[test]
    fn an_upload_is_a_blob_once_it_is_whole_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(folder.path().join("store"));
        let digest = digest_of_bytes(b"hello world");
        assert_eq!(blobs.open(&digest).unwrap_err().kind(), std::io::ErrorKind::NotFound);
        let id = blobs.begin(Uuid::new_v4()).unwrap();
        assert_eq!(blobs.append(&id, 0, b"hello ").unwrap(), 6);
        assert!(matches!(blobs.append(&id, 0, b"hello "), Err(Trouble::Offset(6))));
        assert_eq!(blobs.append(&id, 6, b"world").unwrap(), 11);
        assert_eq!(blobs.finish(&id, &digest).unwrap(), 11);
        let opened = blobs.open(&digest).unwrap();
        let mut text = String::new();
        (&*opened.file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world");
        assert!(opened.known.tags[0].contains(&digest));
        assert!(matches!(blobs.append(&id, 11, b"!"), Err(Trouble::Missing)));
        let id = blobs.begin(Uuid::new_v4()).unwrap();
        assert!(matches!(blobs.finish(&id, &digest), Err(Trouble::Digest(_))));
        assert!(matches!(blobs.received(&id), Err(Trouble::Missing)), "what is wrong is gone");
        assert!(matches!(blobs.received("../blobs"), Err(Trouble::Missing)));
        blobs.remove(&digest).unwrap();
        blobs.remove(&digest).unwrap();
    }

    #[test]
    fn an_upload_that_nobody_goes_on_with_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(folder.path().join("store"));
        let (now, idle) = (SystemTime::now(), Duration::from_secs(60));
        assert_eq!(blobs.forget(now, idle, false).unwrap(), (0, 0));
        let id = blobs.begin(Uuid::new_v4()).unwrap();
        blobs.append(&id, 0, b"half").unwrap();
        assert_eq!(blobs.forget(now, idle, false).unwrap(), (0, 0));
        let later = now + 2 * idle;
        assert_eq!(blobs.forget(later, idle, true).unwrap(), (1, 4));
        assert_eq!(blobs.forget(later, idle, false).unwrap(), (1, 4));
        assert!(matches!(blobs.received(&id), Err(Trouble::Missing)));
    }
}
