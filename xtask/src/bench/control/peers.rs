//! The programs that are measured beside ours, over the same BMCs, with settings that are printed.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use tests::program::find;
use tests::swarm::{self, Place};
use tests::{Process, Run, settle};

use super::super::figure::Row;

/// How long a peer may take until it answers, and until it has ended: conmand took 45 s with 200 consoles.
const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(120);
/// powermand's ipmipower finds out in the background who answers; it is not asked before.
const DISCOVERY: Duration = Duration::from_secs(3);

/// Where image/prepare unpacks powerman and conman of Debian 13, which go before those of this machine.
const PEERS: &str = "/usr/local/lib/pilothouse-peers";

/// A peer's program.
fn peer(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let unpacked = ["usr/bin", "usr/sbin"].map(|it| Path::new(PEERS).join(it).join(name));
    unpacked.into_iter().find(|it| it.is_file()).map_or_else(|| find(name, package), Ok)
}

/// Their settings, a line each.
pub(super) fn settings() -> [String; 3] {
    let account = format!("-D LAN_2_0 -u {} -p ...", swarm::USER);
    [
        format!(
            "ipmipower {account}: all else default (suite 3, session timeout 20 s, retransmission 0.4 s)"
        ),
        format!(
            "powermand: one device ipmipower ({account}), asked 3 s after its start; powerman -h 127.0.0.1"
        ),
        "conmand: ipmiopts U:..,P:.., server keepalive=ON, a log each; all else default".to_owned(),
    ]
}

fn addresses(count: u32) -> Vec<Ipv4Addr> {
    (1..=count).filter_map(|it| Place::LOOPBACK.address(it)).map(|it| *it.ip()).collect()
}

/// ipmipower on the first so many BMCs.
pub(super) fn ipmipower(count: u32, words: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(find("ipmipower", "freeipmi-tools")?);
    command.args([
        "-h",
        &crate::swarm::ranges(&addresses(count)),
        "-D",
        "LAN_2_0",
        "-u",
        swarm::USER,
        "-p",
        swarm::PASSWORD,
    ]);
    command.args(words);
    Ok(command)
}

/// powerman, whose daemon runs.
pub(super) fn powerman(words: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(peer("powerman", "powerman")?);
    command.args(["-h", "127.0.0.1:10101"]).args(words);
    Ok(command)
}

/// powermand with its ipmipower, ready to be asked.
pub(super) async fn powermand(folder: &Path, count: u32) -> anyhow::Result<Process> {
    let (powermand, ipmipower) = (peer("powermand", "powerman")?, find("ipmipower", "freeipmi-tools")?);
    let device =
        powermand.ancestors().map(|it| it.join("etc/powerman/ipmipower.dev")).find(|it| it.is_file());
    let device = device.context("powermand's definition of ipmipower is not here")?;
    let file = folder.join("powerman.conf");
    std::fs::write(&file, crate::swarm::powerman(&addresses(count), &device, &ipmipower))?;
    // Up to 2.3 it goes into the background unless it is told not to; from 2.4 on it never does, and cannot be told.
    let help = Command::new(&powermand).arg("--help").output().context("ask powermand for its options")?;
    let forks =
        [help.stdout, help.stderr].iter().any(|it| String::from_utf8_lossy(it).contains("--foreground"));
    let run = Run::new("powermand", powermand, folder.join("powermand.log"));
    let process = run.args(forks.then_some("-f")).arg("-c").arg(&file).spawn()?;
    listening(&process, 10101).await?;
    tokio::time::sleep(DISCOVERY).await;
    Ok(process)
}

/// Where conmand's logs are.
pub(super) fn conman_logs(folder: &Path) -> PathBuf {
    folder.join("conman")
}

/// conmand with a console for each BMC.
pub(super) async fn conmand(folder: &Path, count: u32) -> anyhow::Result<Process> {
    let logs = conman_logs(folder);
    std::fs::create_dir_all(&logs)?;
    let file = folder.join("conman.conf");
    let settings = crate::swarm::conman(&addresses(count));
    std::fs::write(&file, format!("server logdir=\"{}\"\n{settings}", logs.display()))?;
    let run = Run::new("conmand", peer("conmand", "conman")?, folder.join("conmand.log"));
    let process = run.arg("-F").arg("-c").arg(&file).spawn()?;
    listening(&process, 7890).await?;
    Ok(process)
}

/// Ends a peer, and tells how long that took.
pub(super) async fn stop(process: Process, signal: Signal) -> anyhow::Result<Duration> {
    let begun = std::time::Instant::now();
    process.stop(signal, STOP_MAX).await?;
    Ok(begun.elapsed())
}

async fn listening(process: &Process, port: u16) -> anyhow::Result<()> {
    let word = format!(":{port:04X} ");
    settle::until(START_MAX, &format!("{} listens", process.name()), async || {
        ensure!(process.is_running(), "{} ended\n{}", process.name(), process.tail(10));
        let table = std::fs::read_to_string("/proc/net/tcp").context("read /proc/net/tcp")?
            + &std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
        let listens = |it: &str| it.contains(&word) && it.contains(" 0A ");
        Ok(table.lines().any(listens).then_some(()))
    })
    .await
}

/// Notes that a peer cannot be measured.
pub(super) fn leave_out(row: &mut Row, error: &anyhow::Error) {
    let note = format!("left out: {error:#}");
    // Once, however often it is missed.
    if !row.notes.contains(&note) {
        row.notes.push(note);
    }
}
