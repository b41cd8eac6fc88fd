//! The TPM of a virtual machine: `swtpm`, which ends with the machine and is started again for its next start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::process::{Process, Run};
use crate::program::find;
use crate::settle;

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// A TPM with its state in a folder.
#[derive(Debug)]
pub struct Tpm {
    folder: PathBuf,
    _process: Process,
}

impl Tpm {
    /// Makes a TPM, and the public half of its endorsement key (P-256).
    ///
    /// # Errors
    ///
    /// If swtpm or tpm2-tools are not installed.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let swtpm = find("swtpm", "swtpm")?;
        let state = format!("dir={}", folder.display());
        let (server, control) = (folder.join("own"), folder.join("own.ctrl"));
        let channel = |path: &Path| format!("type=unixio,path={}", path.display());
        let own = Run::new("swtpm", &swtpm, folder.join("own.log"))
            .args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate", &state])
            .args(["--server", &channel(&server), "--ctrl", &channel(&control)])
            .spawn()?;
        let there = async || Ok((server.exists() && control.exists()).then_some(()));
        settle::until(START_MAX, "swtpm listens", there).await?;
        let made = Command::new(find("tpm2_createek", "tpm2-tools")?)
            .args(["-Q", "-c", "ek.ctx", "-G", "ecc", "-u", "ek.pub"])
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", server.display()))
            .current_dir(folder)
            .output()
            .context("run tpm2_createek")?;
        ensure!(made.status.success(), "tpm2_createek: {}", String::from_utf8_lossy(&made.stderr));
        own.stop(nix::sys::signal::Signal::SIGTERM, START_MAX).await?;
        // QEMU tells it to end when the machine does.
        let again = format!(
            "while :; do rm -f '{0}/ctrl'; '{1}' socket --tpm2 --tpmstate '{state}' \\
             --ctrl 'type=unixio,path={0}/ctrl' || sleep 1; done",
            folder.display(),
            swtpm.display()
        );
        let shell = Run::new("swtpm", "/bin/sh", folder.join("swtpm.log")).args(["-c", &again]);
        let process = shell.spawn()?;
        let tpm = Self { folder: folder.to_owned(), _process: process };
        let socket = tpm.socket();
        let there = async || Ok(socket.exists().then_some(()));
        settle::until(START_MAX, "swtpm listens for QEMU", there).await?;
        Ok(tpm)
    }

    /// Where QEMU finds it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("ctrl")
    }

    /// The public half of its endorsement key, as tpm2_createek writes it.
    #[must_use]
    pub fn endorsement_key(&self) -> PathBuf {
        self.folder.join("ek.pub")
    }
}
