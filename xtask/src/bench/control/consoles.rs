//! Consoles: lines lost, and what a console costs.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use domain::Service;
use nix::sys::signal::Signal;
use tests::settle;
use tests::swarm::{self, Options, Rate, Seen, Swarm};

use super::super::cost::{self, Meter};
use super::super::figure::{Figure, Row};
use super::logs::{Logs, Tally};
use super::site::{Site, descriptors};
use super::{Place, peers};

/// How long thousands of consoles may take to be opened.
const OPEN_MAX: Duration = Duration::from_secs(180);
/// How many nodes write at full speed at last.
const FULL: u32 = 100;
/// What is promised.
const SHARE: f64 = 0.5;
const KIB_MAX: f64 = 100.0;

/// What one program did with its consoles.
struct Watched {
    open: Duration,
    tally: Tally,
    /// Of a processor, in percent, and for a console at a line a second, in microseconds a second.
    percent: f64,
    micros: f64,
    /// What the BMCs cost meanwhile, percent of a processor.
    swarm: f64,
    kib: f64,
    descriptors: usize,
    threads: usize,
    /// While some wrote at full speed: lines a second, and percent of a processor.
    full: (f64, f64),
    /// What the BMCs have seen in all.
    seen: Seen,
}

fn options(count: u32) -> Options {
    Options { count, power_on: true, ..Options::default() }
}

/// Waits until the BMCs' consoles are open, and each of them was heard.
async fn opened(swarm: &Swarm, logs: &Logs, begun: Instant) -> anyhow::Result<Duration> {
    let count = u64::from(swarm.count());
    settle::until(OPEN_MAX, &format!("{count} consoles are open"), async || {
        Ok((swarm.total().consoles == count).then_some(()))
    })
    .await?;
    let open = begun.elapsed();
    // From here on each line counts: the nodes were silent.
    swarm.set_rate(swarm.all(), Rate::PerSecond(1.0));
    logs.all_grow(&vec![0; swarm.count() as usize], OPEN_MAX).await?;
    Ok(open)
}

/// Watches a program at a line a second a console, then with some at full speed.
async fn watch(
    place: &Place,
    swarm: &Swarm,
    logs: &Logs,
    pid: u32,
    begun: Instant,
) -> anyhow::Result<Watched> {
    let (meter, open) = (Meter::of(pid), opened(swarm, logs, begun).await?);
    let (used, swarm_used, at) = (meter.used(), swarm.processor_time(), Instant::now());
    tokio::time::sleep(place.watch).await;
    let (cpu, time) = (meter.used().saturating_sub(used).as_secs_f64(), at.elapsed().as_secs_f64());
    let swarm_cpu = swarm.processor_time().saturating_sub(swarm_used).as_secs_f64() / time * 100.0;
    let kib = cost::rss_mib(pid)? * 1024.0 / f64::from(swarm.count());
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).context("count threads")?.count();
    let descriptors = descriptors(pid)?;
    let (before, used, at) = (swarm.total().lines, meter.used(), Instant::now());
    swarm.set_rate(1..=FULL.min(swarm.count()), Rate::Full);
    tokio::time::sleep(place.watch / 3).await;
    let seconds = at.elapsed().as_secs_f64();
    let lines = (swarm.total().lines - before) as f64 / seconds;
    let full = (lines, meter.used().saturating_sub(used).as_secs_f64() / seconds * 100.0);
    let tally = logs.count(swarm).await?;
    let seen = swarm.total();
    let percent = cpu / time * 100.0;
    let micros = cpu / time / f64::from(swarm.count()) * 1e6;
    Ok(Watched { open, tally, percent, micros, swarm: swarm_cpu, kib, descriptors, threads, full, seen })
}

async fn watch_ours(place: &Place, count: u32) -> anyhow::Result<(Watched, f64)> {
    tests::fleet::space::raise_limits(count)?;
    let begun = Instant::now();
    let site = Site::start(Service::Console, options(count)).await?;
    let logs = Logs::of_ours(site.head.folder(), count);
    let watched = watch(place, &site.swarm, &logs, site.pid()?, begun).await?;
    let more = watched.kib - site.empty_kib / f64::from(count);
    site.end().await?;
    Ok((watched, more))
}

