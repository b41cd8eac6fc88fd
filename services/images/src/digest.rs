//! SHA-256 of files: of those that are served, computed once, in the background and while nobody waits.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::file::{Opened, Stamp};

/// What is read at once.
pub(crate) const PIECE: usize = 4 << 20;
/// Files that are known by their digest; beyond it all are forgotten and computed anew.
const FILES_MAX: usize = 20_000;
/// Files that wait to be read; one that finds no place is asked for again by whoever fetches it next.
const QUEUE_MAX: usize = 256;
/// While files are sent, the reading rests for so long after each piece.
const REST: Duration = Duration::from_millis(250);
/// Where digests are kept.
const KEPT: &str = "digests.json";

/// Digests of files.
pub(crate) struct Digests {
    known: Mutex<HashMap<Stamp, String>>,
    queue: mpsc::Sender<(Stamp, Arc<File>)>,
    /// Transfers under way.
    busy: AtomicUsize,
    path: PathBuf,
}

/// What waits to be read.
pub(crate) type Queue = mpsc::Receiver<(Stamp, Arc<File>)>;

/// A transfer under way; the reading in the background steps back for it.
pub(crate) struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Digests {
    /// What was kept in this folder; a file that makes no sense counts as none.
    pub(crate) fn load(folder: &Path) -> (Self, Queue) {
        let path = folder.join(KEPT);
        let kept: Option<Vec<(Stamp, String)>> =
            std::fs::read(&path).ok().and_then(|it| serde_json::from_slice(&it).ok());
        let known = Mutex::new(kept.unwrap_or_default().into_iter().collect());
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        (Self { known, queue, busy: AtomicUsize::new(0), path }, waiting)
    }

    /// Adds the digest to what a file is known by, or has it computed.
    pub(crate) fn tag(&self, opened: &mut Opened) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(&opened.stamp) {
            opened.known.tags.insert(0, format!("\"sha256-{digest}\""));
            return;
        }
        drop(known);
        // Full: next time.
        self.queue.try_send((opened.stamp, Arc::clone(&opened.file))).ok();
    }

    /// Says that a file is sent.
    pub(crate) fn note_busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(&self.busy)
    }

    /// Reads what waits, until `stop`.
    pub(crate) async fn run(&self, mut waiting: Queue, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = waiting.recv() => next,
            };
            let Some((stamp, file)) = next else { return };
            if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&stamp) {
                continue;
            }
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = self.read(stamp, file) => read,
            };
            match read {
                Ok(digest) => self.keep(stamp, digest),
                Err(error) => tracing::debug!(%error, "a file's digest cannot be computed"),
            }
        }
    }

    async fn read(&self, stamp: Stamp, file: Arc<File>) -> io::Result<String> {
        let mut context = Context::new(&SHA256);
        let mut offset = 0;
        while offset < stamp.2 {
            let read = Arc::clone(&file);
            let piece = tokio::task::spawn_blocking(move || {
                let length = feed(&read, &mut context, offset)?;
                io::Result::Ok((context, length))
            });
            let length;
            (context, length) = piece.await.map_err(io::Error::other)??;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += length;
            if self.busy.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(REST).await;
            }
        }
        let changed = {
            use std::os::unix::fs::MetadataExt;
            let about = file.metadata()?;
            let nanos = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
            (about.dev(), about.ino(), about.len(), nanos) != stamp
        };
        if changed {
            return Err(io::Error::other("it changed meanwhile"));
        }
        Ok(hex::encode(context.finish()))
    }

    fn keep(&self, stamp: Stamp, digest: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= FILES_MAX {
            known.clear();
        }
        known.insert(stamp, digest);
        let all: Vec<_> = known.iter().collect();
        let text = serde_json::to_vec(&all).map_err(io::Error::other);
        if let Err(error) = text.and_then(|it| daemon::replace_file(&self.path, &it, 0o600)) {
            tracing::warn!(%error, "the digests of files cannot be kept; they are computed again after a restart");
        }
    }
}

/// Reads a piece from `offset` on into the digest; its length, 0 at the end.
fn feed(file: &File, context: &mut Context, offset: u64) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut length = 0;
    while length < PIECE {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    context.update(&buffer[..length]);
    Ok(length as u64)
}

/// The digest of a whole file as hexadecimal digits, and its length; `told` hears after each piece how far it is, and
/// ends it by `false`.
pub(crate) fn digest_of(file: &File, mut told: impl FnMut(u64) -> bool) -> io::Result<(String, u64)> {
    let mut context = Context::new(&SHA256);
    let mut offset = 0;
    loop {
        match feed(file, &mut context, offset)? {
            0 => return Ok((hex::encode(context.finish()), offset)),
            length => offset += length,
        }
        if !told(offset) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

/// The digest of some bytes.
pub(crate) fn digest_of_bytes(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&SHA256, bytes))
}
