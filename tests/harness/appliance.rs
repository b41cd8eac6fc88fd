//! The head image in a virtual machine, set up by an answer file, reached as an administrator reaches it: by SSH.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use crate::console::Console;
use crate::head::Events;
use crate::keyboard::Keyboard;
use crate::net::{self, Net};
use crate::process::Process;
use crate::program::{find, top};
use crate::settle;
use crate::steps::Steps;
use crate::vm::{self, Firmware, Vm};
use crate::{bmc, program};

/// The administrator of the demo.
pub const ADMIN: &str = "demo";
/// The head's NIC.
pub const MAC: &str = "52:54:00:10:00:fe";
/// The head's address.
pub const ADDRESS: &str = "172.16.0.254";
/// Where the image is.
const IMAGE: &str = "target/image/head/pilothouse.raw";
/// The volume with the answer.
const SEED: &str = "seed.raw";
/// How long a first boot may take: `initdb` under TCG on two busy cores.
const BOOT_MAX: Duration = Duration::from_secs(300);

/// A head that runs.
#[derive(Debug)]
pub struct Appliance {
    vm: Vm,
    machine: Option<Process>,
    folder: PathBuf,
    events: Option<Events>,
}

impl Appliance {
    /// Wires a new head up in a folder: a disk of its own over the image, and perhaps an answer. It is off.
    ///
    /// # Errors
    ///
    /// If the image was not built, or a tool is missing.
    pub fn wire(
        net: &Net,
        folder: &Path,
        answer: Option<&str>,
        images: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let image = top().join(IMAGE);
        if !image.exists() {
            bail!("there is no head image; run `cargo xtask image --dev`");
        }
        let image = image.canonicalize().context("find the head image")?;
        let folder = folder.join("head-vm");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        net.add_tap(net::BRIDGE, "tap-head")?;
        let disk = folder.join("head.qcow2");
        vm::overlay(&image, &disk)?;
        let mut vm = Vm::new("head", &folder, Firmware::Uefi).sized(2048, 2);
        vm = vm.disk(&disk, "qcow2", false).nic("tap-head", MAC, false);
        if let Some(answer) = answer {
            let seed = folder.join(SEED);
            make_seed(&seed, answer)?;
            vm = vm.disk(&seed, "raw", false);
        }
        if let Some(images) = images {
            let disk = folder.join("images.raw");
            make_file_system(&disk, images)?;
            vm = vm.named_disk(&disk, "raw", true, "images");
        }
        make_key(&folder)?;
        Ok(Self { vm, machine: None, folder, events: None })
    }

    /// Gives a head that is off a NIC on each network beside the nodes' one.
    ///
    /// # Errors
    ///
    /// If the networks cannot be made.
    pub fn add_sides(&mut self, net: &Net) -> anyhow::Result<()> {
        for side in net::SIDES {
            net.add_bridge(side.bridge)?;
            net.add_tap(side.bridge, side.tap)?;
            self.vm = self.vm.clone().nic(side.tap, side.mac, false);
        }
        Ok(())
    }

    /// Leaves another answer on the volume of a head that was wired with one and is off.
    ///
    /// # Errors
    ///
    /// If it is on, has no such volume, or a tool is missing.
    pub fn leave_answer(&self, answer: &str) -> anyhow::Result<()> {
        let seed = self.folder.join(SEED);
        if self.machine.is_some() || !seed.exists() {
            bail!("an answer is left on the volume of a head that is off");
        }
        make_seed(&seed, answer)
    }

