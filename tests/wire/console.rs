//! Consoles over the ends of their service, with sockets and sessions kept by what stands in for systemd.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use tests::program::is_whole;
use tests::swarm::{self, Counted, Options, Place, Rate, Retries, Swarm};
use tests::{Head, Net, lab, settle};

use crate::swarm_faults::{head, logged};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
const COUNT: u32 = 8;

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

fn log(head: &Head, number: u32) -> String {
    let path = head.folder().join(format!("state/console/log/console.nid{number:03}"));
    std::fs::read_to_string(path).unwrap_or_default()
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
        head.kill(Service::Console).await?;
        let written = swarm.seen(1).lines;
        head.resume(Service::Console).await?;
        // Lines that were not there yet: it is back.
        logged(&head, swarm.all(), written + 3).await?;
        for (number, counted) in complete(&head, &swarm).await? {
            let log = log(&head, number);
            let marked =
                log.lines().any(|it| it.contains("<Pilothouse>") && it.contains("ended without a word"));
            ensure!(marked && counted.doubled == 0, "nid{number:03}: {counted:?}\n{log}");
            // What was received and not written yet is lost: some thousandths of a second.
            ensure!(counted.missing <= 5, "nid{number:03}: {counted:?}");
        }
        head.shut_down().await
    });
}
