//! What differs between two documents, by diff(1).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// How long it may take.
const DIFF_MAX: Duration = Duration::from_secs(10);
/// What is shown of it.
const SHOWN_MAX: usize = 8 << 10;

/// In the unified form, with these labels; a long one is cut.
///
/// # Errors
///
/// If diff(1) cannot be run.
pub(crate) async fn unified(old: (&str, &Path), new: (&str, &Path)) -> anyhow::Result<String> {
    let mut command = Command::new("/usr/bin/diff");
    command.args(["--unified", "--label", old.0, "--label", new.0, "--"]).arg(old.1).arg(new.1);
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DIFF_MAX, command.output()).await.context("diff(1) did not end")?;
    let output = output.context("run diff(1)")?;
    // 1 says that they differ.
    if !matches!(output.status.code(), Some(0 | 1)) {
        bail!("diff(1) ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.len() > SHOWN_MAX {
        let end = text.floor_char_boundary(SHOWN_MAX);
        text.truncate(end);
        text.push_str("\n…\n");
    }
    Ok(text)
}
