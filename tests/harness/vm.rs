//! Virtual machines: QEMU with KVM where that really works, else under TCG.

pub mod kvm;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::console::Console;
use crate::keyboard::Keyboard;
use crate::process::{Process, Run};
use crate::program::find;

/// UEFI's code, and the variables that each machine has a copy of.
const OVMF: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
/// The same for arm64.
const AAVMF: [&str; 2] = ["/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"];
/// What leaves OVMF nothing but HTTP boot (OvmfPkg/README, "Network Support").
const HTTP_ALONE: [&str; 3] = ["IPv4PXESupport", "IPv6PXESupport", "IPv6Support"];

/// What a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS; QEMU's NIC brings iPXE as its option ROM.
    Bios,
    /// OVMF with its own PXE; the NIC's ROM is left out, else that iPXE would be first.
    Uefi,
    /// The same, which boots by HTTP alone.
    UefiHttp,
    /// UEFI of an arm64 machine, by PXE.
    Arm64,
}

impl Firmware {
    fn is_uefi(self) -> bool {
        self != Self::Bios
    }
}

/// Where the serial line leads.
#[derive(Clone, Debug)]
pub enum Serial {
    /// To one end of a pair of pseudo-terminals, which outlives the machine.
    Pty(PathBuf),
    /// To a UNIX socket that QEMU listens on.
    Socket(PathBuf),
}

/// A machine as it is wired; started as often as one likes.
#[derive(Clone, Debug)]
pub struct Vm {
    name: String,
    folder: PathBuf,
    firmware: Firmware,
    memory_mib: u32,
    processors: u8,
    serial: Serial,
    more: Vec<String>,
}

impl Vm {
    /// A machine with 2 GiB and one processor whose files are in a folder of its own.
    #[must_use]
    pub fn new(name: &str, folder: impl Into<PathBuf>, firmware: Firmware) -> Self {
        let folder = folder.into();
        let serial = Serial::Socket(folder.join("serial.sock"));
        Self {
            name: name.to_owned(),
            folder,
            firmware,
            memory_mib: 2048,
            processors: 1,
            serial,
            more: Vec::new(),
        }
    }

    /// Another size.
    #[must_use]
    pub fn sized(mut self, memory_mib: u32, processors: u8) -> Self {
        self.memory_mib = memory_mib;
        self.processors = processors;
        self
    }

    /// Leads the serial line elsewhere.
    #[must_use]
    pub fn serial(mut self, serial: Serial) -> Self {
        self.serial = serial;
        self
    }

    /// A NIC on a tap. What boots from it, does so before any disk.
    #[must_use]
    pub fn nic(self, tap: &str, mac: &str, boots: bool) -> Self {
        let id = format!("n{}", self.more.len());
        let boot = match (boots, self.firmware) {
            (true, Firmware::Bios) => ",bootindex=1",
            (true, _) => ",bootindex=1,romfile=",
            (false, _) => ",romfile=",
        };
        self.with(["-netdev", &format!("tap,id={id},ifname={tap},script=no,downscript=no")])
            .with(["-device", &format!("virtio-net-pci,netdev={id},mac={mac}{boot}")])
    }

    /// A disk, `raw` or `qcow2`; what is written to it survives the machine, not a crash of ours.
    #[must_use]
    pub fn disk(self, path: &Path, format: &str, read_only: bool) -> Self {
        let index = self.more.len();
        let id = format!("d{index}");
        let mode = if read_only { "readonly=on" } else { "cache=unsafe" };
        self.with(["-drive", &format!("if=none,id={id},file={},format={format},{mode}", path.display())])
            .with(["-device", &format!("virtio-blk-pci,drive={id},bootindex={}", 10 + index)])
    }

    /// A disk that the guest finds by a name, `/dev/disk/by-id/virtio-<name>`.
    #[must_use]
    pub fn named_disk(self, path: &Path, format: &str, read_only: bool, name: &str) -> Self {
        let mut vm = self.disk(path, format, read_only);
        if let Some(device) = vm.more.last_mut() {
            device.push_str(&format!(",serial={name}"));
        }
        vm
    }

    /// A TPM behind the control socket of swtpm.
    #[must_use]
    pub fn tpm(self, socket: &Path) -> Self {
        self.with(["-chardev", &format!("socket,id=tpm0,path={}", socket.display())]).with([
            "-tpmdev",
            "emulator,id=tpm0,chardev=tpm0",
            "-device",
            "tpm-tis,tpmdev=tpm0",
        ])
    }

