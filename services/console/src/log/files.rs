//! The two files of a console.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use time::OffsetDateTime;

use super::{Log, aside, open_file};
use crate::model::mark_line;

/// A text without ends of lines is put aside in the middle once it is this many times too long.
const ENDLESS: u64 = 2;

/// What is open of a console's log.
#[derive(Default)]
pub(super) struct Files {
    text: Option<Open>,
    raw: Option<Open>,
    /// Bytes of text that are in no file.
    pub(super) unwritten: usize,
    /// It could not be put aside, and that was told.
    stuck: bool,
    /// When it was last written to.
    pub(super) used: Option<Instant>,
}

struct Open {
    file: File,
    bytes: u64,
    begun: OffsetDateTime,
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = open_file(path)?;
        let metadata = file.metadata()?;
        // Where the file system does not know when a file was made, age counts from here.
        let begun = metadata.created().map_or_else(|_| OffsetDateTime::now_utc(), OffsetDateTime::from);
        Ok(Self { file, bytes: metadata.len(), begun })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Files {
    /// Appends; a full log is put aside at the end of a line, so that none is torn apart.
    ///
    /// # Errors
    ///
    /// The first of a row of failures; what could not be written is told in the log itself later.
    pub(super) fn write(
        &mut self,
        log: &Log,
        text: &[u8],
        raw: &[u8],
        now: OffsetDateTime,
    ) -> io::Result<()> {
        self.used = Some(Instant::now());
        let before = self.unwritten;
        let noted = if self.unwritten > 0 { self.note(log, now) } else { Ok(()) };
        let written = self.try_write(log, text, raw, now).and(noted);
        match written {
            Ok(()) => {
                self.unwritten = 0;
                Ok(())
            }
            Err(error) => {
                self.close(); // Whoever moved the folder or filled the disk may have put it right next time.
                self.unwritten += text.len();
                if before == 0 { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Says in the log what it lacks.
    fn note(&mut self, log: &Log, now: OffsetDateTime) -> io::Result<()> {
        let note = format!("{} bytes could not be written to this log", self.unwritten);
        let line = format!("\n{}", mark_line(&note, now));
        self.text(log)?.write(line.as_bytes())
    }

    fn try_write(&mut self, log: &Log, text: &[u8], raw: &[u8], now: OffsetDateTime) -> io::Result<()> {
        let Some(end) = self.end_of_full(log, text, raw, now) else {
            // What befalls one file is nothing to the other.
            let kept = if raw.is_empty() { Ok(()) } else { self.raw(log).and_then(|it| it.write(raw)) };
            return self.text(log).and_then(|it| it.write(text)).and(kept);
        };
        let (old, new) = text.split_at(end);
        self.text(log)?.write(old)?;
        self.raw(log)?.write(raw)?;
        // Better a log that is too long than one with a gap.
        match self.put_aside(log, now) {
            Ok(()) => self.stuck = false,
            Err(error) if !std::mem::replace(&mut self.stuck, true) => {
                tracing::warn!(%error, "{} is full and cannot be put aside", log.path().display());
            }
            Err(_) => {}
        }
        self.text(log)?.write(new)
    }

    /// Where in this text the log ends, if it is full or old.
    fn end_of_full(&mut self, log: &Log, text: &[u8], raw: &[u8], now: OffsetDateTime) -> Option<usize> {
        let limit = log.settings.rotate_bytes;
        let raw_bytes =
            if raw.is_empty() { 0 } else { self.raw(log).map_or(0, |it| it.bytes) + raw.len() as u64 };
        let Ok(open) = self.text(log) else { return None };
        let length = (open.bytes + text.len() as u64).max(raw_bytes);
        let old = open.bytes > 0 && now - open.begun >= log.settings.rotate_after;
        if length < limit && !old {
            return None;
        }
        let end = text.iter().rposition(|it| *it == b'\n').map(|it| it + 1);
        end.or((length >= ENDLESS * limit).then_some(0))
    }

    fn text(&mut self, log: &Log) -> io::Result<&mut Open> {
        let open = match self.text.take() {
            Some(open) => open,
            None => Open::at(&log.path())?,
        };
        Ok(self.text.insert(open))
    }

    fn raw(&mut self, log: &Log) -> io::Result<&mut Open> {
        let open = match self.raw.take() {
            Some(open) => open,
            None => Open::at(&log.raw_path())?,
        };
        Ok(self.raw.insert(open))
    }

    fn put_aside(&mut self, log: &Log, now: OffsetDateTime) -> io::Result<()> {
        self.close();
        aside::put(&log.path(), now)?;
        aside::put(&log.raw_path(), now)?;
        if log.jobs.send(super::Job::Tidy(log.name.clone())).is_err() {
            tracing::debug!("{} is put aside at the end, and tidied at the next start", log.name);
        }
        Ok(())
    }

    /// Gives the descriptors back.
    pub(super) fn close(&mut self) {
        (self.text, self.raw) = (None, None);
    }
}

/// The end of a file, so many bytes at most; none of what cannot be read.
pub(super) fn tail(path: &Path, max: usize) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(max as u64)))?;
        let mut bytes = Vec::new();
        file.take(max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}
