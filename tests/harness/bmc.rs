//! Simulated BMCs: `ipmi_sim` in front of a virtual machine, power by its `chassis_control` program, serial over LAN
//! by a pair of pseudo-terminals that outlives every start of the machine.

mod chassis;
mod tpm;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::console::Console;
use crate::net::{self, Net};
use crate::node::Node;
use crate::process::{Process, Run};
use crate::program::find;
use crate::settle;
use crate::vm::{Serial, Vm, kvm};

pub use chassis::Chassis;
pub use tpm::Tpm;

/// The account of every BMC here.
pub const USER: &str = "admin";
/// Its password; these BMCs hold nothing.
pub const PASSWORD: &str = "secret12";
/// IPMI over LAN (IPMI 2.0 section 13.1.2).
const PORT: u16 = 623;
/// How long a simulator may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// A BMC and its node.
#[derive(Debug)]
pub struct Bmc {
    node: Node,
    folder: PathBuf,
    vm: Vm,
    chassis: Arc<Chassis>,
    simulator: Option<Process>,
    _terminals: Process,
    tpm: Option<Tpm>,
    // Aborted when dropped.
    _serving: JoinSet<()>,
}

impl Bmc {
    /// Wires a node up: tap, terminals, BMC. It is off.
    ///
    /// # Errors
    ///
    /// If a tool is not installed or an address is taken.
    pub async fn start(net: &Net, folder: &Path, node: Node) -> anyhow::Result<Self> {
        // Found out now, not while a BMC's client waits.
        tokio::task::spawn_blocking(kvm::works).await.context("look for KVM")??;
        let folder = folder.join(node.name());
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        net.add_tap(net::BRIDGE, &node.tap())?;
        net.add_address(&format!("{}/24", node.bmc_address()))?;
        // ipmi_sim's lock on a terminal goes by the last part of its path.
        let [ours, machines] = ["bmc", "tty"].map(|it| folder.join(format!("{}.{it}", node.name())));
        let end = |path: &Path| format!("PTY,link={},raw,echo=0", path.display());
        let socat = find("socat", "socat")?;
        let terminals =
            Run::new("socat", socat, folder.join("socat.log")).arg(end(&ours)).arg(end(&machines));
        let terminals = terminals.spawn()?;
        let vm = Vm::new(&node.name(), &folder, node.firmware).serial(Serial::Pty(machines.clone()));
        let mut vm = vm.nic(&node.tap(), &node.mac(), true);
        let tpm = if node.tpm { Some(Tpm::start(&folder.join("tpm")).await?) } else { None };
        if let Some(tpm) = &tpm {
            vm = vm.tpm(&tpm.socket());
        }
        settle::until(START_MAX, "the terminals are there", async || {
            Ok((ours.exists() && machines.exists()).then_some(()))
        })
        .await?;
        let chassis = Arc::new(Chassis::new(vm.clone()));
        let serving = chassis.serve(&folder.join("chassis.sock"))?;
        let (_terminals, _serving) = (terminals, serving);
        let mut bmc = Self { node, folder, vm, chassis, simulator: None, tpm, _terminals, _serving };
        bmc.write_files(&ours)?;
        bmc.resume().await?;
        Ok(bmc)
    }

    /// The node behind it.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its TPM, if it has one.
    #[must_use]
    pub fn tpm(&self) -> Option<&Tpm> {
        self.tpm.as_ref()
    }

    /// What the machine wrote to its serial line, whether or not anybody listened over the network.
    #[must_use]
    pub fn console(&self) -> Console {
        self.vm.console()
    }

    /// The node's power, past the BMC.
    #[must_use]
    pub fn chassis(&self) -> &Chassis {
        &self.chassis
    }

    /// Takes the BMC off the network, as a pulled cable would; the node runs on.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.simulator.take() {
            Some(simulator) => simulator.stop(Signal::SIGKILL, START_MAX).await.map(drop),
            None => Ok(()),
        }
    }

    /// Brings the BMC back; it has forgotten its sessions.
    ///
    /// # Errors
    ///
    /// If it does not listen in time.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let simulator = find("ipmi_sim", "openipmi")?;
        // What it remembers from an earlier run would win over its configuration.
        let state = self.folder.join("state");
        if state.exists() {
            std::fs::remove_dir_all(&state).context("forget the BMC's state")?;
        }
        std::fs::create_dir(&state).context("make the BMC's state")?;
        let run = Run::new("ipmi_sim", simulator, self.folder.join("ipmi_sim.log")).folder(&self.folder);
        let process = run.args(["-c", "lan.conf", "-f", "node.emu", "-s", "state", "-n"]).spawn()?;
        let address = self.node.bmc_address();
        settle::until(START_MAX, "the BMC listens", async || {
            if !process.is_running() {
                bail!("ipmi_sim of {} ended\n{}", self.node.name(), process.tail(10));
            }
            Ok(listens(address)?.then_some(()))
        })
        .await?;
        self.simulator = Some(process);
        Ok(())
    }

    fn write_files(&self, terminal: &Path) -> anyhow::Result<()> {
        let script = self.folder.join("chassis");
        let socket = self.folder.join("chassis.sock");
        std::fs::write(
            &script,
            include_str!("bmc/chassis.sh").replace("@SOCKET@", &socket.to_string_lossy()),
        )?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let configuration = include_str!("bmc/lan.conf")
            .replace("@NAME@", &self.node.name())
            .replace("@ADDRESS@", &self.node.bmc_address().to_string())
            .replace("@PORT@", &PORT.to_string())
            .replace("@GUID@", &format!("{:032x}", 0xb0_0000 + u32::from(self.node.nid)))
            .replace("@CHASSIS@", &script.to_string_lossy())
            .replace("@TERMINAL@", &terminal.to_string_lossy())
            .replace("@USER@", USER)
            .replace("@PASSWORD@", PASSWORD);
        std::fs::write(self.folder.join("lan.conf"), configuration)?;
        std::fs::write(self.folder.join("node.emu"), include_str!("bmc/node.emu"))?;
        Ok(())
    }
}

/// Whether somebody listens on the BMC's port (proc(5): addresses in the host's byte order, in hexadecimal).
fn listens(address: Ipv4Addr) -> anyhow::Result<bool> {
    let wanted = format!("{:08X}:{PORT:04X}", u32::from_le_bytes(address.octets()));
    let table = std::fs::read_to_string("/proc/net/udp").context("read /proc/net/udp")?;
    Ok(table.lines().any(|it| it.split_whitespace().nth(1) == Some(&wanted)))
}
