//! The demo: a head, and virtual nodes with BMCs on one network, in a lab. The head is a virtual machine, or its
//! services are processes of the lab.

mod place;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::BootStage;

use crate::bmc::Bmc;
use crate::head::Event;
use crate::net::Net;
use crate::node::{self, Node};
use crate::program::top;
use crate::steps::Steps;
use crate::vm::Firmware;
use crate::{settle, sol};

pub use place::{Place, mount_images};

/// How long one stage of a boot may take; the whole root takes half a minute on two busy cores.
const STAGE_MAX: Duration = Duration::from_secs(120);
/// How long a service may lag behind the inventory; 200 ms is promised on an idle machine.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// How long what a node wrote may be on its way into the log.
const LOG_MAX: Duration = Duration::from_secs(10);
/// What the demo's cloud-init data writes, and what a node's console must show, up to the name of the group.
pub const MARK: &str = "written by cloud-init data of group";
/// What the secret data of the group `compute` writes and shows: a munge key's stand-in.
pub const SECRET: &str = "the munge key of group compute is here";
/// How a node of that group comes by its token for it.
const POLICY: &str = "policy = { compute = \"push\" }\n";
/// The files of the compute image.
const IMAGE: &str = "target/image/compute";

/// Where a boot begins, among what the head and the console tell.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    at: Instant,
    read: usize,
}

/// What kind of head a demo has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Place::Processes`]
    Processes,
    /// [`Place::Machine`]
    Machine,
}

/// A demo that runs.
#[derive(Debug)]
pub struct Demo {
    /// The head.
    pub place: Place,
    /// The BMCs and their nodes, nid001 first.
    pub bmcs: Vec<Bmc>,
    /// The steps so far.
    pub steps: Steps,
    /// The network.
    pub net: Net,
    /// The node that was switched on before the head knew it.
    unknown: Option<u8>,
}

impl Demo {
    /// Builds the lab: bridge, head, BMCs, and the first `known` of the nodes in its inventory. All nodes are off.
    ///
    /// # Errors
    ///
    /// If the compute image was not built, or something does not start.
    pub async fn start(folder: &Path, kind: Kind, nodes: &[Node], known: usize) -> anyhow::Result<Self> {
        Self::start_set(folder, kind, nodes, known, &[]).await
    }

