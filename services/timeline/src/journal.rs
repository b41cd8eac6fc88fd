//! The journal, as `journalctl` tells it: everything that is wanted, from where it was left, and then as it comes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// The longest line that is read. journalctl leaves out fields above 4 KiB, and the fields are named.
const LINE_MAX: usize = 256 << 10;
/// What is kept of journalctl's last words.
const ERRORS_MAX: u64 = 4 << 10;
/// What is read of an entry.
const FIELDS: &str = "MESSAGE,_UID,_COMM,SYSLOG_IDENTIFIER,PILOTHOUSE_AUDIT,PILOTHOUSE_ACTOR,PILOTHOUSE_WHENCE,\
PILOTHOUSE_RESULT,PILOTHOUSE_NODE";
/// The audit's own entries and those of sshd, which calls itself otherwise since 9.8.
const WANTED: [&str; 5] = ["PILOTHOUSE_AUDIT=1", "+", "_COMM=sshd", "+", "_COMM=sshd-session"];

static TOO_LONG: LazyLock<Counter> = LazyLock::new(|| {
    web::counter("audit_too_long", "Entries of the journal that were left out: they are too long")
});

/// Where the journal is, and whose.
#[derive(Clone, Debug)]
pub struct Journal {
    program: PathBuf,
    folder: PathBuf,
    head: String,
}

impl Journal {
    /// This machine's own, if systemd started us: without it entries go to stderr, and there is nothing to follow.
    /// What other machines sent here (systemd-journal-remote) is in other folders, and proves nothing.
    #[must_use]
    pub fn of_systemd() -> Option<Self> {
        std::env::var_os("JOURNAL_STREAM")?;
        let head = std::fs::read_to_string("/etc/machine-id").ok()?.trim().to_owned();
        let kept = Path::new("/var/log/journal").join(&head);
        let folder = if kept.is_dir() { kept } else { Path::new("/run/log/journal").join(&head) };
        Some(Self { program: "/usr/bin/journalctl".into(), folder, head })
    }

    /// The journal of a head in this folder, told by this program.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, folder: impl Into<PathBuf>, head: &str) -> Self {
        Self { program: program.into(), folder: folder.into(), head: head.to_owned() }
    }

    /// The head, by its machine's id.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// Every entry behind the cursor, of all boots; then as they come.
    pub(crate) fn follow(&self, after: Option<&str>) -> io::Result<Lines> {
        let mut command = Command::new(&self.program);
        command.arg("--directory").arg(&self.folder);
        // Without --merge, --follow shows the last boot alone, whatever the cursor says.
        command.args(["--merge", "--follow", "--no-tail", "--no-pager", "--quiet", "--output=json"]);
        command.arg(format!("--output-fields={FIELDS}"));
        if let Some(cursor) = after {
            command.arg(format!("--after-cursor={cursor}"));
        }
        command.args(WANTED).env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let reader = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(Lines { child, reader, line: Vec::new(), skips: false })
    }
}

/// What journalctl prints; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Lines {
    child: Child,
    reader: BufReader<ChildStdout>,
    line: Vec<u8>,
    /// The rest of a line that is too long.
    skips: bool,
}

impl Lines {
    /// The next line; none: journalctl has ended. Whoever stops waiting may ask again, nothing is lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let room = (LINE_MAX + 1).saturating_sub(self.line.len());
            let mut part = (&mut self.reader).take(room as u64);
            let count = part.read_until(b'\n', &mut self.line).await?;
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.skips) {
                    return Ok(Some(line));
                }
            } else if count == 0 {
                return Ok(None);
            } else if self.line.len() > LINE_MAX {
                if !self.skips {
                    TOO_LONG.inc();
                }
                self.skips = true;
                self.line.clear();
            }
        }
    }

    /// Why it ended.
    pub(crate) async fn end(mut self) -> io::Error {
        let mut errors = String::new();
        if let Some(stderr) = self.child.stderr.take()
            && let Err(error) = stderr.take(ERRORS_MAX).read_to_string(&mut errors).await
        {
            return error;
        }
        match self.child.wait().await {
            Ok(status) => io::Error::other(format!("journalctl ended with {status}: {}", errors.trim())),
            Err(error) => error,
        }
    }
}
