//! The log of one console: a file that is appended to, put aside when it is full.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use domain::Xname;
use time::OffsetDateTime;

use crate::config::Config;

/// The open file and how much is in it.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotate_bytes: u64,
    keep: u32,
}

impl Log {
    /// Opens `console.<name>` for appending; also tells when it was last written to, if ever.
    pub(crate) fn open(config: &Config, name: &str, node: &Xname) -> io::Result<(Self, Option<OffsetDateTime>)> {
        // A name is data: what could leave the folder is not used.
        let safe = !name.is_empty() && name.len() <= 64 && !name.contains(['/', '\0']) && !name.starts_with('.');
        let path = config.log_dir.join(format!("console.{}", if safe { name } else { node.as_str() }));
        let file = append(&path)?;
        let metadata = file.metadata()?;
        let last = (metadata.len() > 0).then(|| metadata.modified().ok().map(OffsetDateTime::from)).flatten();
        let log = Self {
            path,
            file,
            bytes: metadata.len(),
            rotate_bytes: config.rotate_bytes,
            keep: config.keep,
        };
        Ok((log, last))
    }

    pub(crate) fn append(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.file.write_all(text.as_bytes())?;
        self.bytes += text.len() as u64;
        // Between lines alone, so that none is torn apart.
        if self.bytes >= self.rotate_bytes && text.ends_with('\n') {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let aside = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..self.keep).rev() {
            match std::fs::rename(aside(number), aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.keep > 0 {
            std::fs::rename(&self.path, aside(1))?;
        } else {
            std::fs::remove_file(&self.path)?;
        }
        self.file = append(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

/// Readable by the group of operators alone: consoles show what people type.
fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o640).open(path)
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
        let (mut log, last) = Log::open(&config, "nid001", &node).unwrap();
        assert!(last.is_none());
        for text in ["12345", "67890", "1\n", "second line\n", "third line\n", "4"] {
            log.append(text).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("console.nid001"), "4");
        assert_eq!(read("console.nid001.1"), "third line\n");
        assert_eq!(read("console.nid001.2"), "second line\n");
        assert!(Log::open(&config, "../escape", &node).unwrap().0.path.ends_with("console.x1000c1s7b1n0"));
    }
}
