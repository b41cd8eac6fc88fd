//! A program on a terminal of its own, and somebody who reads the screen and types.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use tokio::process::{Child, Command};

use crate::{program, settle};

/// A program that was started on a terminal. Dropped, it is killed.
#[derive(Debug)]
pub struct Terminal {
    process: Child,
    keys: File,
    /// The program's end, which tells how it has set the terminal.
    line: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// What was read so far, in bytes.
    read: usize,
}

impl Terminal {
    /// Starts a program with these arguments; the terminal is its controlling one.
    ///
    /// # Errors
    ///
    /// If there is no terminal to be had, or the program cannot be run.
    pub fn start(command: &std::process::Command) -> anyhow::Result<Self> {
        let pair = openpty(None, None).context("open a terminal")?;
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("keep a terminal to ourselves")?;
        }
        let (keys, line) = (File::from(pair.master), File::from(pair.slave));
        let end = || line.try_clone().map(Stdio::from);
        let process = Command::new(program::find("setsid", "util-linux")?)
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("run {}", command.get_program().display()))?;
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut from, shown) = (keys.try_clone()?, Arc::clone(&screen));
        // It ends when the last of the program's ends is closed, which is ours.
        std::thread::Builder::new().name("screen".to_owned()).spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                shown.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..count]);
            }
        })?;
        Ok(Self { process, keys, line, screen, read: 0 })
    }

    /// All that was shown so far.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits for a text in what was not read yet, and reads up to its end.
    ///
    /// # Errors
    ///
    /// When the time is over, with all that was shown.
    pub async fn wait_for(&mut self, text: &str, limit: Duration) -> anyhow::Result<()> {
        let read = self.read;
        let what = format!("{text:?} is shown");
        let found = settle::until(limit, &what, async || {
            let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(memchr::memmem::find(&screen[read..], text.as_bytes()))
        });
        let found = found.await.with_context(|| format!("the screen shows:\n{}", self.screen()))?;
        self.read = read + found + text.len();
        Ok(())
    }

    /// Types.
    ///
    /// # Errors
    ///
    /// If the terminal is gone.
    pub fn send(&mut self, text: &str) -> anyhow::Result<()> {
        self.keys.write_all(text.as_bytes()).context("type on a terminal")
    }

    /// Whether the terminal shows what is typed and hands it on line by line, as a shell expects to find it.
    ///
    /// # Errors
    ///
    /// If the terminal is gone.
    pub fn is_cooked(&self) -> anyhow::Result<bool> {
        let flags = tcgetattr(&self.line).context("look at a terminal")?.local_flags;
        Ok(flags.contains(LocalFlags::ECHO | LocalFlags::ICANON))
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    ///
    /// When the time is over, with all that was shown.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        match tokio::time::timeout(limit, self.process.wait()).await {
            Ok(status) => status.context("wait for a program"),
            Err(_) => anyhow::bail!("the program did not end within {limit:?}:\n{}", self.screen()),
        }
    }
}
