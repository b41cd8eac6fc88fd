//! Whether KVM really works. Opening `/dev/kvm` says little: there are machines that give it and then cannot run
//! all that firmware and kernels do. So a small machine does what nodes will do: SeaBIOS, iPXE, and Linux as far as
//! it goes without a root.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::folder::Folder;
use crate::program::{find, top};

/// Under KVM the proof takes five seconds.
const PROOF_MAX: Duration = Duration::from_secs(15);
/// What was found out already, for processes that we start.
pub const VARIABLE: &str = "PILOTHOUSE_KVM";
/// A kernel that virtual machines boot anyhow.
const KERNEL: &str = "target/image/compute/vmlinuz";
/// What Linux says when it has done all it can.
const PROOF: &str = "Unable to mount root fs";

/// Whether machines are to run under KVM.
///
/// # Errors
///
/// If QEMU is not installed.
pub fn works() -> anyhow::Result<bool> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let works = match std::env::var(VARIABLE).as_deref() {
        Ok("yes") => true,
        Ok("no") => false,
        _ => prove()?,
    };
    Ok(*KNOWN.get_or_init(|| works))
}

fn prove() -> anyhow::Result<bool> {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err()
        || !top().join(KERNEL).exists()
    {
        return Ok(false);
    }
    let folder = Folder::make("kvm")?;
    let (kernel, script) = (folder.path().join("vmlinuz"), folder.path().join("proof.ipxe"));
    std::fs::copy(top().join(KERNEL), kernel).context("copy the kernel")?;
    std::fs::write(script, "#!ipxe\nkernel vmlinuz console=ttyS0 panic=-1\nboot\n")
        .context("write a script")?;
    let serial = folder.path().join("serial.log");
    let mut child = command(folder.path(), &serial)?.spawn().context("run QEMU")?;
    let mut input = child.stdin.take().context("speak QMP")?;
    let output = child.stdout.take().context("read QMP")?;
    input.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").context("speak QMP")?;
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        // Ends with the machine; a receiver that is gone has decided already.
        BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|it| sender.send(it))
            .unwrap_or_default();
    });
    let begun = Instant::now();
    // A machine that KVM cannot run on is stopped (internal error); one that has panicked resets, which ends it.
    loop {
        match lines.recv_timeout(PROOF_MAX.saturating_sub(begun.elapsed())) {
            Ok(line) if line.contains("\"STOP\"") => break,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    child.kill().context("end QEMU")?;
    child.wait().context("wait for QEMU")?;
    if reader.join().is_err() {
        eprintln!("the reader of QMP panicked");
    }
    let said = std::fs::read(serial).unwrap_or_default();
    Ok(String::from_utf8_lossy(&said).contains(PROOF))
}

fn command(folder: &Path, serial: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(find("qemu-system-x86_64", "qemu-system-x86")?);
    command.args(["-no-user-config", "-nodefaults", "-display", "none", "-machine", "q35,graphics=off"]);
    command.args(["-accel", "kvm", "-cpu", "host", "-m", "256", "-no-reboot", "-qmp", "stdio", "-serial"]);
    command.arg(format!("file:{}", serial.display()));
    command
        .arg("-netdev")
        .arg(format!("user,id=n0,restrict=on,tftp={},bootfile=proof.ipxe", folder.display()));
    command.args(["-device", "virtio-net-pci,netdev=n0,bootindex=1"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    /// What is found out here is what all machines of the tests run under; the line says which.
    #[test]
    fn kvm_is_used_only_where_it_is_given() {
        let (given, works) = (std::path::Path::new("/dev/kvm").exists(), super::works().unwrap());
        println!(
            "KVM is {}given and {}used",
            if given { "" } else { "not " },
            if works { "" } else { "not " }
        );
        assert!(given || !works);
    }
}
