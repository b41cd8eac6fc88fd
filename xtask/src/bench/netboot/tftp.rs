//! TFTP: 1 MB to 200 clients at once, and 64 MB to one by windows.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use tests::head::Ports;
use tests::{Head, HeadOptions};

use super::peers::{self, Tftp};
use super::table::{Figure, Row, best};
use super::tftp_load::Outcome;
use super::{OURS, Place, cost};

/// Names that our table of loaders has; all serve the same files.
const SMALL: &str = "undionly.kpxe";
const LARGE: &str = "snponly.efi";
const MIB: usize = 1 << 20;
/// Where the clients' addresses begin, all of them local to the load's namespace.
const SOURCES: &str = "10.99.2.0/24";
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 1);

/// What is fetched.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    file: &'static str,
    bytes: usize,
    clients: u32,
    window: u16,
}

const CASES: [Case; 2] = [
    Case {
        what: "1 MB to 200 clients, blksize 1428, last one done",
        file: SMALL,
        bytes: MIB,
        clients: 200,
        window: 1,
    },
    Case {
        what: "64 MB to one client, blksize 1428, window 16",
        file: LARGE,
        bytes: 64 * MIB,
        clients: 1,
        window: 16,
    },
];

/// Both rows.
pub(super) async fn rows(place: &Place) -> anyhow::Result<Vec<Row>> {
    let root = write_files(place)?;
    // Once only: a second row of the bench finds it there.
    place.load.run("ip", &["route", "replace", "local", SOURCES, "dev", "lo"])?;
    let mut ours = start_ours(place, &root).await?;
    let mut rows = Vec::new();
    for case in CASES {
        let mut row = Row {
            what: format!("TFTP: {}", case.what),
            target: "<= 1.0 x the best, processor too",
            ..Row::default()
        };
        let mut measured = vec![(None, Vec::<(Outcome, Duration)>::new())];
        for peer in [Tftp::Dnsmasq, Tftp::TftpdHpa, Tftp::Atftpd] {
            match peer.start(place, &root).await {
                Ok(process) => {
                    peers::stop(process).await?;
                    measured.push((Some(peer), Vec::new()));
                }
                Err(error) => row.notes.push(format!("not measured: {error:#}")),
            }
        }
        for round in 1..=place.rounds {
            eprintln!("  {}: round {round} of {}", case.what, place.rounds);
            for (peer, outcomes) in &mut measured {
                outcomes.push(measure(place, *peer, case, &root, &mut ours).await?);
            }
        }
        let mut figures = measured.into_iter().map(|(peer, outcomes)| {
            let seconds = outcomes.iter().map(|it| it.0.seconds).collect();
            let cpu = cost::median(outcomes.iter().map(|it| it.1.as_secs_f64()));
            let (again, window) = (outcomes.iter().map(|it| it.0.again).sum::<u32>(), outcomes[0].0.window);
            let who = peer.map_or("Pilothouse", Tftp::name);
            row.notes.push(format!("{who}: window {window}, {again} packets asked for again"));
            Figure::of(who, "s", seconds).with_cpu(cpu, "s of processor")
        });
        row.ours = figures.next();
        row.peers = figures.collect();
        let ratio = |pick: fn(&Figure) -> Option<f64>| {
            Some(row.ours.as_ref().and_then(pick)? / best(&row.peers, false, pick)?)
        };
        let (time, cpu) = (ratio(|it| Some(it.value)), ratio(|it| it.cpu));
        row.met = time.zip(cpu).map(|(time, cpu)| time <= 1.0 && cpu <= 1.0);
        let (time, cpu) = (time.unwrap_or_default(), cpu.unwrap_or_default());
        row.notes.push(format!("{time:.2} x the best's time, {cpu:.2} x the best's processor"));
        rows.push(row);
    }
    ours.shut_down().await?;
    Ok(rows)
}

fn write_files(place: &Place) -> anyhow::Result<PathBuf> {
    let root = place.folder.join("tftp");
    fs::create_dir_all(&root)?;
    for (name, size) in [(SMALL, MIB), (LARGE, 64 * MIB)] {
        let bytes: Vec<u8> = (0..size).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(root.join(name), bytes).context("write what is served by TFTP")?;
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o644))?;
    }
    for folder in [&place.folder, &root] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(root)
}

async fn start_ours(place: &Place, root: &std::path::Path) -> anyhow::Result<Head> {
    let mut document = tests::document::demo("srv0", &format!("{OURS}/16"));
    tests::document::set(&mut document, "dhcp.tftp_root", root.display().to_string().into())?;
    let options = HeadOptions {
        services: vec![Service::Inventory, Service::Dhcp],
        document,
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        ..HeadOptions::default()
    };
    let head = Head::start(options).await?;
    ensure!(place.folder.exists(), "the bench's folder is gone");
    Ok(head)
}

async fn measure(
    place: &Place,
    peer: Option<Tftp>,
    case: Case,
    root: &std::path::Path,
    ours: &mut Head,
) -> anyhow::Result<(Outcome, Duration)> {
    let (pid, process, address) = match peer {
        None => (ours.pid(Service::Dhcp).context("dhcp runs")?, None, OURS),
        Some(peer) => {
            let process = peer.start(place, root).await?;
            (process.pid(), Some(process), peers::ADDRESS)
        }
    };
    let meter = cost::Meter::of(pid);
    let before = meter.used();
    let outcome = load(place, address, case)?;
    // A server that starts a process for each client counts it when it has ended.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cpu = meter.used().saturating_sub(before);
    if let Some(process) = process {
        peers::stop(process).await?;
    }
    let whole = u64::from(case.clients) * case.bytes as u64;
    ensure!(outcome.bytes == whole, "{} bytes came, {whole} were asked for", outcome.bytes);
    let who = peer.map_or("Pilothouse", Tftp::name);
    eprintln!("    {who}: {:.3} s, {:.3} s of processor", outcome.seconds, cpu.as_secs_f64());
    Ok((outcome, cpu))
}

fn load(place: &Place, server: Ipv4Addr, case: Case) -> anyhow::Result<Outcome> {
    let own = std::env::current_exe().context("find our own program")?;
    let (clients, window) = (case.clients.to_string(), case.window.to_string());
    let (server, source) = (format!("{server}:69"), SOURCE.to_string());
    let words = [
        "bench",
        "tftp-load",
        &server,
        case.file,
        "--clients",
        &clients,
        "--block",
        "1428",
        "--window",
        &window,
        "--source",
        &source,
    ];
    let mut command = place.load.command("env", &[])?;
    let output = command.arg(own).args(words).output().context("run the clients")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the clients: {text}");
    serde_json::from_slice(&output.stdout).context("read what the clients say")
}