async fn watch_conman(place: &Place, count: u32) -> anyhow::Result<Watched> {
    let swarm = Swarm::start(Options { place: swarm::Place::LOOPBACK, ..options(count) })?;
    let begun = Instant::now();
    let folder = place.folder.join("consoles");
    std::fs::create_dir_all(&folder)?;
    let process = peers::conmand(&folder, count).await?;
    let logs = Logs::of_conman(&folder, count);
    let watched = watch(place, &swarm, &logs, process.pid(), begun).await?;
    peers::stop(process, Signal::SIGKILL).await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(watched)
}

fn figure(who: &str, rounds: &[Watched]) -> Figure {
    let kib = cost::median(rounds.iter().map(|it| it.kib));
    Figure::of(who, "us of processor a second a console", rounds.iter().map(|it| it.micros).collect())
        .with_cpu(kib, "KiB a console")
}

fn note(who: &str, watched: &Watched) -> Vec<String> {
    let Watched { open, tally, percent, swarm, kib, descriptors, threads, full, seen, .. } = watched;
    vec![
        format!("{who}: {}", tally.text()),
        format!(
            "{who}: all open after {:.1} s; {percent:.1} % of a processor (the BMCs {swarm:.1} %), {kib:.0} KiB a \
             console, {descriptors} descriptors, {threads} threads; full speed: {:.0} lines/s at {:.0} %",
            open.as_secs_f64(),
            full.0,
            full.1
        ),
        format!(
            "{who}: the BMCs opened {} consoles, sent {} packets again, gave {} bytes up, {} lines found nobody and {} no \
             room",
            seen.activations, seen.repeats, seen.lost_bytes, seen.unheard_lines, seen.dropped_lines
        ),
    ]
}

/// Beside conman.
pub(super) async fn beside_conman(place: &Place) -> anyhow::Result<Vec<Row>> {
    let count = place.count;
    let mut row = Row {
        what: format!("{count} consoles at a line a second, then {} at full speed", FULL.min(count)),
        target: "0 lost, processor a console <= 1/2 of conman's, <= 100 KiB a console",
        ..Row::default()
    };
    let (mut ours, mut conman, mut more) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..place.few() {
        let (watched, beyond) = watch_ours(place, count).await?;
        more = beyond;
        ours.push(watched);
        match watch_conman(place, count).await {
            Ok(watched) => conman.push(watched),
            Err(error) if conman.is_empty() => {
                peers::leave_out(&mut row, &error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    row.ours = Some(figure("console", &ours));
    row.notes.extend(ours.last().map(|it| note("console", it)).unwrap_or_default());
    row.notes.push(format!("console: {more:.0} KiB a console beyond what it holds without one"));
    if let Some(last) = conman.last() {
        row.peers.push(figure("conmand", &conman));
        row.notes.extend(note("conmand", last));
    }
    let whole = ours.iter().all(|it| it.tally.is_whole() && it.kib <= KIB_MAX);
    let peer = row.peers.first().map(|it| it.value);
    row.met = match (whole, peer, &row.ours) {
        (false, ..) => Some(false),
        (true, Some(peer), Some(ours)) => Some(ours.value <= peer * SHARE),
        _ => None,
    };
    Ok(vec![row])
}

/// As many as no peer was measured with.
pub(super) async fn alone(place: &Place, count: u32) -> anyhow::Result<Vec<Row>> {
    let (watched, more) = watch_ours(place, count).await?;
    let mut notes = note("console", &watched);
    notes.push(format!("console: {more:.0} KiB a console beyond what it holds without one"));
    let met = Some(watched.tally.is_whole() && watched.kib <= KIB_MAX);
    let ours = Some(figure("console", &[watched]));
    let what = format!("{count} consoles at a line a second, then {FULL} at full speed");
    Ok(vec![Row { what, target: "0 lost, <= 100 KiB a console", ours, met, notes, ..Row::default() }])
}
