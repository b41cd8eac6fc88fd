//! `cargo xtask fleet`: simulated nodes that boot from a head.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::Value;
use tests::fleet::cluster::{self, Sizes};
use tests::fleet::{self, Link, Node, Patience, Target, space};
use tests::{Head, HeadOptions};

use crate::bench::Output;

/// Some nodes failed (as pilotctl says it).
const SOME_FAILED: u8 = 3;

/// Boot simulated nodes, as many as you like, and tell how each stage went
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask fleet --nodes 500                        a head of its own, on loopback
  cargo xtask up --nodes nodes.yaml >up.json & cargo xtask fleet --up up.json --nodes 500
  cargo xtask fleet --write-nodes --nodes 500 >nodes.yaml

Nodes ask through a relay, fetch their loader by TFTP, then script, kernel, initrd and cloud-init data over HTTP, each from
an address of its own in 127.0.0.0/8. Exit code 3 says that some did not come up. `cargo xtask bench netboot --only storm`
does the same on a wire, with loss.")]
pub(crate) struct Arguments {
    /// How many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..30_000))]
    nodes: u32,
    /// All are switched on within so many seconds
    #[arg(long, default_value_t = 1)]
    spread: u64,
    /// Boot from the head that `cargo xtask up` told of in this file; it has the nodes of --write-nodes
    #[arg(long, value_name = "FILE")]
    up: Option<PathBuf>,
    /// Print the nodes.yaml of these nodes, and do nothing
    #[arg(long, conflicts_with = "up")]
    write_nodes: bool,
    /// How to print the figures
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// The nodes' addresses on loopback.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 20, 0, 0)) + number)
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.write_nodes {
        print!("{}", space::nodes_yaml(arguments.nodes, address));
        return Ok(ExitCode::SUCCESS);
    }
    space::raise_limits(arguments.nodes)?;
    let (head, dhcp, tftp) = match &arguments.up {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            let told: Value = serde_json::from_str(&text).context("read what `up` said")?;
            (None, place(&told, "dhcp")?, place(&told, "tftp")?)
        }
        None => {
            let head = Head::start(HeadOptions::default()).await?;
            let of = |service, socket| head.address(service, socket).context("the head's ports");
            let images = format!("http://{}", of(domain::Service::Images, "images")?);
            let (dhcp, tftp) = (of(domain::Service::Dhcp, "dhcp")?, of(domain::Service::Dhcp, "tftp")?);
            cluster::fill(&head, arguments.nodes, address, &images, Sizes::default()).await?;
            (Some(head), dhcp, tftp)
        }
    };
    let failed = storm(&arguments, dhcp, tftp.port()).await?;
    if let Some(head) = head {
        head.shut_down().await?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_FAILED) })
}

fn place(told: &Value, name: &str) -> anyhow::Result<SocketAddr> {
    let text = told[name].as_str().with_context(|| format!("`up` runs no {name}"))?;
    text.parse().with_context(|| format!("{text:?} is no address"))
}

async fn storm(arguments: &Arguments, dhcp: SocketAddr, tftp_port: u16) -> anyhow::Result<usize> {
    let SocketAddr::V4(server) = dhcp else { anyhow::bail!("{dhcp} is no IPv4 address") };
    ensure!(server.ip().is_loopback(), "{server} is not on loopback, where the nodes are");
    let link = Link::relay(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), server).await?;
    let target = Target { tftp_port, patience: Patience::REAL, ..Target::new(link) };
    let nodes: Vec<Node> = (1..=arguments.nodes).map(space::node).collect();
    let begun = Instant::now();
    let look = |ended: usize, failed: usize| {
        eprintln!(
            "{:7.1} s  {ended} of {} have ended, {failed} failed",
            begun.elapsed().as_secs_f64(),
            nodes.len()
        );
    };
    let report = fleet::storm(&nodes, &target, Duration::from_secs(arguments.spread), look).await;
    let summary = report.summary();
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&summary)?),
        Output::Text => {
            print!("{}", report.table());
            println!(
                "{} nodes, {} failed, {:.1} s from the first DISCOVER to the last user-data; asked again {} times",
                summary.nodes, summary.failed, summary.seconds, summary.again
            );
        }
    }
    Ok(summary.failed)
}
