//! What processes cost: processor time and memory, with all they started.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

/// Processor time of these processes so far, of their descendants, and of those of them that have ended (proc(5), stat,
/// fields 14 to 17, in hundredths of a second).
pub(super) fn cpu(pids: &[u32]) -> Duration {
    let ticks = |pid: &u32| -> u64 {
        // One that ended meanwhile is counted by its parent.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
        let fields = text.rsplit_once(") ").map_or("", |it| it.1);
        fields.split(' ').skip(11).take(4).filter_map(|it| it.parse::<u64>().ok()).sum()
    };
    Duration::from_millis(tree(pids).iter().map(ticks).sum::<u64>() * 10)
}

/// Their resident memory, MiB.
pub(super) fn rss_mib(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("read what a process holds")?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// These processes and all that they have started.
pub(super) fn tree(pids: &[u32]) -> Vec<u32> {
    let mut all = pids.to_vec();
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(text.split_whitespace().filter_map(|it| it.parse::<u32>().ok()));
        }
    }
    all
}

/// Processor time of a program and all it starts, also of what it does not wait for: a control group of its own where
/// the machine has them, else what [`cpu`] sees.
pub(super) struct Meter {
    group: Option<PathBuf>,
    pid: u32,
}

impl Meter {
    /// Counts a program from now on.
    pub(super) fn of(pid: u32) -> Self {
        let roots = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"];
        let name = format!("pilothouse-bench-{pid}");
        let join = |root: &str| {
            let group = Path::new(root).join(&name);
            fs::create_dir_all(&group)
                .and_then(|()| fs::write(group.join("cgroup.procs"), pid.to_string()))
                .ok()?;
            nanoseconds(&group).map(|_| group)
        };
        Self { group: roots.into_iter().find_map(join), pid }
    }

    pub(super) fn used(&self) -> Duration {
        let told = self.group.as_deref().and_then(nanoseconds);
        told.map_or_else(|| cpu(&[self.pid]), Duration::from_nanos)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // With processes still in it, it stays, and the next meter of the same program takes it again.
        if let Some(group) = &self.group
            && let Err(error) = fs::remove_dir(group)
            && error.kind() != std::io::ErrorKind::ResourceBusy
        {
            eprintln!("bench: {}: {error}", group.display());
        }
    }
}

/// What a control group has used: the first version's file, or the second's.
fn nanoseconds(group: &Path) -> Option<u64> {
    if let Ok(text) = fs::read_to_string(group.join("cpuacct.usage")) {
        return text.trim().parse().ok();
    }
    let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let micros: u64 = text.lines().find_map(|it| it.strip_prefix("usage_usec "))?.parse().ok()?;
    Some(micros * 1000)
}

/// The middle one.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
