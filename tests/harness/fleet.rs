//! Simulated nodes: thousands in one process, each with its own MAC and address, that boot as real ones do. Firmware
//! asks for an address and fetches its loader; the loader, iPXE, asks again and runs its boot script; the system that
//! it starts asks once more and is configured by cloud-init. They really speak: DHCP through a relay or by frames of
//! their own on a wire, TFTP, HTTP.
//!
//! A fleet lives in a network namespace ([`space`]) or on loopback, where every address of 127.0.0.0/8 is there.

mod boot;
pub mod cluster;
mod dhcp;
mod http;
mod link;
mod report;
mod script;
pub mod space;
mod tftp;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use domain::{BootStage, MacAddr};
use tokio::task::JoinSet;

pub use link::Link;
pub use report::{Report, Summary};

/// A machine that boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its boot NIC's address, which decides what it is given.
    pub mac: MacAddr,
    /// How it begins.
    pub firmware: Firmware,
}

/// How a machine begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A PXE ROM of a PC: option 93 is 0, blocks one by one.
    Bios,
    /// UEFI on x86-64 by PXE: option 93 is 7, windows of four blocks.
    Uefi,
    /// UEFI on x86-64 by HTTP: option 93 is 16.
    UefiHttp,
    /// UEFI on arm64 by PXE: option 93 is 11.
    Arm,
    /// A ROM that is iPXE itself, as QEMU's.
    Ipxe,
}

/// Where nodes boot from, and how long they wait for it.
#[derive(Clone, Debug)]
pub struct Target {
    /// How they ask for addresses.
    pub link: Link,
    /// Where TFTP is, on the machine that DHCP names.
    pub tftp_port: u16,
    /// Whether the root file system is fetched that the kernel's parameters name.
    pub root: bool,
    /// How long they wait.
    pub patience: Patience,
}

/// How long nodes wait for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the first answer of a DHCP server; each further one twice as long.
    pub dhcp: Duration,
    /// And so long at most.
    pub dhcp_max: Duration,
    /// For a packet of a transfer.
    pub tftp: Duration,
    /// For the next bytes over HTTP.
    pub http: Duration,
    /// A script's `sleep` is divided by this.
    pub hurry: u32,
    /// How often something may go wrong before a node stays down.
    pub failures: u32,
    /// For the whole boot.
    pub boot: Duration,
}

/// What is wrong with a node or its network. All of them false: nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// It is silent once it has reached this.
    pub silent_after: Option<BootStage>,
    /// What it sends to port 69 arrives nowhere.
    pub tftp_dropped: bool,
    /// It takes the offer of another server, which has this address.
    pub other_server: Option<Ipv4Addr>,
    /// It has asked for so many seconds already when its first packet comes through: a switch's port learnt first.
    pub asking_for_s: u16,
    /// It cannot run its loader, which is of another architecture.
    pub loader_refused: bool,
    /// It loses its connection after so many bytes of the initrd.
    pub initrd_cut_after: Option<u64>,
    /// It finds no host by name.
    pub without_dns: bool,
    /// It asks as a system on its disk does, and boots nothing: the wrong boot order.
    pub from_disk: bool,
    /// Its cloud-init asks for network-config at this path of the seed, where there may be none.
    pub network_config: Option<&'static str>,
}

/// What came of a boot.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whose.
    pub node: Node,
    /// What it reached, in this order, and when.
    pub steps: Vec<(BootStage, Instant)>,
    /// How long it waited before it asked again, all in all.
    pub waited: Duration,
    /// How often it asked again.
    pub again: u32,
    /// What it loaded over HTTP, all in all.
    pub bytes: u64,
    /// What went wrong on the way, the last of it.
    pub complaint: Option<String>,
    /// The address it had at last.
    pub address: Option<Ipv4Addr>,
    /// Why it is not up.
    pub error: Option<String>,
}

impl Firmware {
    /// Option 93 (IANA's "Processor Architecture Types").
    fn architecture(self) -> u16 {
        match self {
            Self::Bios | Self::Ipxe => 0,
            Self::Uefi => 7,
            Self::Arm => 11,
            Self::UefiHttp => 16,
        }
    }

    /// iPXE's `${buildarch}`.
    fn build(self) -> &'static str {
        match self {
            Self::Bios | Self::Ipxe => "i386",
            Self::Uefi | Self::UefiHttp => "x86_64",
            Self::Arm => "arm64",
        }
    }
}

impl Patience {
    /// As machines have it.
    pub const REAL: Self = Self {
        dhcp: Duration::from_secs(4),
        dhcp_max: Duration::from_secs(32),
        tftp: Duration::from_secs(4),
        http: Duration::from_secs(20),
        hurry: 1,
        failures: 5,
        boot: Duration::from_secs(600),
    };

    /// As tests have it.
    pub const SHORT: Self = Self {
        dhcp: Duration::from_millis(500),
        dhcp_max: Duration::from_secs(2),
        tftp: Duration::from_secs(1),
        http: Duration::from_secs(5),
        hurry: 20,
        failures: 1,
        boot: Duration::from_secs(60),
    };
}

impl Target {
    /// With the real port, the root file system, and a test's patience.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link, tftp_port: 69, root: true, patience: Patience::SHORT }
    }
}

impl Node {
    /// Boots it, down to cloud-init's last word.
    pub async fn boot(self, target: &Target, faults: &Faults) -> Outcome {
        boot::run(self, target, faults).await
    }
}

impl Outcome {
    fn new(node: Node) -> Self {
        let (steps, waited) = (Vec::new(), Duration::ZERO);
        Self { node, steps, waited, again: 0, bytes: 0, complaint: None, address: None, error: None }
    }

    /// When it reached a stage first.
    #[must_use]
    pub fn at(&self, stage: BootStage) -> Option<Instant> {
        self.steps.iter().find(|it| it.0 == stage).map(|it| it.1)
    }

    /// When it had its user-data.
    #[must_use]
    pub fn up_at(&self) -> Option<Instant> {
        self.steps.iter().rev().find(|it| it.0 == BootStage::Userdata).map(|it| it.1)
    }

    /// What it reached last.
    #[must_use]
    pub fn last(&self) -> Option<BootStage> {
        self.steps.last().map(|it| it.0)
    }
}

/// Boots many nodes, evenly spread over a time; `look` is told how many have ended, in a row and seldom.
pub async fn storm(
    nodes: &[Node],
    target: &Target,
    spread: Duration,
    mut look: impl FnMut(usize, usize),
) -> Report {
    let mut running = JoinSet::new();
    let begun = tokio::time::Instant::now();
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX).max(1);
    for (index, node) in nodes.iter().copied().enumerate() {
        let (target, faults) = (target.clone(), Faults::default());
        let after = spread / count * u32::try_from(index).unwrap_or(u32::MAX);
        running.spawn(async move {
            tokio::time::sleep_until(begun + after).await;
            node.boot(&target, &faults).await
        });
    }
    let mut outcomes = Vec::with_capacity(nodes.len());
    let mut failed = 0;
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(outcome) => {
                failed += usize::from(outcome.error.is_some());
                outcomes.push(outcome);
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        if outcomes.len().is_multiple_of(100) || outcomes.len() == nodes.len() {
            look(outcomes.len(), failed);
        }
    }
    Report::new(outcomes)
}
