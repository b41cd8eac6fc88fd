//! Consoles over the ends of their service, with sockets and sessions kept by what stands in for systemd.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use nix::sys::stat::Mode;
use nix::unistd::{chown, mkfifo};
use tests::program::is_whole;
use tests::swarm::{self, Counted, Options, Place, Rate, Retries, Swarm};
use tests::{Head, Net, lab, settle};

use crate::swarm_faults::{head, logged};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
const COUNT: u32 = 8;
/// More lines than may wait for the disk.
const HELD_LINES: u64 = 1000;

async fn start(settings: &[&str]) -> anyhow::Result<(Swarm, Head)> {
    let place = Place::LOOPBACK;
    // A machine under load may take its time to start a process.
    let retries = Retries { count: 100, ..Retries::default() };
    let swarm = Swarm::start(Options { count: COUNT, place, power_on: true, retries, ..Options::default() })?;
    let head = head(Service::Console, &swarm, settings).await?;
    settle::until(LIMIT, "all consoles are open", async || {
        Ok((swarm.total().consoles == u64::from(COUNT)).then_some(()))
    })
    .await
    .with_context(|| head.tails(10))?;
    swarm.set_rate(swarm.all(), Rate::PerSecond(20.0));
    Ok((swarm, head))
}

/// Waits until each log has the last line that its node wrote.
async fn complete(head: &Head, swarm: &Swarm) -> anyhow::Result<BTreeMap<u32, Counted>> {
    swarm.set_rate(swarm.all(), Rate::Off);
    let folder = head.folder().join("state/console/log");
    let mut counted = BTreeMap::new();
    let all = settle::until(LIMIT, "the last lines are logged", async || {
        for number in swarm.all() {
            let log = std::fs::read(folder.join(format!("console.nid{number:03}"))).unwrap_or_default();
            counted.insert(number, swarm::count(number, &log));
        }
        Ok(counted.iter().all(|(number, it)| it.last == swarm.seen(*number).lines).then_some(()))
    });
    let all = all.await;
    all.with_context(|| format!("{counted:#?}\n{}", head.tails(10)))?;
    Ok(counted)
}

fn log_path(head: &Head, number: u32) -> PathBuf {
    head.folder().join(format!("state/console/log/console.nid{number:03}"))
}

fn log(head: &Head, number: u32) -> String {
    std::fs::read_to_string(log_path(head, number)).unwrap_or_default()
}

/// Whether there is a mark wherever numbers are missing.
fn gaps_are_marked(number: u32, log: &str) -> anyhow::Result<()> {
    let (mut before, mut marked) = (0, false);
    for line in log.lines() {
        marked |= line.contains("<Pilothouse>");
        let counted = swarm::count(number, format!("{line}\n").as_bytes());
        if counted.there == 0 {
            continue;
        }
        ensure!(counted.last == before + 1 || marked, "from {before} to {} there is no mark", counted.last);
        (before, marked) = (counted.last, false);
    }
    Ok(())
}

#[test]
fn every_line_is_logged_once_over_restarts_of_the_service() {
    lab::test("console::every_line_is_logged_once_over_restarts_of_the_service", async |folder| {
        let _net = Net::up(&folder)?;
        let (swarm, mut head) = start(&[]).await?;
        logged(&head, swarm.all(), 5).await?;
        let opened = swarm.total().consoles;
        for _ in 0..if is_whole() { 20 } else { 4 } {
            head.stop(Service::Console).await?;
            let written = swarm.seen(1).lines;
            head.resume(Service::Console).await?;
            logged(&head, swarm.all(), written + 3).await?;
        }
        for (number, counted) in complete(&head, &swarm).await? {
            let last = swarm.seen(number).lines;
            let whole = Counted { first: 1, last, there: last, ..Counted::default() };
            ensure!(counted == whole, "nid{number:03}: {counted:?} of {last}\n{}", log(&head, number));
            let opens = log(&head, number).matches("console open").count();
            ensure!(opens == 1, "nid{number:03} was opened anew:\n{}", log(&head, number));
        }
        ensure!(swarm.total().consoles == opened, "no console was opened anew");
        head.shut_down().await
    });
}

