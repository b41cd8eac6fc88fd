//! Files opened below a root, and what they are known by.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use crate::model::{Known, segments};

/// Which bytes a file has, without reading them: device, inode, length, time of change in nanoseconds.
pub(crate) type Stamp = (u64, u64, u64, i128);

/// A file that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: Arc<std::fs::File>,
    pub(crate) stamp: Stamp,
    pub(crate) known: Known,
}

/// Opens a regular file below the root. Links may lead about inside of it, never out. (openat2(2) would do in one call,
/// but systemd's RestrictSUIDSGID= filters it away, so that this walks where it must.)
///
/// # Errors
///
/// `NotFound` for whatever may not be served, so that nobody learns what else there is.
pub(crate) fn open(root: &Path, path: &str) -> io::Result<Opened> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let relative = segments(path).ok_or_else(missing)?.join("/");
    let folder = Dir::open_ambient_dir(root, ambient_authority())?;
    // A pipe would keep who opens it waiting.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let opened = folder.open_with(relative, &options).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => missing(), // It leads out.
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => missing(),
        _ if error.raw_os_error() == Some(libc::ELOOP) => missing(),
        _ => error,
    })?;
    let file = opened.into_std();
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(missing());
    }
    let nanos = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    let tag = format!("\"{:x}-{:x}-{nanos:x}\"", metadata.ino(), metadata.len());
    Ok(Opened {
        file: Arc::new(file),
        stamp: (metadata.dev(), metadata.ino(), metadata.len(), nanos),
        known: Known { tags: vec![tag], modified: metadata.mtime(), length: metadata.len() },
    })
}
