//! The cluster's network inside a lab: a bridge, the head's and the BMCs' addresses on it, taps for virtual machines,
//! namespaces for clients.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use crate::lab;
use crate::process::{Process, Run};
use crate::program::find;

/// The bridge.
pub const BRIDGE: &str = "br0";
/// The head's address with its prefix.
pub const HEAD: &str = "172.16.0.254/24";

/// A network that the head has a NIC on beside the nodes' one.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Its kind in the document, and its name.
    pub kind: &'static str,
    /// Its bridge.
    pub bridge: &'static str,
    /// The head's tap on it.
    pub tap: &'static str,
    /// The head's NIC on it.
    pub mac: &'static str,
    /// The head's address on it with its prefix.
    pub head: &'static str,
    /// A client's there.
    pub client: &'static str,
}

/// The networks beside the nodes'.
pub const SIDES: [Side; 2] = [
    Side {
        kind: "site",
        bridge: "br-site",
        tap: "tap-site",
        mac: "52:54:00:10:01:fe",
        head: "172.17.0.254/24",
        client: "172.17.0.1/24",
    },
    Side {
        kind: "bmc",
        bridge: "br-bmc",
        tap: "tap-bmc",
        mac: "52:54:00:10:02:fe",
        head: "172.18.0.254/24",
        client: "172.18.0.1/24",
    },
];

/// The network of this lab; a lab has one.
#[derive(Debug)]
pub struct Net {
    folder: std::path::PathBuf,
}

/// A machine on the bridge that is nothing but a network namespace.
#[derive(Debug)]
pub struct Client {
    holder: Process,
}

impl Net {
    /// Makes the bridge; logs of clients go to `folder`.
    ///
    /// # Errors
    ///
    /// Outside a lab, where it would change the machine's own network.
    pub fn up(folder: impl Into<std::path::PathBuf>) -> anyhow::Result<Self> {
        if !lab::is_inside() {
            bail!("a network is made inside a lab alone");
        }
        // Not every machine lets a namespace bind small ports without a capability; here every service may.
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
            .context("open the small ports")?;
        ip("link set lo up\n")?;
        let net = Self { folder: folder.into() };
        net.add_bridge(BRIDGE)?;
        Ok(net)
    }

    /// One more bridge, which nothing joins to the others.
    ///
    /// # Errors
    ///
    /// If it is there already.
    pub fn add_bridge(&self, name: &str) -> anyhow::Result<()> {
        ip(&format!("link add {name} type bridge stp_state 0 forward_delay 0\nlink set {name} up\n"))
    }

    /// Gives the bridge one more address, `172.16.0.254/24`.
    ///
    /// # Errors
    ///
    /// If it is no address, or there already.
    pub fn add_address(&self, address: &str) -> anyhow::Result<()> {
        ip(&format!("address add {address} dev {BRIDGE}\n"))
    }

    /// A tap on a bridge for a virtual machine.
    ///
    /// # Errors
    ///
    /// If /dev/net/tun is closed to us.
    pub fn add_tap(&self, bridge: &str, name: &str) -> anyhow::Result<()> {
        ip(&format!("tuntap add {name} mode tap\nlink set {name} master {bridge} up\n"))
            .with_context(|| format!("make the tap {name}; is /dev/net/tun there and open to you?"))
    }

    /// A namespace whose `eth0` has this MAC and is on a bridge.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub async fn add_client(&self, bridge: &str, name: &str, mac: &str) -> anyhow::Result<Client> {
        let log = self.folder.join(format!("{name}.log"));
        // It says when its namespace is there; then it only holds it.
        let script = "echo made; exec sleep infinity";
        let unshare = find("unshare", "util-linux")?;
        let holder = Run::new(name, unshare, &log).args(["--net", "--", "/bin/sh", "-c", script]).spawn()?;
        let limit = std::time::Duration::from_secs(10);
        crate::settle::until(limit, "the namespace is made", async || {
            Ok(holder.tail(1).contains("made").then_some(()))
        })
        .await?;
        let client = Client { holder };
        let port = format!("p-{name}");
        ip(&format!(
            "link add {port} type veth peer name eth0 address {mac} netns {}\nlink set {port} master {bridge} up\n",
            client.holder.pid()
        ))?;
        client.run("ip", &["link", "set", "lo", "up"])?;
        client.run("ip", &["link", "set", "eth0", "up"])?;
        Ok(client)
    }
}

impl Client {
    /// A command inside the client's namespace.
    ///
    /// # Errors
    ///
    /// If the program is not installed.
    pub fn command(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(find("nsenter", "util-linux")?);
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.pid())).arg("--");
        command.arg(find(program, program)?).args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// The pid of what holds its namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// Its namespace, as setns(2) takes it.
    #[must_use]
    pub fn namespace(&self) -> std::path::PathBuf {
        format!("/proc/{}/ns/net", self.holder.pid()).into()
    }

    /// Runs a command inside the client's namespace; what it prints.
    ///
    /// # Errors
    ///
    /// If it fails, with what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(program, arguments)?.output().with_context(|| format!("run {program}"))?;
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        if !output.status.success() {
            bail!("{program} {}: {}\n{text}", arguments.join(" "), output.status);
        }
        Ok(text)
    }

    /// Takes the client off the network.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub async fn remove(self) -> anyhow::Result<()> {
        self.holder.stop(Signal::SIGKILL, std::time::Duration::from_secs(5)).await.map(drop)
    }
}

/// Runs ip(8) on lines of commands; the first that fails ends it.
pub(crate) fn ip(lines: &str) -> anyhow::Result<()> {
    let mut command = Command::new(find("ip", "iproute2")?);
    let mut child = command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("write to ip")?;
    input.write_all(lines.as_bytes()).context("write to ip")?;
    drop(input);
    let output = child.wait_with_output().context("wait for ip")?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