#[test]
fn all_consoles_are_back_after_a_crash_and_the_gap_is_marked() {
    lab::test("console::all_consoles_are_back_after_a_crash_and_the_gap_is_marked", async |folder| {
        let _net = Net::up(&folder)?;
        let (swarm, mut head) = start(&["console.dead_after='4s'"]).await?;
        logged(&head, swarm.all(), 5).await?;
        // In the middle of much that is confirmed to the BMCs and is in no file yet.
        swarm.set_rate(swarm.all(), Rate::Full);
        logged(&head, swarm.all(), 100).await?;
        head.kill(Service::Console).await?;
        swarm.set_rate(swarm.all(), Rate::PerSecond(20.0));
        head.resume(Service::Console).await?;
        let written: BTreeMap<u32, u64> = swarm.all().map(|it| (it, swarm.seen(it).lines)).collect();
        settle::until(LIMIT, "all consoles have lines that were not there yet", async || {
            let last = |it: u32| swarm::count(it, log(&head, it).as_bytes()).last;
            Ok(written.iter().all(|(number, written)| last(*number) > *written).then_some(()))
        })
        .await
        .with_context(|| head.tails(10))?;
        for (number, counted) in complete(&head, &swarm).await? {
            let log = log(&head, number);
            let marked =
                log.lines().any(|it| it.contains("<Pilothouse>") && it.contains("ended without a word"));
            ensure!(marked && counted.doubled == 0, "nid{number:03}: {counted:?}\n{log}");
            gaps_are_marked(number, &log).with_context(|| format!("nid{number:03}: {counted:?}\n{log}"))?;
        }
        head.shut_down().await
    });
}

/// The log of one node is a pipe that nobody reads for a while, which holds the one thread up that writes all logs.
#[test]
fn a_disk_that_lags_holds_its_consoles_back_and_nothing_is_lost() {
    lab::test("console::a_disk_that_lags_holds_its_consoles_back_and_nothing_is_lost", async |folder| {
        let _net = Net::up(&folder)?;
        let (swarm, mut head) = start(&[]).await?;
        logged(&head, swarm.all(), 2).await?;
        complete(&head, &swarm).await?;
        head.stop(Service::Console).await?;
        let (begin, path) = (log(&head, 1), log_path(&head, 1));
        std::fs::remove_file(&path)?;
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).context("make a pipe")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let uid = Service::Console.uid();
        chown(&path, Some(uid.into()), Some(uid.into())).context("own a pipe")?;
        head.resume(Service::Console).await?;

        swarm.set_rate(swarm.all(), Rate::PerSecond(20.0));
        swarm.set_rate([1], Rate::Full);
        // Its BMC has got rid of what there is room for, and no more.
        let mut before = 0;
        settle::until(LIMIT, "node 1 is held back", async || {
            let lines = swarm.seen(1).lines;
            let held = lines > HELD_LINES && lines == std::mem::replace(&mut before, lines);
            Ok(held.then_some(()))
        })
        .await?;
        let read = Arc::new(Mutex::new(begin.into_bytes()));
        let (mut pipe, sink) = (File::open(&path)?, Arc::clone(&read));
        // It ends with the service.
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..count]);
            }
        });
        swarm.set_rate(swarm.all(), Rate::Off);
        let mut counted = BTreeMap::new();
        let all = settle::until(LIMIT, "the last lines are logged", async || {
            for number in swarm.all() {
                let log = match number {
                    1 => read.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                    _ => log(&head, number).into_bytes(),
                };
                counted.insert(number, swarm::count(number, &log));
            }
            Ok(counted.iter().all(|(number, it)| it.last == swarm.seen(*number).lines).then_some(()))
        });
        let all = all.await;
        all.with_context(|| format!("{counted:#?}\n{}", head.tails(10)))?;
        for (number, counted) in counted {
            let last = swarm.seen(number).lines;
            let whole = Counted { first: 1, last, there: last, ..Counted::default() };
            ensure!(counted == whole, "nid{number:03}: {counted:?} of {last}");
        }
        head.shut_down().await?;
        ensure!(reader.join().is_ok(), "the pipe's reader panicked");
        Ok(())
    });
}
