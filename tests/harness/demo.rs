//! The demo: a head, and virtual nodes with BMCs on one network, in a lab. The head is a virtual machine, or its
//! services are processes of the lab.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::{BootStage, Service};
use http::Method;
use serde_json::json;

use crate::appliance::{self, Appliance};
use crate::bmc::{self, Bmc};
use crate::head::{Event, Events, Head, HeadOptions, Ports};
use crate::net::{self, Net};
use crate::node::{self, Node};
use crate::program::top;
use crate::steps::Steps;
use crate::vm::Firmware;
use crate::{document, lab, settle};

/// How long one stage of a boot may take; the whole root takes half a minute on two busy cores.
const STAGE_MAX: Duration = Duration::from_secs(120);
/// How long a service may lag behind the inventory; 200 ms is promised on an idle machine.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// What the demo's user-data writes, and what its console must show.
pub const MARK: &str = "written by user-data of group compute";
/// The files of the compute image.
const IMAGE: &str = "target/image/compute";

/// Where the head is.
#[derive(Debug)]
pub enum Place {
    /// Its services are processes of the lab.
    Processes(Box<Head>),
    /// It is a virtual machine.
    Machine(Box<Appliance>),
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
}

impl Demo {
    /// Builds the lab: bridge, head, BMCs, and the first `known` of the nodes in its inventory. All nodes are off.
    ///
    /// # Errors
    ///
    /// If the compute image was not built, or something does not start.
    pub async fn start(folder: &Path, kind: Kind, nodes: &[Node], known: usize) -> anyhow::Result<Self> {
        let image = top().join(IMAGE);
        if !image.join("vmlinuz").exists() {
            bail!("there is no compute image; run image/build compute {IMAGE}");
        }
        let mut steps = Steps::begin();
        let net = Net::up(folder)?;
        let place = match kind {
            Kind::Processes => Place::processes(&net, folder, &image, &mut steps).await?,
            Kind::Machine => Place::machine(&net, folder, &image, &mut steps).await?,
        };
        let mut bmcs = Vec::new();
        for node in nodes {
            bmcs.push(Bmc::start(&net, folder, node.clone()).await?);
        }
        let mut demo = Self { place, bmcs, steps, net };
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
        let node = self.bmc(nid)?.node().clone();
        let begun = Instant::now();
        self.place.pilotctl(&["power", "on", &node.name(), "--boot", "pxe"], "")?;
        self.steps.reach(&node.name(), "power on");
        self.follow(&node, begun, &[]).await
    }

    /// Switches on a node that is in no inventory, waits until it has asked in vain, imports it with the others, and
    /// follows it to its log-in, without touching it.
    ///
    /// # Errors
    ///
    /// Names the stage that was not reached, with the last lines of the console.
    pub async fn boot_unknown(&mut self, nid: u8) -> anyhow::Result<()> {
        let node = self.bmc(nid)?.node().clone();
        let begun = Instant::now();
        self.bmc(nid)?.chassis().press_button().await?;
        self.steps.reach(&node.name(), "power button");
        // iPXE says what it got; the script of a node that nobody knows has it ask again.
        let console = self.bmc(nid)?.console();
        console.wait_for("bootscript[^\n]*\\.\\.\\. ok", STAGE_MAX).await?;
        self.steps.reach(&node.name(), "unknown, asks again");
        let nodes: Vec<Node> = self.bmcs.iter().map(|it| it.node().clone()).collect();
        self.import(&nodes).await?;
        // Kernel and initrd still go to its address from the pool, which images takes for nobody's.
        self.follow(&node, begun, &[BootStage::Kernel, BootStage::Initrd]).await
    }

