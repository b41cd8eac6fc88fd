//! Outside programs: a full path, an argument list, perhaps bytes on stdin, a timeout, an error that holds
//! their stderr.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What is shown of a program's stderr.
const STDERR_MAX: usize = 2000;

/// A program to run.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its full path.
    pub(crate) path: &'static str,
    /// Its arguments; never a secret.
    pub(crate) arguments: Vec<String>,
    /// What it reads on stdin; this may be a secret.
    pub(crate) input: Vec<u8>,
    /// How long it may take.
    pub(crate) limit: Duration,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.path, self.arguments)
    }
}

impl Program {
    pub(crate) fn new(path: &'static str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        Self { path, arguments, input: Vec::new(), limit: Duration::from_secs(60) }
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it and gives what it wrote to stdout.
    ///
    /// # Errors
    ///
    /// If it cannot be run, takes too long or does not end with 0.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let path = Path::new(self.path);
        self.run_as(path).await
    }

    /// Likewise, the program being there.
    pub(crate) async fn run_as(&self, path: &Path) -> anyhow::Result<String> {
        let mut command = Command::new(path);
        command.args(&self.arguments).env("LC_ALL", "C.UTF-8");
        run_command(command, self.path, &self.input, self.limit).await
    }
}

/// Runs a command: no terminal, nothing of it outlives us.
pub(crate) async fn run_command(
    mut command: Command,
    name: &str,
    input: &[u8],
    limit: Duration,
) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input closes it; its exit status tells whether that was right.
            match stdin.write_all(input).await {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(limit, work)
        .await
        .with_context(|| format!("{name} did not end within {limit:?}"))?
        .with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said: String = stderr.trim().chars().take(STDERR_MAX).collect();
        bail!("{name} ended with {}: {said}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
