//! A command, watched: when each of its lines came, when it ended and how, what it cost.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// What was seen.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    /// From its start to its end.
    pub(super) whole: Duration,
    /// Its lines, on either output, and when they came.
    pub(super) lines: Vec<(Duration, String)>,
    /// Its processor time, and that of other children of ours that ended meanwhile.
    pub(super) cpu: Duration,
    pub(super) code: i32,
}

impl Timed {
    /// When the last of the lines came that are such; none if there are fewer than so many.
    pub(super) fn last_of(&self, count: usize, such: impl Fn(&str) -> bool) -> Option<Duration> {
        self.lines.iter().filter(|it| such(&it.1)).map(|it| it.0).nth(count.checked_sub(1)?)
    }

    /// All that it said.
    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|it| format!("{}\n", it.1)).collect()
    }
}

/// Runs it to its end.
pub(super) fn run(command: &mut Command) -> anyhow::Result<Timed> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (before, begun) = (children()?, Instant::now());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("run {name}"))?;
    let lines = Arc::<Mutex<Vec<(Duration, String)>>>::default();
    let outputs: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|it| Box::new(it) as _), child.stderr.take().map(|it| Box::new(it) as _)];
    let readers: Vec<_> = outputs
        .into_iter()
        .flatten()
        .map(|output| {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let at = begun.elapsed();
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push((at, line));
                }
            })
        })
        .collect();
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    let whole = begun.elapsed();
    for reader in readers {
        // It has no way to panic.
        drop(reader.join());
    }
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    let cpu = children()?.saturating_sub(before);
    Ok(Timed { whole, lines, cpu, code: status.code().unwrap_or(-1) })
}

/// Processor time of all children that have ended.
fn children() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("read what children cost")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
