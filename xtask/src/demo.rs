//! `cargo xtask demo`: a head and three virtual nodes on a private network of this machine.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use tests::demo::{Demo, Kind};
use tests::program::{build, top};
use tests::vm::kvm;
use tests::{Node, lab};
use tokio::signal::unix::{SignalKind, signal};

use crate::{image, root};

/// How long the lab may take to end by itself after a signal; then it is killed whole.
const END_MAX: Duration = Duration::from_secs(15);
/// The nodes.
const NODES: u8 = 3;
/// The last is in no inventory at first.
const UNKNOWN: u8 = 3;

/// Boot a head and three virtual nodes with BMCs on a private network, down to the log-in, and stay up until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask demo                                  stays up
  cargo xtask demo --once                           ends after the log-ins, with a table of steps and seconds
  cargo xtask demo --services                       the head's services as processes of this machine, without its VM
  cargo xtask enter pilotctl console nid001         beside a demo that runs: its consoles, shells and APIs

The first run builds everything, which takes a while; each set of packages is announced before it is installed.
Nothing outlives it, whenever it is interrupted.")]
pub(crate) struct Arguments {
    /// End after the log-ins
    #[arg(long)]
    once: bool,
    /// Run the head's services as processes, not in a virtual machine
    #[arg(long)]
    services: bool,
    /// Boot these nodes alone
    #[arg(long, value_delimiter = ',', value_name = "NID", value_parser = clap::value_parser!(u8).range(1..=3))]
    nodes: Vec<u8>,
}

/// Run a command beside the demo that runs: on its network, with pilotctl at hand; a shell if none is named
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask enter pilotctl nodes list
  cargo xtask enter pilotctl console nid001         &. leaves
  cargo xtask enter ipmitool -I lanplus -C 3 -H 172.16.0.101 -U admin -P secret12 power status
  cargo xtask enter                                 a shell")]
pub(crate) struct EnterArguments {
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if lab::is_inside() {
        let place = lab::settle_in()?;
        return root::runtime()?.block_on(inside(arguments, place));
    }
    image::script("image/prepare", &["all"])?;
    image::script("image/build", &["compute", "target/image/compute"])?;
    eprintln!("building the programs");
    let programs = if arguments.services {
        build("dev", &["--package", "pilothouse", "--package", "cli"])?
    } else {
        image::head(false)?
    };
    let kvm = kvm::works()?;
    eprintln!("virtual machines run under {}", if kvm { "KVM" } else { "TCG; KVM does not work here" });
    let status = root::runtime()?.block_on(outside(programs, kvm))?;
    if status.success() { Ok(()) } else { bail!("the demo did not end well ({status})") }
}

/// Runs ourselves inside a lab and hands signals on.
async fn outside(programs: PathBuf, kvm: bool) -> anyhow::Result<ExitStatus> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut command = tokio::process::Command::from(lab::command(std::env::args_os().skip(1))?);
    command.env(kvm::VARIABLE, if kvm { "yes" } else { "no" });
    let mut lab = command.env("PILOTHOUSE_PROGRAMS", programs).spawn().context("enter a lab")?;
    let pid = lab.id().unwrap_or_default();
    std::fs::write(pid_file(), pid.to_string()).context("note the demo's pid")?;
    let asked = tokio::select! {
        ended = lab.wait() => Some(ended),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let ended = match asked {
        Some(ended) => ended,
        None => {
            if let Some(first) = lab::first_process(pid) {
                kill(first, Signal::SIGTERM).context("ask the lab to end")?;
            }
            match tokio::time::timeout(END_MAX, lab.wait()).await {
                Ok(ended) => ended,
                Err(_) => {
                    lab.start_kill().context("kill the lab")?;
                    lab.wait().await
                }
            }
        }
    };
    std::fs::remove_file(pid_file()).context("forget the demo's pid")?;
    ended.context("wait for the lab")
}

fn pid_file() -> PathBuf {
    top().join("target/demo.pid")
}

async fn inside(arguments: &Arguments, place: PathBuf) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let kind = if arguments.services { Kind::Processes } else { Kind::Machine };
    let mut nids = if arguments.nodes.is_empty() { (1..=NODES).collect() } else { arguments.nodes.clone() };
    nids.sort_unstable();
    nids.dedup();
    let work = async {
        let nodes: Vec<Node> = nids.iter().map(|nid| Node::demo(*nid)).collect();
        let known = nodes.iter().filter(|it| it.nid != UNKNOWN).count();
        let mut demo = Demo::start(&place, kind, &nodes, known).await?;
        for nid in nids {
            if nid == UNKNOWN {
                demo.boot_unknown(nid).await?
            } else {
                demo.boot(nid).await?
            }
            demo.await_secret(nid).await?;
            demo.await_log(nid).await?;
        }
        anyhow::Ok(demo)
    };
    let demo = tokio::select! {
        done = work => done?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    println!("{}", demo.steps.table());
    if !arguments.once {
        println!("It stays up until Ctrl-C. Beside it, in another terminal:\n{ENTER}");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    demo.place.shut_down().await
}

const ENTER: &str = "  cargo xtask enter pilotctl nodes list
  cargo xtask enter pilotctl console nid001          &. leaves
  cargo xtask enter curl http://172.16.0.254:8081/boot/v1/bootscript?mac=52:54:00:10:00:01
  cargo xtask enter                                  a shell on the nodes' network";

pub(crate) fn enter(arguments: &EnterArguments) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    let pid = std::fs::read_to_string(pid_file()).context("no demo runs; start `cargo xtask demo`")?;
    let first = pid.trim().parse().ok().and_then(lab::first_process);
    let first = first.context("the demo that ran has ended; start `cargo xtask demo`")?;
    let head = lab::place()?.join("head");
    let programs = top().join("target/debug").canonicalize().context("find the programs")?;
    let path = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let shell = vec![std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned())];
    let words = if arguments.command.is_empty() { &shell } else { &arguments.command };
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &first.to_string(),
        "--user",
        "--preserve-credentials",
        "--mount",
        "--net",
        "--pid",
    ]);
    if nix::unistd::Uid::effective().is_root() {
        // Root's lab is in root's own user namespace, and the kernel refuses to enter that again.
        command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--mount", "--net", "--pid"]);
    }
    command.arg("--").args(words).env("PATH", path);
    command.env("PILOTHOUSE_RUN", head.join("run")).env("PILOTHOUSE_CONFIG", head.join("pilothouse.toml"));
    Err(command.exec()).context("run nsenter")
}
