//! The last good copy on disk: a header, the rows of a snapshot, a mark, and the transactions since, each closed by
//! its mark; one JSON line each, as they come over the wire. What stands after the last mark was torn.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::feed::{Change, Header, View};
use serde::Deserialize;
use serde_json::Value;

use super::apply_one;
use crate::feed::{SCHEMA, put_mark, put_row};

/// So many changes after the snapshot, and the file is written anew.
const APPENDED_MAX: usize = 50_000;
/// How long a copy that could not be written stays as it is before a snapshot is asked for.
const BROKEN_MAX: Duration = Duration::from_secs(60);

/// A line of the file after its header, or of `/changes`.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    #[serde(default)]
    pub(super) seq: Option<i64>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    row: Value,
}

impl Line {
    /// The change; none on a mark.
    pub(super) fn change(self) -> Option<Change> {
        Some(Change { kind: self.kind?, id: self.id?, row: self.row })
    }
}

/// The file.
pub(super) struct Kept {
    path: PathBuf,
    /// Open for appending, once something was.
    file: Option<File>,
    /// How much of it is whole transactions.
    length: u64,
    /// Changes since the snapshot in it.
    appended: usize,
    /// Since when it cannot be written.
    broken: Option<Instant>,
}

/// What was read of a file.
pub(super) struct Read {
    /// Its epoch, and the last transaction that is whole.
    pub(super) header: Header,
    /// Whether all of the snapshot is there.
    pub(super) whole: bool,
    length: u64,
    appended: usize,
}

/// A snapshot on its way: into a new view, and into a file beside the old one.
pub(super) struct Draft<V> {
    header: Header,
    view: V,
    file: io::Result<BufWriter<File>>,
    line: Vec<u8>,
}

impl Kept {
    /// Reads the file into the view.
    pub(super) fn load<V: View>(path: PathBuf, view: &mut V) -> io::Result<(Self, Option<Read>)> {
        let mut kept = Self { path, file: None, length: 0, appended: 0, broken: None };
        let file = match File::open(&kept.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((kept, None)),
            Err(error) => return Err(error),
        };
        let Some(read) = read_file(BufReader::new(file), view)? else {
            tracing::warn!(path = %kept.path.display(), "the last good copy makes no sense and is set aside");
            *view = V::default();
            std::fs::rename(&kept.path, kept.path.with_extension("bad"))?;
            return Ok((kept, None));
        };
        if !read.whole {
            tracing::warn!(path = %kept.path.display(), "the last good copy is torn; it serves until its source does");
        }
        (kept.length, kept.appended) = (read.length, read.appended);
        Ok((kept, Some(read)))
    }

    /// Whether a snapshot should be written, though nothing else asks for one.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.appended > APPENDED_MAX || self.broken.is_some_and(|it| it.elapsed() > BROKEN_MAX)
    }

    /// Adds whole transactions. A copy that misses some is not continued: it stays good as of when it was written.
    pub(super) fn append(&mut self, name: &str, text: &[u8], changes: usize) {
        if self.broken.is_some() {
            return;
        }
        match self.try_append(text) {
            Ok(()) => {
                self.length += text.len() as u64;
                self.appended += changes;
            }
            Err(error) => self.give_up(name, &error),
        }
    }

    fn try_append(&mut self, text: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = File::options().write(true).open(&self.path)?;
                file.set_len(self.length)?;
                file.seek(SeekFrom::End(0))?;
                none.insert(file)
            }
        };
        file.write_all(text)
    }

    fn give_up(&mut self, name: &str, error: &io::Error) {
        tracing::warn!(%error, "the last good copy of {name} cannot be written; it stays as it was");
        self.file = None;
        self.broken = Some(Instant::now());
    }

    /// Begins a snapshot.
    pub(super) fn draft<V: View>(&self, header: Header) -> Draft<V> {
        let file = create(&self.draft_path(), &header);
        Draft { header, view: V::default(), file, line: Vec::new() }
    }

    /// Puts a snapshot in the file's place, whole on disk before it counts.
    pub(super) fn replace<V>(&mut self, name: &str, draft: Draft<V>) -> (Header, V) {
        let Draft { header, view, file, .. } = draft;
        let put = || -> io::Result<(File, u64)> {
            let mut file = file?;
            let mut mark = Vec::new();
            put_mark(&mut mark, header.seq);
            file.write_all(&mark)?;
            let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            std::fs::rename(self.draft_path(), &self.path)?;
            let length = file.stream_position()?;
            Ok((file, length))
        };
        match put() {
            Ok((file, length)) => {
                (self.file, self.length, self.appended, self.broken) = (Some(file), length, 0, None);
            }
            Err(error) => self.give_up(name, &error),
        }
        (header, view)
    }

    fn draft_path(&self) -> PathBuf {
        self.path.with_extension("new")
    }
}

impl<V: View> Draft<V> {
    /// One more row.
    pub(super) fn take(&mut self, change: &Change, row: &str) {
        apply_one(&mut self.view, change);
        if let Ok(file) = &mut self.file {
            self.line.clear();
            put_row(&mut self.line, None, &change.kind, &change.id, Some(row));
            if let Err(error) = file.write_all(&self.line) {
                self.file = Err(error);
            }
        }
    }
}

fn create(path: &Path, header: &Header) -> io::Result<BufWriter<File>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::with_capacity(64 << 10, File::create(path)?);
    serde_json::to_writer(&mut file, header)?;
    file.write_all(b"\n")?;
    Ok(file)
}

/// Reads a snapshot and the whole transactions after it; None if it does not even begin well.
fn read_file<V: View>(mut file: impl BufRead, view: &mut V) -> io::Result<Option<Read>> {
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        file.read_until(b'\n', line)
    };
    let mut at = next(&mut line)? as u64;
    let Ok(header) = serde_json::from_slice::<Header>(&line) else { return Ok(None) };
    if header.schema != SCHEMA || line.last() != Some(&b'\n') {
        return Ok(None);
    }
    let mut read = Read { header, whole: false, length: at, appended: 0 };
    let (mut pending, mut rows) = (Vec::new(), 0_usize);
    loop {
        at += next(&mut line)? as u64;
        // A last line without its end was torn, though it may look like a number that is whole.
        if line.last() != Some(&b'\n') {
            break;
        }
        let Ok(Line { seq, kind, id, row }) = serde_json::from_slice(&line) else { break };
        match (seq, kind, id) {
            // A row of the snapshot itself.
            (None, Some(kind), Some(id)) if !read.whole => {
                apply_one(view, &Change { kind, id, row });
                rows += 1;
            }
            (Some(_), Some(kind), Some(id)) if read.whole => pending.push(Change { kind, id, row }),
            (Some(seq), None, None) => {
                read.appended += pending.len();
                pending.drain(..).for_each(|it| apply_one(view, &it));
                (read.whole, read.header.seq, read.length) = (true, seq, at);
            }
            _ => break,
        }
    }
    // Of a snapshot that was torn before its first row nothing is known.
    Ok((read.whole || rows > 0).then_some(read))
}
