//! Where a fleet lives: a network namespace on the lab's bridge, with an address for each node at no cost (the whole
//! network of theirs is local there), or a thread in any namespace.

use std::fmt::Write as _;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use domain::MacAddr;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use toml::Table;

use super::{Firmware, Node};
use crate::net::{self, Client, Net};
use crate::{document, program};

/// The head's address on the fleet's network; the whole of it is one network to machines.
pub const HEAD: &str = "10.20.0.1/16";
/// The same without its prefix.
pub const HEAD_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 1);
/// The fleet's own address, behind which the head finds all of its nodes: else it would need a neighbour entry for
/// each, and a kernel has room for 1,024 unless it is told otherwise (arp(7), gc_thresh3).
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 2);
/// The nodes' addresses.
const NODES: &str = "10.20.128.0/17";
/// So many nodes there can be.
pub const NODES_MAX: u32 = 32_000;

/// A fleet's place on the lab's bridge.
#[derive(Debug)]
pub struct Space {
    client: Client,
}

/// A node by its number, 1 to [`NODES_MAX`]. Every other one is UEFI.
#[must_use]
pub fn node(number: u32) -> Node {
    let [_, high, middle, low] = number.to_be_bytes();
    let firmware = if number.is_multiple_of(2) { Firmware::Uefi } else { Firmware::Bios };
    Node { mac: MacAddr::new([0x02, 0xf1, 0xee, high, middle, low]), firmware }
}

/// Its address.
#[must_use]
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 20, 128, 0)) + number)
}

/// Its xname: 256 nodes a cabinet.
#[must_use]
pub fn xname(number: u32) -> String {
    format!("x{}c0s{}b{}n0", 1000 + number / 256, number / 4 % 64, number % 4)
}

/// The `nodes.yaml` of the nodes 1 to `count`, in the group `compute`, where addresses are in this network.
#[must_use]
pub fn nodes_yaml(count: u32, address: impl Fn(u32) -> Ipv4Addr) -> String {
    let mut text = String::from("nodes:\n");
    for number in 1..=count {
        let (node, address) = (node(number), address(number));
        let entry = writeln!(
            text,
            "- {{nid: {number}, xname: {}, group: compute, mac: '{}', ipaddr: {address}}}",
            xname(number),
            node.mac
        );
        entry.expect("a string takes what is written");
    }
    text
}

/// The document of a head whose only plane is the fleet's.
#[must_use]
pub fn document() -> Table {
    document::demo(net::BRIDGE, HEAD)
}

/// Opens as many files as the system allows: each node holds a socket, and each service one for each node.
///
/// # Errors
///
/// If there are fewer than are needed for this many nodes.
pub fn raise_limits(nodes: u32) -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")?;
    let needed = u64::from(nodes) + 500;
    ensure!(hard >= needed, "{needed} open files are needed and {hard} allowed; see ulimit -n");
    Ok(())
}

/// Runs work on a thread of its own inside a network namespace, `/proc/PID/ns/net`; what it opens stays there.
///
/// # Errors
///
/// If the namespace cannot be entered, or the work's own.
pub async fn run_in<T: Send + 'static, F: Future<Output = anyhow::Result<T>>>(
    namespace: PathBuf,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<T> {
    let (sender, done) = tokio::sync::oneshot::channel();
    let run = move || {
        let result = enter(&namespace).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        });
        // Whoever asked may be gone.
        drop(sender.send(result));
    };
    std::thread::Builder::new().name("fleet".into()).spawn(run).context("start a thread for the fleet")?;
    done.await.context("the fleet's thread ended early")?
}

fn enter(namespace: &Path) -> anyhow::Result<()> {
    let file = File::open(namespace).with_context(|| format!("open {}", namespace.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).context("enter the network namespace")
}

impl Space {
    /// A namespace on the bridge of a lab, whose head gets [`HEAD`] and the way to the nodes.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub async fn attach(net: &Net) -> anyhow::Result<Self> {
        let client = net.add_client(net::BRIDGE, "fleet", "02:f1:ee:ff:ff:ff").await?;
        let (head, own) = (HEAD_ADDRESS.to_string(), OWN.to_string());
        let head_all = format!("{head}/32");
        for words in [
            ["address", "add", &head_all, "dev", net::BRIDGE].as_slice(),
            &["route", "add", &own, "dev", net::BRIDGE, "src", &head],
            &["route", "add", NODES, "via", &own, "dev", net::BRIDGE, "src", &head],
        ] {
            net::ip(&format!("{}\n", words.join(" ")))?;
        }
        for words in [
            ["address", "add", &format!("{own}/32"), "dev", "eth0"].as_slice(),
            &["route", "add", &head, "dev", "eth0"],
            &["route", "add", "local", NODES, "dev", "lo"],
        ] {
            client.run("ip", words)?;
        }
        Ok(Self { client })
    }

    /// The namespace, for [`run_in`].
    #[must_use]
    pub fn namespace(&self) -> PathBuf {
        self.client.namespace()
    }

    /// The machine that the namespace is.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Loses this share of packets from here on, in both directions, in percent; 0 loses none. A packet is what the
    /// wire would carry: the kernel joins none before it is chosen.
    ///
    /// # Errors
    ///
    /// If the kernel has no nf_tables.
    pub fn lose(&self, percent: u32) -> anyhow::Result<()> {
        let rules = |device: &str| {
            let loss =
                if percent == 0 { String::new() } else { format!("numgen random mod 100 < {percent} drop") };
            format!(
                "table netdev loss\ndelete table netdev loss\ntable netdev loss {{\n chain in {{\n  \
                 type filter hook ingress device \"{device}\" priority 0\n  {loss}\n }}\n}}\n"
            )
        };
        let segments = if percent == 0 { "65535" } else { "1" };
        net::ip(&format!("link set dev {} gso_max_segs {segments}\n", net::BRIDGE))?;
        self.client.run("ip", &["link", "set", "dev", "eth0", "gso_max_segs", segments])?;
        let mut here = Command::new(program::find("nft", "nftables")?);
        program::converse(here.args(["-f", "-"]), &rules(net::BRIDGE))
            .context("lose packets of the nodes")?;
        let mut there = self.client.command("nft", &["-f", "-"])?;
        program::converse(&mut there, &rules("eth0")).context("lose packets of the head").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{NODES_MAX, address, node, xname};

    #[test]
    fn no_two_nodes_are_the_same() {
        let all = || (1..=NODES_MAX).step_by(7);
        let count = all().count();
        assert_eq!(all().map(|it| node(it).mac).collect::<HashSet<_>>().len(), count);
        assert_eq!(all().map(xname).collect::<HashSet<_>>().len(), count);
        assert!(all().all(|it| address(it).octets()[2] >= 128));
        assert_eq!(
            (node(2).mac.to_string().as_str(), xname(257).as_str()),
            ("02:f1:ee:00:00:02", "x1001c0s0b1n0")
        );
    }
}