    /// Switches it on.
    ///
    /// # Errors
    ///
    /// If QEMU does not start.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.machine = Some(self.vm.start()?);
        Ok(())
    }

    /// Waits until the target is reached, and follows the journal from its beginning.
    ///
    /// # Errors
    ///
    /// If it is not reached in time, with the console's last lines and the units that failed.
    pub async fn wait(&mut self, steps: &mut Steps) -> anyhow::Result<()> {
        self.console().wait_for("BdsDxe: starting|Booting|Linux version", BOOT_MAX).await?;
        steps.reach("head", "UEFI");
        let ready = settle::until(BOOT_MAX, "pilothouse.target is active", async || {
            if !self.machine.as_ref().is_some_and(Process::is_running) {
                bail!("the head's machine ended");
            }
            tokio::task::yield_now().await;
            Ok(self.run("systemctl is-active pilothouse.target", "").ok())
        });
        if let Err(error) = ready.await {
            let units =
                self.run("systemctl --failed --no-legend --plain; systemctl list-jobs --no-legend", "");
            let units = units.unwrap_or_else(|it| format!("{it:#}"));
            return Err(error.context(format!(
                "the console:\n{}\nfailed units and jobs:\n{units}",
                self.console().tail(30)
            )));
        }
        steps.reach("head", "pilothouse.target");
        self.follow_journal()
    }

    /// What it writes to its serial line.
    #[must_use]
    pub fn console(&self) -> Console {
        self.vm.console()
    }

    /// A place at its serial line.
    ///
    /// # Errors
    ///
    /// If it is off.
    pub async fn keyboard(&self) -> anyhow::Result<Keyboard> {
        self.vm.keyboard().await
    }

    /// Boot events, from its journal; there are none before [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// If it is not up yet.
    pub fn events(&self) -> anyhow::Result<&Events> {
        self.events.as_ref().context("the head is not up yet")
    }

    /// Runs a shell command on it as the administrator; what it prints.
    ///
    /// # Errors
    ///
    /// If it fails, with what it printed.
    pub fn run(&self, command: &str, input: &str) -> anyhow::Result<String> {
        let mut ssh = self.ssh(command)?;
        program::converse(&mut ssh, input).with_context(|| format!("on the head: {command}"))
    }

    /// Restarts it from within, and waits until it takes commands again and tells of its new boot.
    ///
    /// # Errors
    ///
    /// If it does not come back in time, with the console's last lines.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let boot = "cat /proc/sys/kernel/random/boot_id";
        let before = self.run(boot, "")?;
        self.events = None;
        // The connection may be gone before the command's end is told, and its keeper with it: the boot id tells.
        if let Err(error) = self.run("sudo systemctl --no-block reboot", "") {
            eprintln!("the connection ended with the boot: {error:#}");
        }
        // Connections that are kept would wait for a machine that has forgotten them.
        let mut hang_up = self.connection()?;
        if let Err(error) = program::converse(hang_up.args(["-O", "exit"]).arg(ADDRESS), "") {
            eprintln!("nothing to hang up: {error:#}");
        }
        let back = settle::until(BOOT_MAX, "the head is back", async || {
            tokio::task::yield_now().await;
            let now = self.run(boot, "").ok();
            if now.as_ref() == Some(&before) {
                return Ok(None);
            }
            Ok(now)
        });
        back.await.with_context(|| format!("the console:\n{}", self.console().tail(30)))?;
        self.follow_journal()
    }

    fn follow_journal(&mut self) -> anyhow::Result<()> {
        let journal = self.ssh("sudo journalctl --boot --follow --lines=all --output=json")?;
        self.events = Some(Events::follow(tokio::process::Command::from(journal))?);
        Ok(())
    }

    /// Shuts it down as its power button does.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn shut_down(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.events = None;
        let Some(machine) = self.machine.take() else { return Ok(()) };
        self.vm.tell("system_powerdown").await?;
        if tokio::time::timeout(limit, machine.ended()).await.is_err() {
            bail!("the head did not shut down within {limit:?}\n{}", self.console().tail(20));
        }
        Ok(())
    }

    /// Pulls its plug.
    ///
    /// # Errors
    ///
    /// If QEMU does not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.events = None;
        match self.machine.take() {
            Some(machine) => machine.stop(Signal::SIGKILL, Duration::from_secs(10)).await.map(drop),
            None => Ok(()),
        }
    }

    fn ssh(&self, command: &str) -> anyhow::Result<Command> {
        let mut ssh = self.connection()?;
        ssh.arg(format!("{ADMIN}@{ADDRESS}")).arg("--").arg(command);
        Ok(ssh)
    }

    /// `ssh` with its options, and one connection for all commands: a handshake costs a second under TCG.
    fn connection(&self) -> anyhow::Result<Command> {
        let mut ssh = Command::new(find("ssh", "openssh-client")?);
        ssh.arg("-i").arg(self.folder.join("key"));
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "ConnectTimeout=5",
            "ServerAliveInterval=10",
            "ControlMaster=auto",
            "ControlPersist=yes",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-o").arg(format!("ControlPath={}", self.folder.join("ssh.sock").display()));
        Ok(ssh)
    }
}

