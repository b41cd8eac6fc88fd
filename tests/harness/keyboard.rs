//! Somebody at a machine's serial line: reads what is new there, and types lines.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::task::JoinHandle;

use crate::console::Console;
use crate::settle;

/// How long a machine that was just started may take until its line is there.
const ATTACH_MAX: Duration = Duration::from_secs(10);

/// A person's place at a serial line.
#[derive(Debug)]
pub struct Keyboard {
    line: OwnedWriteHalf,
    console: Console,
    /// What was read so far, in bytes of the console's text.
    read: usize,
    reader: JoinHandle<()>,
}

impl Keyboard {
    /// Sits down at the UNIX socket of a machine that runs; what it writes is read from its log.
    ///
    /// # Errors
    ///
    /// If the machine is off.
    pub async fn attach(socket: &Path, console: Console) -> anyhow::Result<Self> {
        // QEMU listens a moment after it was started.
        let what = format!("the serial line {} is there", socket.display());
        let connect = async || Ok(UnixStream::connect(socket).await.ok());
        let stream = settle::until(ATTACH_MAX, &what, connect).await?;
        let (mut from, line) = stream.into_split();
        // QEMU stops the guest's line when nobody takes what comes; the log has it all.
        let reader = tokio::spawn(async move {
            if let Err(error) = tokio::io::copy(&mut from, &mut tokio::io::sink()).await {
                eprintln!("the serial line is lost: {error}");
            }
        });
        Ok(Self { line, console, read: 0, reader })
    }

    /// Waits for a pattern in what was not read yet, and reads up to its end; what it matched.
    ///
    /// # Errors
    ///
    /// When the time is over or the machine has given up, with its last lines.
    pub async fn wait_for(&mut self, pattern: &str, limit: Duration) -> anyhow::Result<String> {
        let (found, end) = self.console.wait_after(self.read, pattern, limit).await?;
        self.read = end;
        Ok(found)
    }

    /// Types a line and the Enter key.
    ///
    /// # Errors
    ///
    /// If the machine is off.
    pub async fn send_line(&mut self, text: &str) -> anyhow::Result<()> {
        self.line.write_all(format!("{text}\r").as_bytes()).await.context("type on the serial line")
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
