//! What a machine writes to its serial line, as a file that grows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use regex::Regex;

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// What ends every hope: the kernel's and the initrd's last words.
const LAST_WORDS: &str = r"Kernel panic|emergency mode|Entering emergency|dracut:/#|end Kernel panic";

/// A serial line's log.
#[derive(Clone, Debug)]
pub struct Console {
    path: PathBuf,
}

impl Console {
    /// The log in this file, which need not be there yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that was written, without the terminal's escape sequences.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        strip(&String::from_utf8_lossy(&bytes))
    }

    /// Waits for a pattern; what it matched, and how long that took.
    ///
    /// # Errors
    ///
    /// When the time is over or the machine has given up, with its last lines.
    pub async fn wait_for(&self, pattern: &str, limit: Duration) -> anyhow::Result<(String, Duration)> {
        let begun = Instant::now();
        let (found, _) = self.wait_after(0, pattern, limit).await?;
        Ok((found, begun.elapsed()))
    }

    /// Waits for a pattern behind the first `read` bytes of the [`text`](Self::text); what it matched, and where in the
    /// text that ends.
    ///
    /// # Errors
    ///
    /// When the time is over or the machine has given up, with its last lines.
    pub async fn wait_after(
        &self,
        read: usize,
        pattern: &str,
        limit: Duration,
    ) -> anyhow::Result<(String, usize)> {
        let (wanted, over) = (Regex::new(pattern)?, Regex::new(LAST_WORDS)?);
        let begun = Instant::now();
        loop {
            let text = self.text();
            if let Some(found) = text.get(read..).and_then(|it| wanted.find(it)) {
                return Ok((found.as_str().to_owned(), read + found.end()));
            }
            if over.is_match(&text) {
                bail!("the machine gave up before {pattern:?}\n{}", self.tail(30));
            }
            if begun.elapsed() > limit {
                bail!("{pattern:?} was not on the console within {limit:?}\n{}", self.tail(30));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The last lines, indented.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().map(str::trim_end).filter(|it| !it.is_empty()).collect();
        let last = &all[all.len().saturating_sub(lines)..];
        last.iter().map(|it| format!("    {it}")).collect::<Vec<_>>().join("\n")
    }
}

/// Takes escape sequences (ECMA-48 section 5.4) and carriage returns out.
fn strip(text: &str) -> String {
    static ESCAPES: std::sync::LazyLock<Regex> = std::sync::LazyLock::new(|| {
        Regex::new(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[@-Z\\-_a-z]|\r").expect("a fixed pattern")
    });
    ESCAPES.replace_all(text, "").into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::Console;

    #[tokio::test]
    async fn a_pattern_is_found_between_escape_sequences() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\x1b[2J\x1b[01;01H\x1bcnid001 lo\x1b[0mgin: \r\n").unwrap();
        let console = Console::at(file.path());
        let found = console.wait_for("nid[0-9]+ login:", Duration::ZERO).await.unwrap();
        assert_eq!(found.0, "nid001 login:");
        let (found, end) = console.wait_after(0, "nid", Duration::ZERO).await.unwrap();
        assert_eq!((found.as_str(), end), ("nid", 3));
        assert!(console.wait_after(end, "nid", Duration::ZERO).await.is_err());
        let error = console.wait_for("never", Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("nid001 login:"), "{error}");
        std::fs::write(file.path(), "Kernel panic - not syncing").unwrap();
        assert!(console.wait_for("never", Duration::from_secs(60)).await.is_err());
    }
}
