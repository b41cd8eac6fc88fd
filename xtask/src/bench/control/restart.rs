//! The service of consoles is started again: with its descriptors kept, and after it was killed.

use std::time::{Duration, Instant};

use domain::Service;
use nix::sys::signal::Signal;
use tests::swarm::{self, Options, Rate, Swarm};

use super::super::figure::{Figure, Row};
use super::logs::Logs;
use super::site::Site;
use super::{Place, peers};

/// How long all consoles may take to log again before this is given up.
const AGAIN_MAX: Duration = Duration::from_secs(120);
/// How long it goes on when all of them log again: a session that the BMC ends later takes its line with it.
const AFTER: Duration = Duration::from_secs(5);
/// conmand's consoles fell silent 30 s after it was killed and started.
const AFTER_PEER: Duration = Duration::from_secs(40);
/// What is promised.
const STARTED_MAX_S: f64 = 5.0;
const KILLED_MAX_S: f64 = 60.0;
/// What a line of ours in a log begins with.
const MARK: &str = "<Pilothouse> ";

/// What came of one restart.
struct Outcome {
    /// From the end of the old process's work until all consoles log again.
    seconds: f64,
    lost: u64,
    /// Whether what was lost is marked in the logs.
    marked: bool,
    note: String,
}

fn options(place: &Place) -> Options {
    Options { count: place.count, power_on: true, ..Options::default() }
}

async fn begin(swarm: &Swarm, logs: &Logs) -> anyhow::Result<()> {
    swarm.set_rate(swarm.all(), Rate::PerSecond(1.0));
    logs.all_grow(&vec![0; swarm.count() as usize], AGAIN_MAX).await.map(drop)
}

async fn ours(place: &Place, kill: bool) -> anyhow::Result<Outcome> {
    let mut site = Site::start(Service::Console, options(place)).await?;
    let logs = Logs::of_ours(site.head.folder(), place.count);
    begin(&site.swarm, &logs).await?;
    let marks = logs.marks(MARK);
    let begun = Instant::now();
    if kill {
        site.head.kill(Service::Console).await?;
    } else {
        site.head.stop(Service::Console).await?;
    }
    let (stopped, sizes) = (begun.elapsed(), logs.sizes());
    site.head.resume(Service::Console).await?;
    logs.all_grow(&sizes, AGAIN_MAX).await?;
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(AFTER).await;
    let tally = logs.count(&site.swarm).await?;
    let total = site.swarm.total();
    let note = format!(
        "{}; stopped after {:.2} s; the BMCs gave {} bytes up and opened {} consoles; {} marks before, {} after",
        tally.text(),
        stopped.as_secs_f64(),
        total.lost_bytes,
        total.activations,
        marks,
        logs.marks(MARK)
    );
    let marked = tally.lost == 0 || logs.marks(MARK) > marks;
    site.end().await?;
    Ok(Outcome { seconds, lost: tally.lost + tally.doubled, marked, note })
}

async fn conman(place: &Place, signal: Signal) -> anyhow::Result<Outcome> {
    let swarm = Swarm::start(Options { place: swarm::Place::LOOPBACK, ..options(place) })?;
    let folder = place.folder.join("restart");
    std::fs::create_dir_all(&folder)?;
    let process = peers::conmand(&folder, place.count).await?;
    let logs = Logs::of_conman(&folder, place.count);
    begin(&swarm, &logs).await?;
    let begun = Instant::now();
    let stopped = peers::stop(process, signal).await?;
    let sizes = logs.sizes();
    let process = peers::conmand(&folder, place.count).await?;
    logs.all_grow(&sizes, AGAIN_MAX).await?;
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(AFTER_PEER).await;
    let sizes = logs.sizes();
    let silent = match logs.all_grow(&sizes, AFTER).await {
        Ok(_) => "",
        Err(_) => "; some had fallen silent 40 s later",
    };
    let tally = logs.count(&swarm).await?;
    peers::stop(process, Signal::SIGKILL).await?;
    std::fs::remove_dir_all(&folder)?;
    let note = format!("{}; stopped after {:.1} s{silent}", tally.text(), stopped.as_secs_f64());
    Ok(Outcome { seconds, lost: tally.lost + tally.doubled, marked: false, note })
}

pub(super) async fn rows(place: &Place) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kill, signal, what, target, most) in [
        (false, Signal::SIGTERM, "stop and start", "0 lost, all log again <= 5 s", STARTED_MAX_S),
        (true, Signal::SIGKILL, "kill -9 and start", "all log again <= 60 s, the gap marked", KILLED_MAX_S),
    ] {
        let what = format!("{what} with {} consoles at a line a second", place.count);
        let mut row = Row { what, target, ..Row::default() };
        let (mut our, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..place.few() {
            our.push(ours(place, kill).await?);
            match conman(place, signal).await {
                Ok(outcome) => peer.push(outcome),
                Err(error) if peer.is_empty() => {
                    peers::leave_out(&mut row, &error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let figure =
            |who: &str, all: &[Outcome]| Figure::of(who, "s", all.iter().map(|it| it.seconds).collect());
        row.notes.extend(our.iter().map(|it| format!("console: {}", it.note)));
        row.notes.extend(peer.iter().map(|it| format!("conmand: {}", it.note)));
        let whole = our.iter().all(|it| if kill { it.marked } else { it.lost == 0 });
        row.met = Some(whole && our.iter().all(|it| it.seconds <= most));
        row.ours = Some(figure("console", &our));
        row.peers.extend((!peer.is_empty()).then(|| figure("conmand", &peer)));
        rows.push(row);
    }
    Ok(rows)
}
