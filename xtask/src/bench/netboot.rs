//! `cargo xtask bench netboot`: what a booting node meets, beside the programs that a site would use instead.

mod dhcp;
mod http;
mod peers;
mod storm;
mod tftp;
mod tftp_load;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use tests::lab;
use tests::net::{BRIDGE, Client, Net};
use tests::program::{build, converse, find};

use super::{cost, figure as table};
use crate::root;
use table::Row;

pub(super) use tftp_load::{Arguments as TftpLoadArguments, run as run_tftp_load};

/// Where ours listens, behind a pair of interfaces as the peers are.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The pool of unknown clients: 61,000 addresses, nearly all that a pool may have.
const POOL: &str = "10.99.16.0-10.99.255.250";
/// Leases and images are written to a disk, not to memory as all else of a lab.
const DISK: &str = "/var/tmp";

/// Compare DHCP, TFTP and HTTP with Debian's servers, and boot thousands of simulated nodes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench netboot
  cargo xtask bench netboot --only dhcp-known,tftp --rounds 3
  cargo xtask bench netboot --coredhcp ~/go/bin/coredhcp --atftpd atftpd/usr/sbin/atftpd --output json

Everything runs in network namespaces of its own. Peers are Debian's: kea-dhcp4-server (with kea-admin for perfdhcp),
dnsmasq-base, tftpd-hpa, nginx-light; atftpd conflicts with tftpd-hpa: `apt-get download atftpd; dpkg -x`. coredhcp is
built from its source. A peer that is not here is named and left out. Rounds alternate; the middle one counts.")]
pub(super) struct Arguments {
    /// Measure these rows alone
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<What>,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: u32,
    /// How long each DHCP load runs
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..60))]
    seconds: u32,
    /// Known clients
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..30_000))]
    nodes: u32,
    /// Nodes of the storm
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(20..30_000))]
    storm: u32,
    /// The program coredhcp
    #[arg(long, value_name = "PATH")]
    coredhcp: Option<PathBuf>,
    /// The program atftpd
    #[arg(long, value_name = "PATH")]
    atftpd: Option<PathBuf>,
    /// Programs of the profile dev, for work on the bench itself
    #[arg(long)]
    pub(super) debug: bool,
    /// How to print the table
    #[arg(long, value_enum, default_value = "text")]
    output: super::api::Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    DhcpKnown,
    DhcpPool,
    Tftp,
    Http,
    Storm,
    Memory,
}

/// Where it is measured.
struct Place {
    rounds: u32,
    seconds: u32,
    nodes: u32,
    storm: u32,
    coredhcp: Option<PathBuf>,
    atftpd: Option<PathBuf>,
    /// On a disk.
    folder: PathBuf,
    /// The machine with the load.
    load: Client,
    /// The machine with the peers.
    peer: Client,
}

impl Place {
    fn peer_pid(&self) -> u32 {
        self.peer.pid()
    }

    /// Runs ip(8) here.
    fn ip(&self, words: &[&str]) -> anyhow::Result<()> {
        converse(Command::new(find("ip", "iproute2")?).args(words), "").map(drop)
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if lab::is_inside() {
        lab::settle_in()?;
        return root::runtime()?.block_on(inside(arguments));
    }
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "two processors are needed, one for the servers and one for their load"
    );
    let profile = if arguments.debug { "dev" } else { "release" };
    let programs = build(profile, &["--package", "pilothouse", "--package", "cli"])?;
    let mut command = lab::command(std::env::args_os().skip(1))?;
    command.env("PILOTHOUSE_PROGRAMS", programs).env("TMPDIR", DISK);
    let status = command.status().context("enter a lab")?;
    ensure!(status.success(), "the bench ended with {status}");
    Ok(())
}

async fn inside(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tests::folder::Folder::make("netboot")?;
    let net = Net::up(folder.path())?;
    let place = wire(arguments, &net, folder.path()).await?;
    let wanted = |it: What| arguments.only.is_empty() || arguments.only.contains(&it);
    let mut rows: Vec<Row> = Vec::new();
    for what in What::value_variants().iter().copied().filter(|it| wanted(*it)) {
        eprintln!("{what:?}");
        let measured = match what {
            What::DhcpKnown => dhcp::known(&place).await.map(|it| vec![it]),
            What::DhcpPool => dhcp::pool(&place).await.map(|it| vec![it]),
            What::Tftp => tftp::rows(&place).await,
            What::Http => http::rows(&place).await,
            What::Storm => storm::rows(&place, &net).await,
            What::Memory => dhcp::memory(&place).await.map(|it| vec![it]),
        };
        let measured = measured.with_context(|| format!("measure {what:?}"))?;
        measured.iter().for_each(|it| eprint!("{}", it.text()));
        rows.extend(measured);
    }
    match arguments.output {
        super::api::Output::Text => rows.iter().for_each(|it| print!("{}", it.text())),
        super::api::Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
    }
    if rows.iter().any(|it| it.met == Some(false)) {
        bail!("a target is missed; on a machine that does other things that says nothing");
    }
    Ok(())
}

/// A bridge with three machines on it: ours (this namespace, behind `srv0`), the peers', and the load's. Checksums are
/// made in software: servers that read frames cannot see those that a device would have made.
async fn wire(arguments: &Arguments, net: &Net, folder: &Path) -> anyhow::Result<Place> {
    let peer = net.add_client(BRIDGE, "peer", "02:0c:00:00:00:03").await?;
    let load = net.add_client(BRIDGE, "load", "02:0c:00:00:00:02").await?;
    let path = |it: &Option<PathBuf>| it.as_ref().map(std::path::absolute).transpose();
    let place = Place {
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        nodes: arguments.nodes,
        storm: arguments.storm,
        coredhcp: path(&arguments.coredhcp)?,
        atftpd: path(&arguments.atftpd)?,
        folder: folder.to_owned(),
        load,
        peer,
    };
    place.ip(&["link", "add", "srv0", "type", "veth", "peer", "name", "p-srv0"])?;
    place.ip(&["link", "set", "p-srv0", "master", BRIDGE, "up"])?;
    place.ip(&["address", "add", &format!("{OURS}/16"), "dev", "srv0"])?;
    place.ip(&["link", "set", "srv0", "up"])?;
    for (client, address) in [(&place.peer, peers::ADDRESS), (&place.load, Ipv4Addr::new(10, 99, 0, 2))] {
        client.run("ip", &["address", "add", &format!("{address}/16"), "dev", "eth0"])?;
        client.run("ethtool", &["-K", "eth0", "tx", "off"]).context("install the package ethtool")?;
    }
    let ethtool = find("ethtool", "ethtool")?;
    converse(Command::new(ethtool).args(["-K", "srv0", "tx", "off"]), "")?;
    Ok(place)
}
