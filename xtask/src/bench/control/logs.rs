//! What is in the logs of consoles.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tests::settle;
use tests::swarm::{self, Rate, Swarm};

/// How long lines may take from a BMC into a log.
const DRAINED_MAX: Duration = Duration::from_secs(60);

/// Where the logs are, one a BMC.
pub(super) struct Logs {
    folder: PathBuf,
    prefix: &'static str,
    suffix: &'static str,
    count: u32,
}

/// What came of all consoles together.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Lines that are in the logs.
    pub(super) there: u64,
    /// Lines that are not, from the first one in a log to the last one that its node wrote.
    pub(super) lost: u64,
    /// The most that one console lost.
    pub(super) most: u64,
    pub(super) doubled: u64,
    pub(super) broken: u64,
    /// Consoles without a line.
    pub(super) empty: u64,
}

impl Logs {
    pub(super) fn of_ours(folder: &Path, count: u32) -> Self {
        Self { folder: folder.join("state/console/log"), prefix: "console.", suffix: "", count }
    }

    pub(super) fn of_conman(folder: &Path, count: u32) -> Self {
        Self { folder: super::peers::conman_logs(folder), prefix: "", suffix: ".log", count }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{}nid{number:03}{}", self.prefix, self.suffix))
    }

    /// The sizes of all logs, 0 for one that is not there.
    pub(super) fn sizes(&self) -> Vec<u64> {
        (1..=self.count).map(|it| fs::metadata(self.path(it)).map_or(0, |it| it.len())).collect()
    }

    /// Waits until a whole line of its node was added to each log since its size was this; how long that took.
    pub(super) async fn all_grow(&self, since: &[u64], limit: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut waiting: Vec<u32> = (1..=self.count).collect();
        let what = format!("lines are added to all {} logs in {}", self.count, self.folder.display());
        settle::until(limit, &what, async || {
            let still = |it: &u32| -> bool {
                let from = since[*it as usize - 1];
                // Rotated logs are smaller; then all is new.
                let bytes = fs::read(self.path(*it)).unwrap_or_default();
                let new = bytes.get(from as usize..).unwrap_or(&bytes);
                swarm::count(*it, new).there == 0
            };
            waiting.retain(still);
            Ok(waiting.is_empty().then_some(()))
        })
        .await
        .with_context(|| format!("{} have nothing new", self.count))?;
        Ok(begun.elapsed())
    }

    /// Lets the nodes fall silent and counts all.
    pub(super) async fn count(&self, swarm: &Swarm) -> anyhow::Result<Tally> {
        swarm.set_rate(swarm.all(), Rate::Off);
        let mut before = (0, self.sizes());
        settle::until(DRAINED_MAX, "the BMCs have nothing more to say", async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = (swarm.total().waiting_bytes, self.sizes());
            let same = now == before && now.0 == 0;
            before = now;
            Ok(same.then_some(()))
        })
        .await?;
        let mut tally = Tally::default();
        for number in 1..=self.count {
            let log = self.read(number)?;
            let counted = swarm::count(number, &log);
            let last = swarm.seen(number).lines;
            if counted.there == 0 {
                tally.empty += 1;
                continue;
            }
            ensure!(counted.last <= last, "nid{number:03} has line {} of {last}", counted.last);
            let lost = last + 1 - counted.first - counted.there;
            tally.there += counted.there;
            tally.lost += lost;
            tally.most = tally.most.max(lost);
            tally.doubled += counted.doubled;
            tally.broken += counted.broken;
        }
        Ok(tally)
    }

    /// A log with those that were put aside and not compressed, the oldest first.
    fn read(&self, number: u32) -> anyhow::Result<Vec<u8>> {
        let path = self.path(number);
        let mut bytes = Vec::new();
        for aside in (1..=9).rev().map(|it| format!("{}.{it}", path.display())) {
            bytes.extend(fs::read(aside).unwrap_or_default());
        }
        bytes.extend(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        Ok(bytes)
    }

    /// How often this stands in all logs together.
    pub(super) fn marks(&self, word: &str) -> usize {
        let marks = |it: u32| {
            let text = fs::read(self.path(it)).unwrap_or_default();
            String::from_utf8_lossy(&text).matches(word).count()
        };
        (1..=self.count).map(marks).sum()
    }
}

impl Tally {
    pub(super) fn text(&self) -> String {
        let Self { there, lost, most, doubled, broken, empty } = self;
        format!(
            "{there} lines logged, {lost} lost (at most {most} a console), {doubled} twice, {broken} broken, {empty} \
             consoles without a line"
        )
    }

    pub(super) fn is_whole(&self) -> bool {
        self.lost + self.doubled + self.broken + self.empty == 0
    }
}
