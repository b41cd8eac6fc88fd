//! The log of one console: a file that is appended to, put aside when it is full.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use domain::Xname;
use time::OffsetDateTime;

use crate::config::Config;

/// The file and how much is in it.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// None until something is written, and after a failure.
    open: Option<Open>,
    rotate_bytes: u64,
    keep: u32,
    /// It could not be put aside, and that was told.
    stuck: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl Log {
    /// The log `console.<name>`; the file is opened when something is to be written.
    pub(crate) fn new(config: &Config, name: &str, node: &Xname) -> Self {
        // A name is data: what could leave the folder is not used.
        let safe =
            !name.is_empty() && name.len() <= 64 && !name.contains(['/', '\0']) && !name.starts_with('.');
        let path = config.log_dir.join(format!("console.{}", if safe { name } else { node.as_str() }));
        Self { path, open: None, rotate_bytes: config.rotate_bytes, keep: config.keep, stuck: false }
    }

    /// When it was last written to, if ever.
    pub(crate) fn last_written(&self) -> Option<OffsetDateTime> {
        [self.path.clone(), self.aside(1)].iter().find_map(|path| {
            let metadata = std::fs::metadata(path).ok().filter(|it| it.is_file() && it.len() > 0)?;
            metadata.modified().ok().map(OffsetDateTime::from)
        })
    }

    /// Appends; a full log is put aside at the end of a line, so that none is torn apart.
    pub(crate) fn append(&mut self, text: &str) -> io::Result<()> {
        let written = self.try_append(text);
        if written.is_err() {
            self.open = None; // Whoever moved the folder or filled the disk may have put it right next time.
        }
        written
    }

    fn try_append(&mut self, text: &str) -> io::Result<()> {
        let full = self.bytes()? + text.len() as u64 >= self.rotate_bytes;
        let Some(end) = text.rfind('\n').filter(|_| full) else { return self.write(text) };
        let (old, new) = text.split_at(end + 1);
        self.write(old)?;
        // Better a log that is too long than one with a gap.
        match self.put_aside() {
            Ok(()) => self.stuck = false,
            Err(error) if !std::mem::replace(&mut self.stuck, true) => {
                tracing::warn!(%error, "{} is full and cannot be put aside", self.path.display());
            }
            Err(_) => {}
        }
        self.write(new)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let open = self.open()?;
        open.file.write_all(text.as_bytes())?;
        open.bytes += text.len() as u64;
        Ok(())
    }

    fn bytes(&mut self) -> io::Result<u64> {
        self.open().map(|it| it.bytes)
    }

    /// Readable by the group alone, which is the operators' in the image: consoles show what people type.
    fn open(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let file = File::options().append(true).create(true).mode(0o640).open(&self.path)?;
                let bytes = file.metadata()?.len();
                Open { file, bytes }
            }
        };
        Ok(self.open.insert(open))
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.open = None;
        for number in (1..self.keep).rev() {
            match std::fs::rename(self.aside(number), self.aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.keep > 0 {
            std::fs::rename(&self.path, self.aside(1))
        } else {
            std::fs::remove_file(&self.path)
        }
    }

    fn aside(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Log;
    use crate::config::Config;

    #[test]
    fn a_full_log_is_put_aside_between_lines() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { log_dir: folder.path().into(), rotate_bytes: 10, keep: 2, ..Config::default() };
        let node = "x1000c1s7b1n0".parse().unwrap();
        let mut log = Log::new(&config, "nid001", &node);
        assert!(log.last_written().is_none());
        for text in ["12345", "67890", "1\n", "second line\n", "third line\nfour", "th"] {
            log.append(text).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("console.nid001"), "fourth");
        assert_eq!(read("console.nid001.1"), "third line\n");
        assert_eq!(read("console.nid001.2"), "second line\n");
        assert!(log.last_written().is_some());
        assert!(Log::new(&config, "../escape", &node).path.ends_with("console.x1000c1s7b1n0"));
    }

    #[test]
    fn a_log_that_could_not_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let log_dir = folder.path().join("later");
        let config = Config { log_dir: log_dir.clone(), ..Config::default() };
        let mut log = Log::new(&config, "nid001", &"x1000c1s7b1n0".parse().unwrap());
        log.append("lost\n").unwrap_err();
        std::fs::create_dir(&log_dir).unwrap();
        log.append("kept\n").unwrap();
        assert_eq!(std::fs::read_to_string(log_dir.join("console.nid001")).unwrap(), "kept\n");
    }
}
