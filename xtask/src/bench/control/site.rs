//! A head and its BMCs, all on loopback.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use serde_json::Value;
use tests::swarm::{self, Options, Place, Swarm};
use tests::{Head, HeadOptions, program, settle};

/// How long a head may take to know thousands of nodes.
const KNOWN_MAX: Duration = Duration::from_secs(120);

/// A head that knows the nodes of a swarm, and the account of their BMCs.
pub(super) struct Site {
    pub(super) swarm: Swarm,
    pub(super) head: Head,
    service: Service,
    /// What the service held before it knew a node, KiB.
    pub(super) empty_kib: f64,
}

impl Site {
    /// Starts both; of the services the inventory and this one.
    pub(super) async fn start(service: Service, options: Options) -> anyhow::Result<Self> {
        let swarm = Swarm::start(Options { place: Place::LOOPBACK, ..options })?;
        let services = vec![Service::Inventory, service];
        let head = Head::start(HeadOptions { services, ..HeadOptions::default() }).await?;
        let mut site = Self { swarm, head, service, empty_kib: 0.0 };
        site.empty_kib = site.kib()?;
        site.head.pilotctl(&["bmc", "set", "--user", swarm::USER], &format!("{}\n", swarm::PASSWORD))?;
        let nodes = crate::swarm::nodes(Place::LOOPBACK, site.swarm.count());
        site.head
            .pilotctl(&["nodes", "import", "--inventory-only", "-"], &nodes)
            .context("import the nodes")?;
        site.head.settle().await?;
        site.known().await?;
        Ok(site)
    }

    /// Waits until the service knows all nodes.
    async fn known(&self) -> anyhow::Result<()> {
        let client = self.head.client(self.service);
        let count = u64::from(self.swarm.count());
        settle::until(KNOWN_MAX, "the service knows the nodes", async || {
            let ready: Value = client.get("/readyz").await?;
            // power counts components, each BMC one beside its node; console counts consoles.
            let known = ready["components"].as_u64().or(ready["consoles"].as_u64());
            Ok((known.is_none() || known >= Some(count)).then_some(()))
        })
        .await
    }

    /// The service's process.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.head.pid(self.service).with_context(|| format!("{} does not run", self.service))
    }

    /// What it holds in memory, KiB.
    pub(super) fn kib(&self) -> anyhow::Result<f64> {
        Ok(super::super::cost::rss_mib(self.pid()?)? * 1024.0)
    }

    /// `pilotctl` on this head.
    pub(super) fn pilotctl(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(program::pilotctl()?);
        command.arg("--run").arg(self.head.sockets()).arg("--config").arg(self.head.document()).args(words);
        Ok(command)
    }

    /// All nodes as pilotctl's lists name them.
    pub(super) fn nodes(&self) -> String {
        let count = self.swarm.count();
        let narrow = format!("nid[001-{:03}]", count.min(999));
        if count < 1000 { narrow } else { format!("{narrow},nid[1000-{count}]") }
    }

    pub(super) async fn end(self) -> anyhow::Result<()> {
        if let Some(fallen) = self.head.fallen() {
            anyhow::bail!(fallen);
        }
        self.head.shut_down().await
    }

    /// Puts all nodes into a state past their BMCs.
    pub(super) fn set_power(&self, on: bool) -> anyhow::Result<()> {
        self.swarm.set_power(self.swarm.all(), on);
        let are_on = self.swarm.total().are_on;
        ensure!(are_on == if on { u64::from(self.swarm.count()) } else { 0 }, "{are_on} nodes are on");
        Ok(())
    }
}

/// Descriptors that a process has open.
pub(super) fn descriptors(pid: u32) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd")).context("count descriptors")?.count())
}