    /// Follows a boot that began at an instant to its log-in, past the stages that nobody will tell of.
    ///
    /// # Errors
    ///
    /// Names the stage that was not reached, with the last lines of the console.
    pub async fn follow(&mut self, node: &Node, begun: Instant, unseen: &[BootStage]) -> anyhow::Result<()> {
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
        let stages = stages.filter(|it| !unseen.contains(&it.0));
        for (stage, step) in stages {
            let event = self.stage(node, stage, begun).await?;
            self.steps.reach_at(&node.name(), step, event.at);
        }
        let console = self.bmc(node.nid)?.console();
        console.wait_for(MARK, STAGE_MAX).await?;
        self.steps.reach(&node.name(), "cloud-init applied");
        console.wait_for(" login:", STAGE_MAX).await?;
        self.steps.reach(&node.name(), "login:");
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

impl Place {
    async fn processes(net: &Net, folder: &Path, image: &Path, steps: &mut Steps) -> anyhow::Result<Self> {
        net.add_address(net::HEAD)?;
        let images = folder.join("images");
        lab::bind(image, &images.join("compute/latest"))?;
        let head = Head::start(options(&images)?).await?;
        // A name that does not change, for those who enter the lab.
        std::os::unix::fs::symlink(head.folder(), folder.join("head")).context("name the head's folder")?;
        steps.reach("head", "services ready");
        let place = Self::Processes(Box::new(head));
        place.pilotctl(&["bmc", "set", "--user", bmc::USER], bmc::PASSWORD)?;
        Ok(place)
    }

    async fn machine(net: &Net, folder: &Path, image: &Path, steps: &mut Steps) -> anyhow::Result<Self> {
        // The lab's own place on the network, from which an administrator works.
        net.add_address("172.16.0.253/24")?;
        let mut head = Appliance::wire(net, folder, Some(&appliance::answer(folder)?), Some(image))?;
        head.start()?;
        steps.reach("head", "power on");
        head.wait(steps).await?;
        let there = "/data/domain-images/compute/latest";
        let mount =
            format!("sudo mkdir -p {there} && sudo mount -o ro /dev/disk/by-id/virtio-images {there}");
        head.run(&mount, "")?;
        Ok(Self::Machine(Box::new(head)))
    }

    /// Boot events.
    ///
    /// # Errors
    ///
    /// If the head is not up.
    pub fn events(&self) -> anyhow::Result<&Events> {
        match self {
            Self::Processes(head) => Ok(head.events()),
            Self::Machine(head) => head.events(),
        }
    }

    /// Runs `pilotctl` on the head as an administrator; what it prints.
    ///
    /// # Errors
    ///
    /// If it fails, with what it says.
    pub fn pilotctl(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        match self {
            Self::Processes(head) => head.pilotctl(arguments, input),
            Self::Machine(head) => {
                let words: Vec<String> = arguments.iter().map(|it| format!("'{it}'")).collect();
                head.run(&format!("pilotctl {}", words.join(" ")), input)
            }
        }
    }

    /// What the head complains of, for the message of a test that fails.
    #[must_use]
    pub fn complaints(&self) -> String {
        match self {
            Self::Processes(head) => head.tails(5),
            Self::Machine(head) => {
                let said = head.run("sudo journalctl --priority=warning --lines=40 --no-pager", "");
                said.unwrap_or_else(|error| format!("{error:#}"))
            }
        }
    }

    /// Ends the head in good order.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn shut_down(self) -> anyhow::Result<()> {
        match self {
            Self::Processes(head) => head.shut_down().await,
            Self::Machine(mut head) => head.kill().await,
        }
    }

    /// Writes a file on every node of the group, and shows it on the console.
    async fn give_user_data(&self) -> anyhow::Result<()> {
        let file = "/etc/pilothouse-demo";
        let body = json!({"name": "compute", "cloud-init": {"userdata": {
            "disable_root": false,
            "write_files": [{"path": file, "content": format!("{MARK}\n")}],
            "runcmd": [["sh", "-c", format!("cat {file} >/dev/console")]],
        }, "metadata": {"instance-id": "demo-compute"}}});
        match self {
            Self::Processes(head) => {
                let client = head.client(Service::CloudInit);
                client
                    .text(Method::POST, "/cloud-init/", Some(&body))
                    .await
                    .map(drop)
                    .context("cloud-init")?;
            }
            Self::Machine(head) => {
                let curl = "curl -sS --fail-with-body --unix-socket /run/pilothouse/cloud-init.sock \
                    -H 'content-type: application/json' --data-binary @- http://head/cloud-init/";
                head.run(curl, &body.to_string())?;
            }
        }
        Ok(())
    }
}

/// The head on the bridge: real addresses and ports, and a pool for machines that nobody knows yet.
fn options(images: &Path) -> anyhow::Result<HeadOptions> {
    let mut options = HeadOptions {
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        document: document::demo(net::BRIDGE, net::HEAD),
        ..HeadOptions::default()
    };
    let planes = options.document.get_mut("network").and_then(|it| it.get_mut("planes"));
    let plane = planes
        .and_then(|it| it.get_mut(0))
        .and_then(toml::Value::as_table_mut)
        .context("the demo's plane")?;
    let subnets = "subnets = [{ cidr = \"172.16.0.0/24\", range = \"172.16.0.200-172.16.0.250\" }]";
    plane.extend(toml::from_str::<toml::Table>(subnets)?);
    document::set(&mut options.document, "images.root", images.display().to_string().into())?;
    Ok(options)
}
