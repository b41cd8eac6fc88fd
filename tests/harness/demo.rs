//! The demo: a head, and virtual nodes with BMCs on one network, in a lab. Here the head's services are processes of
//! the lab.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::{BootStage, Service};
use http::Method;
use serde_json::json;

use crate::bmc::{self, Bmc};
use crate::head::{Event, Head, HeadOptions, Ports};
use crate::net::{self, Net};
use crate::node::{self, Node};
use crate::program::{pilotctl, top};
use crate::steps::Steps;
use crate::vm::Firmware;
use crate::{document, lab};

/// How long one stage of a boot may take; the whole root takes half a minute on two busy cores.
const STAGE_MAX: Duration = Duration::from_secs(180);
/// What the demo's user-data writes, and what its console must show.
pub const MARK: &str = "written by user-data of group compute";
/// The files of the compute image.
const IMAGE: &str = "target/image/compute";

/// A demo that runs.
#[derive(Debug)]
pub struct Demo {
    /// The head.
    pub head: Head,
    /// The BMCs and their nodes, nid001 first.
    pub bmcs: Vec<Bmc>,
    /// The steps so far.
    pub steps: Steps,
    /// The network.
    pub net: Net,
    folder: PathBuf,
}

impl Demo {
    /// Builds the lab: bridge, head, BMCs, and the first `known` of the nodes in its inventory. All nodes are off.
    ///
    /// # Errors
    ///
    /// If the compute image was not built, or something does not start.
    pub async fn start(folder: &Path, nodes: &[Node], known: usize) -> anyhow::Result<Self> {
        let image = top().join(IMAGE);
        if !image.join("vmlinuz").exists() {
            bail!("there is no compute image; run image/build compute {IMAGE}");
        }
        let mut steps = Steps::begin();
        let net = Net::up(folder)?;
        net.add_address(net::HEAD)?;
        let images = folder.join("images");
        lab::bind(&image, &images.join("compute/latest"))?;
        let head = Head::start(options(&images)?).await?;
        // A name that does not change, for those who enter the lab.
        std::os::unix::fs::symlink(head.folder(), folder.join("head")).context("name the head's folder")?;
        steps.reach("head", "services ready");
        let mut bmcs = Vec::new();
        for node in nodes {
            bmcs.push(Bmc::start(&net, folder, node.clone()).await?);
        }
        steps.reach("head", "BMCs on the network");
        let mut demo = Self { head, bmcs, steps, net, folder: folder.to_owned() };
        demo.give_user_data().await?;
        demo.pilotctl(&["bmc", "set", "--user", bmc::USER], bmc::PASSWORD)?;
        demo.import(&nodes[..known])?;
        Ok(demo)
    }

    /// Imports nodes as an administrator does.
    ///
    /// # Errors
    ///
    /// If the head refuses.
    pub fn import(&mut self, nodes: &[Node]) -> anyhow::Result<()> {
        let file = self.folder.join("nodes.yaml");
        std::fs::write(&file, node::nodes_yaml(nodes)).context("write nodes.yaml")?;
        self.pilotctl(&["nodes", "import", &file.to_string_lossy()], "")?;
        self.steps.reach("head", "nodes.yaml imported");
        Ok(())
    }

    /// Runs `pilotctl` on the head; what it prints.
    ///
    /// # Errors
    ///
    /// If it fails, with what it says.
    pub fn pilotctl(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(pilotctl()?);
        command
            .arg("--run")
            .arg(self.head.sockets())
            .arg("--config")
            .arg(self.head.document())
            .args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("run pilotctl")?;
        let mut stdin = child.stdin.take().context("write to pilotctl")?;
        stdin.write_all(input.as_bytes()).context("write to pilotctl")?;
        drop(stdin);
        let output = child.wait_with_output().context("wait for pilotctl")?;
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        if !output.status.success() {
            bail!("pilotctl {}: {}\n{text}", arguments.join(" "), output.status);
        }
        Ok(text)
    }

    /// Powers a node on through its BMC and follows it to its log-in.
    ///
    /// # Errors
    ///
    /// Names the stage that was not reached, with the last lines of the console.
    pub async fn boot(&mut self, nid: u8) -> anyhow::Result<()> {
        let node = self.bmc(nid)?.node().clone();
        let begun = Instant::now();
        self.pilotctl(&["power", "on", &node.name(), "--boot", "pxe"], "")?;
        self.steps.reach(&node.name(), "power on");
        self.follow(&node, begun).await
    }

    /// Follows a boot that began at an instant to its log-in.
    ///
    /// # Errors
    ///
    /// Names the stage that was not reached, with the last lines of the console.
    pub async fn follow(&mut self, node: &Node, begun: Instant) -> anyhow::Result<()> {
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
            let event = self.stage(node, stage, begun).await?;
            self.steps.reach_at(&node.name(), step, event.at);
        }
        let console = self.bmc(node.nid)?.console();
        console.wait_for(MARK, STAGE_MAX).await?;
        self.steps.reach(&node.name(), "cloud-init applied");
        console.wait_for(&format!("{} login:", node.name()), STAGE_MAX).await?;
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
        let found = self.head.events().wait_for(&what, STAGE_MAX, fits).await;
        found.map_err(|error| match self.bmc(node.nid) {
            Ok(bmc) => error.context(format!("the console of {}:\n{}", node.name(), bmc.console().tail(20))),
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

    /// Writes a file on every node of the group, and shows it on the console.
    async fn give_user_data(&self) -> anyhow::Result<()> {
        let file = "/etc/pilothouse-demo";
        let body = json!({"name": "compute", "cloud-init": {"userdata": {
            "disable_root": false,
            "write_files": [{"path": file, "content": format!("{MARK}\n")}],
            "runcmd": [["sh", "-c", format!("cat {file} >/dev/console")]],
        }, "metadata": {"instance-id": "demo-compute"}}});
        let client = self.head.client(Service::CloudInit);
        let given = client.text(Method::POST, "/cloud-init/", Some(&body)).await;
        given.context("give the group its user-data").map(drop)
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