    /// Further arguments of QEMU.
    #[must_use]
    pub fn with<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.more.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// What it writes to its serial line, from its first start on.
    #[must_use]
    pub fn console(&self) -> Console {
        Console::at(self.folder.join("console.log"))
    }

    /// Switches it on.
    ///
    /// # Errors
    ///
    /// If QEMU or its firmware is not installed.
    pub fn start(&self) -> anyhow::Result<Process> {
        let arm = self.firmware == Firmware::Arm64;
        let qemu = match arm {
            true => find("qemu-system-aarch64", "qemu-system-arm")?,
            false => find("qemu-system-x86_64", "qemu-system-x86")?,
        };
        std::fs::create_dir_all(&self.folder).with_context(|| format!("make {}", self.folder.display()))?;
        let log = self.folder.join("console.log").display().to_string();
        let serial = match &self.serial {
            Serial::Pty(path) => format!("serial,id=s0,path={},logfile={log},logappend=on", path.display()),
            Serial::Socket(path) => {
                format!("socket,id=s0,path={},server=on,wait=off,logfile={log},logappend=on", path.display())
            }
        };
        let monitor = format!("unix:{},server=on,wait=off", self.monitor().display());
        let mut run = Run::new(&self.name, qemu, self.folder.join("qemu.log"))
            .args(["-name", &self.name, "-no-user-config", "-nodefaults", "-display", "none", "-vga", "none"])
            .args([
                "-machine",
                if arm { "virt" } else { "q35,graphics=off" },
                "-smp",
                &self.processors.to_string(),
            ])
            .args(["-m", &self.memory_mib.to_string()])
            .args(["-chardev", &serial, "-serial", "chardev:s0", "-monitor", &monitor])
            .args(["-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0"]);
        // qemu64 is the quickest under TCG: a larger CPU makes the guest choose instructions that TCG is slow at.
        run = match !arm && kvm::works()? {
            // UEFI boots from no network without random numbers, which it takes from this processor alone.
            _ if arm => run.args(["-accel", "tcg,thread=multi", "-cpu", "max"]),
            true => run.args(["-accel", "kvm", "-cpu", "host"]),
            false => run.args(["-accel", "tcg,thread=multi", "-cpu", "qemu64"]),
        };
        if self.firmware.is_uefi() {
            let [code, template] = if arm { AAVMF } else { OVMF };
            let variables = self.folder.join("variables.fd");
            if !variables.exists() {
                let copied = std::fs::copy(template, &variables);
                copied.with_context(|| format!("copy {template}; image/prepare installs it"))?;
            }
            run = run
                .args(["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={code}")])
                .args(["-drive", &format!("if=pflash,format=raw,unit=1,file={}", variables.display())]);
        }
        if self.firmware == Firmware::UefiHttp {
            for name in HTTP_ALONE {
                run = run.args(["-fw_cfg", &format!("name=opt/org.tianocore/{name},string=n")]);
            }
        }
        run.args(&self.more).spawn()
    }

    /// A place at its serial line, as long as it runs.
    ///
    /// # Errors
    ///
    /// If the machine is off, or its line leads elsewhere.
    pub async fn keyboard(&self) -> anyhow::Result<Keyboard> {
        match &self.serial {
            Serial::Socket(path) => Keyboard::attach(path, self.console()).await,
            Serial::Pty(path) => bail!("the serial line of {} is {}", self.name, path.display()),
        }
    }

    /// Sends a command to QEMU's monitor; no answer is read.
    ///
    /// # Errors
    ///
    /// If the machine is off.
    pub async fn tell(&self, command: &str) -> anyhow::Result<()> {
        let monitor = UnixStream::connect(self.monitor()).await;
        let mut monitor = monitor.with_context(|| format!("reach the monitor of {}", self.name))?;
        monitor.write_all(format!("{command}\n").as_bytes()).await.context("write to the monitor")
    }

    fn monitor(&self) -> PathBuf {
        self.folder.join("monitor.sock")
    }
}

/// A disk that begins as another and keeps what is written for itself.
///
/// # Errors
///
/// If qemu-img is not installed or fails.
pub fn overlay(base: &Path, overlay: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(find("qemu-img", "qemu-utils")?);
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(base).arg(overlay);
    if !command.status().context("run qemu-img")?.success() {
        bail!("qemu-img could not lay {} over {}", overlay.display(), base.display());
    }
    Ok(())
}