    /// The same with settings of the document, where the head's services are processes.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn start_set(
        folder: &Path,
        kind: Kind,
        nodes: &[Node],
        known: usize,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let image = top().join(IMAGE);
        if !image.join("vmlinuz").exists() {
            bail!("there is no compute image; run image/build compute {IMAGE}");
        }
        let mut steps = Steps::begin();
        let net = Net::up(folder)?;
        let place = match kind {
            Kind::Processes => Place::processes(&net, folder, &image, settings, &mut steps).await?,
            Kind::Machine => Place::machine(&net, folder, &image, &mut steps).await?,
        };
        let mut bmcs = Vec::new();
        for node in nodes {
            bmcs.push(Bmc::start(&net, folder, node.clone()).await?);
        }
        let mut demo = Self { place, bmcs, steps, net, unknown: None };
        demo.place.give_user_data().await?;
        if known > 0 {
            demo.import(&nodes[..known]).await?;
        }
        Ok(demo)
    }

    /// Imports nodes as an administrator does.
    ///
    /// # Errors
    ///
    /// If the head refuses.
    pub async fn import(&mut self, nodes: &[Node]) -> anyhow::Result<()> {
        self.place.pilotctl(&["nodes", "import", "-"], &node::nodes_yaml(nodes))?;
        // power follows the inventory: it knows a node some milliseconds after the inventory has answered.
        for node in nodes {
            let known = || self.place.pilotctl(&["power", "status", &node.name()], "");
            settle::until(FOLLOW_MAX, "power knows the node", async || Ok(known().ok())).await?;
        }
        self.steps.reach("head", "nodes.yaml imported");
        Ok(())
    }

    /// Powers a node on through its BMC and follows it to its log-in.
    ///
    /// # Errors
    ///
    /// Names the stage that was not reached, with the last lines of the console.
    pub async fn boot(&mut self, nid: u8) -> anyhow::Result<()> {
        let begun = self.power_on(nid)?;
        self.follow(nid, begun).await
    }

    /// Powers a node on through its BMC; where its boot begins.
    ///
    /// # Errors
    ///
    /// If the head says no.
    pub fn power_on(&mut self, nid: u8) -> anyhow::Result<Begin> {
        let bmc = self.bmc(nid)?;
        let (name, begin) = (bmc.node().name(), Begin::now(bmc));
        self.place.pilotctl(&["power", "on", &name, "--boot", "pxe"], "")?;
        self.steps.reach(&name, "power on");
        Ok(begin)
    }

    /// Switches a node on by its button; where its boot begins.
    ///
    /// # Errors
    ///
    /// If QEMU does not start.
    pub async fn press_button(&mut self, nid: u8) -> anyhow::Result<Begin> {
        let bmc = self.bmc(nid)?;
        let (name, begin) = (bmc.node().name(), Begin::now(bmc));
        bmc.chassis().press_button().await?;
        self.steps.reach(&name, "power button");
        Ok(begin)
    }

    /// Switches on a node that is in no inventory, waits until it has asked in vain, imports it with the others, and
    /// follows it to its log-in, without touching it.
    ///
    /// # Errors
    ///
    /// Names the stage that was not reached, with the last lines of the console.
    pub async fn boot_unknown(&mut self, nid: u8) -> anyhow::Result<()> {
        let node = self.bmc(nid)?.node().clone();
        let begin = self.press_button(nid).await?;
        // iPXE says what it got; the script of a node that nobody knows has it ask again.
        let console = self.bmc(nid)?.console();
        console.wait_for("bootscript[^\n]*\\.\\.\\. ok", STAGE_MAX).await?;
        self.steps.reach(&node.name(), "unknown, asks again");
        let nodes: Vec<Node> = self.bmcs.iter().map(|it| it.node().clone()).collect();
        self.import(&nodes).await?;
        self.unknown = Some(nid);
        self.follow(nid, begin).await
    }

    /// Follows a boot from its beginning to its log-in.
    ///
    /// # Errors
    ///
    /// Names the stage that was not reached, with the last lines of the console.
    pub async fn follow(&mut self, nid: u8, begin: Begin) -> anyhow::Result<()> {
        let Begin { at, read } = begin;
        let node = &self.bmc(nid)?.node().clone();
        use BootStage::{DhcpAck, Initrd, Kernel, Root, Script, TftpEnd, Userdata};
        let stages = [
            (DhcpAck, "DHCP"),
            (TftpEnd, "TFTP"),
            (Script, "boot script"),
            (Kernel, "kernel"),
            (Initrd, "initrd"),
            (Root, "root image"),
            (Userdata, "user-data"),
        ];
        // QEMU's BIOS ROM is iPXE already.
        let stages = stages.into_iter().filter(|it| it.0 != TftpEnd || node.firmware == Firmware::Uefi);
        for (stage, step) in stages {
            let event = self.stage(node, stage, at).await?;
            self.steps.reach_at(&node.name(), step, event.at);
        }
        let console = self.bmc(node.nid)?.console();
        let (_, read) = console.wait_after(read, &format!("{MARK} {}", node.group), STAGE_MAX).await?;
        self.steps.reach(&node.name(), "cloud-init applied");
        console.wait_after(read, " login: ", STAGE_MAX).await?;
        self.steps.reach(&node.name(), "login:");
        Ok(())
    }

    /// Waits until a node of the group `compute` shows what it read with its token.
    ///
    /// # Errors
    ///
    /// If it does not, with the last lines of the console and the head's complaints.
    pub async fn await_secret(&mut self, nid: u8) -> anyhow::Result<()> {
        let bmc = self.bmc(nid)?;
        if bmc.node().group != "compute" {
            return Ok(());
        }
        let (name, console) = (bmc.node().name(), bmc.console());
        let told = console.wait_for(SECRET, STAGE_MAX).await;
        told.with_context(|| format!("{}\nthe head says:\n{}", console.tail(20), self.place.complaints()))?;
        self.steps.reach(&name, "munge key");
        Ok(())
    }

    /// Waits until the head's log of a node's console has all that the node wrote since the head has known it.
    ///
    /// # Errors
    ///
    /// Shows where the two part, when they do so for longer than a line may be on its way.
    pub async fn await_log(&mut self, nid: u8) -> anyhow::Result<()> {
        let bmc = self.bmc(nid)?;
        let (name, path) = (bmc.node().name(), bmc.console().path().to_owned());
        let later = self.unknown == Some(nid);
        let compare = || {
            let machine = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            sol::compare(&machine, &self.place.console_log(&name)?, later)
        };
        let complete = settle::until(LOG_MAX, "the log has all", async || Ok(compare().ok())).await;
        if complete.is_err() {
            compare().with_context(|| {
                let log = self.place.console_log(&name).unwrap_or_default();
                let said: Vec<&str> = log.lines().filter(|it| it.contains("<Pilothouse>")).collect();
                format!("the log of {name}, of which the service says:\n{}\n", said.join("\n"))
            })?;
        }
        self.steps.reach(&name, "SOL log complete");
        Ok(())
    }

    /// Waits for a stage of a node's boot.
    ///
    /// # Errors
    ///
    /// If it is not reached in time.
    pub async fn stage(&self, node: &Node, stage: BootStage, since: Instant) -> anyhow::Result<Event> {
        let (xname, mac) = (node.xname(), node.mac());
        let fits = |it: &Event| {
            let same = it.node.as_ref() == Some(&xname) || it.mac.as_ref() == Some(&mac);
            same && it.stage == stage && it.result == "ok" && it.at >= since
        };
        let what = format!("{stage} of {}", node.name());
        let found = self.place.events()?.wait_for(&what, STAGE_MAX, fits).await;
        found.map_err(|error| match self.bmc(node.nid) {
            Ok(bmc) => {
                let (name, console) = (node.name(), bmc.console().tail(20));
                error.context(format!(
                    "the head says:\n{}\nthe console of {name}:\n{console}",
                    self.place.complaints()
                ))
            }
            Err(_) => error,
        })
    }

    /// A node's BMC.
    ///
    /// # Errors
    ///
    /// If the demo has no such node.
    pub fn bmc(&self, nid: u8) -> anyhow::Result<&Bmc> {
        self.bmcs.iter().find(|it| it.node().nid == nid).with_context(|| format!("there is no node {nid}"))
    }
}

impl Begin {
    /// Now.
    #[must_use]
    pub fn now(bmc: &Bmc) -> Self {
        Self { at: Instant::now(), read: bmc.console().text().len() }
    }
}