/// What the answer file says of the networks beside the nodes' one.
#[must_use]
pub fn sides() -> String {
    let plane = |side: &net::Side| {
        let net::Side { kind, mac, head, .. } = side;
        format!(
            "[[network.planes]]\nname = \"{kind}\"\nkind = \"{kind}\"\ninterface = \"{mac}\"\naddresses = [\"{head}\"]\n"
        )
    };
    net::SIDES.iter().map(plane).collect()
}

/// The answer file of the demo: one plane, one administrator with this public key, the BMCs' account.
///
/// # Errors
///
/// If the key cannot be made or read.
pub fn answer(folder: &Path) -> anyhow::Result<String> {
    let folder = folder.join("head-vm");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    make_key(&folder)?;
    let key = std::fs::read_to_string(folder.join("key.pub")).context("read the public key")?;
    let (key, head, user, password) = (key.trim(), net::HEAD, bmc::USER, bmc::PASSWORD);
    Ok(format!(
        r#"version = 1
[cluster]
name = "demo"
domain = "openchami.cluster"
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "{MAC}"
addresses = ["{head}"]
[[network.planes.subnets]]
cidr = "172.16.0.0/24"
range = "172.16.0.200-172.16.0.250"
[admins.{ADMIN}]
ssh_keys = ["{key}"]
[secrets.bmc]
user = "{user}"
password = "{password}"
"#
    ))
}

fn make_key(folder: &Path) -> anyhow::Result<()> {
    if folder.join("key").exists() {
        return Ok(());
    }
    let mut keygen = Command::new(find("ssh-keygen", "openssh-client")?);
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"]).arg(folder.join("key"));
    program::converse(&mut keygen, "").map(drop)
}

/// A volume labelled `PH_SEED` with the answer file.
fn make_seed(seed: &Path, answer: &str) -> anyhow::Result<()> {
    let file = std::fs::File::create(seed).with_context(|| format!("make {}", seed.display()))?;
    file.set_len(4 << 20).context("size the seed")?;
    let mut mkfs = Command::new(find("mkfs.vfat", "dosfstools")?);
    program::converse(mkfs.args(["-n", "PH_SEED"]).arg(seed), "")?;
    let mut mcopy = Command::new(find("mcopy", "mtools")?);
    program::converse(mcopy.arg("-i").arg(seed).args(["-", "::pilothouse.toml"]), answer).map(drop)
}

/// A file system with a folder's files, labelled `images`.
fn make_file_system(disk: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut bytes: u64 = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        bytes += entry?.metadata()?.len();
    }
    let file = std::fs::File::create(disk).with_context(|| format!("make {}", disk.display()))?;
    file.set_len((bytes + (bytes >> 3) + (32 << 20)) >> 20 << 20).context("size the disk")?;
    let mut mke2fs = Command::new(find("mke2fs", "e2fsprogs")?);
    mke2fs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", "images", "-d"]);
    let text = program::converse(mke2fs.arg(folder).arg(disk), "")?;
    anyhow::ensure!(text.is_empty(), "mke2fs: {text}");
    Ok(())
}
