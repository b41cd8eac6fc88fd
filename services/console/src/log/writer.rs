//! The threads behind the logs: one writes, one compresses and removes what is old.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;

use super::{Log, Settings, aside};

/// What consoles write within this time is written together.
const GATHER: Duration = Duration::from_millis(10);
/// A log that was not written to for so long gives its descriptors back.
const IDLE: Duration = Duration::from_secs(60);
/// How often that is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// Logs with open files; each has two. Below the unit's LimitNOFILE=.
const OPEN_MAX: usize = 12_000;
/// How often old logs are looked for, of consoles too that write nothing more.
const TIDY: Duration = Duration::from_secs(3600);

/// What the writer is told.
pub(super) enum Job {
    /// Something waits.
    Write(Arc<Log>),
    /// This console's log was put aside.
    Tidy(String),
    /// There is no more.
    End,
}

/// The threads while they run.
pub(super) struct Threads {
    writer: JoinHandle<bool>,
    tidier: JoinHandle<()>,
}

impl Threads {
    pub(super) fn start(jobs: Receiver<Job>, settings: Arc<Settings>) -> io::Result<Self> {
        let (names, names_of) = channel();
        let tidier =
            Builder::new().name("log-tidier".to_owned()).spawn(move || tidy(&settings, &names_of))?;
        let writer = Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || Writer { opened: Vec::new(), looked: Instant::now(), names }.run(&jobs))?;
        Ok(Self { writer, tidier })
    }

    /// Ends them; all that waited is written then, or it is told that it is not.
    pub(super) fn end(self, jobs: &Sender<Job>) -> bool {
        let told = jobs.send(Job::End).is_ok();
        // The tidier ends with the writer, its only sender.
        match (told, self.writer.join(), self.tidier.join()) {
            (true, Ok(whole), Ok(())) => whole,
            _ => {
                tracing::error!("a thread of the logs ended by a panic");
                false
            }
        }
    }
}

struct Writer {
    /// The logs with open files, in no order.
    opened: Vec<Arc<Log>>,
    looked: Instant,
    names: Sender<String>,
}

impl Writer {
    /// Whether no log lacks what it does not say.
    fn run(&mut self, jobs: &Receiver<Job>) -> bool {
        loop {
            match jobs.recv_timeout(LOOK) {
                Ok(first) => {
                    if !matches!(first, Job::End) {
                        std::thread::sleep(GATHER);
                    }
                    let now = OffsetDateTime::now_utc();
                    let mut end = false;
                    for job in std::iter::once(first).chain(jobs.try_iter()) {
                        end |= self.take(job, now);
                    }
                    if end {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.looked.elapsed() >= LOOK || self.opened.len() > OPEN_MAX {
                self.close_idle();
            }
        }
        self.opened.iter().all(|log| log.files().unwritten == 0)
    }

    /// Whether it was the last.
    fn take(&mut self, job: Job, now: OffsetDateTime) -> bool {
        match job {
            Job::Write(log) => {
                let known = log.files().used.is_some();
                log.flush(now);
                if !known {
                    self.opened.push(log);
                }
                false
            }
            Job::Tidy(name) => {
                if self.names.send(name).is_err() {
                    tracing::debug!("old logs are not looked after any more");
                }
                false
            }
            Job::End => true,
        }
    }

    /// Closes the files of logs that nothing is written to; where too many are open, of half of them.
    fn close_idle(&mut self) {
        self.looked = Instant::now();
        let used = |log: &Arc<Log>| log.files().used.unwrap_or(self.looked);
        let mut latest: Vec<Instant> = self.opened.iter().map(used).collect();
        let mut limit = self.looked.checked_sub(IDLE);
        if latest.len() > OPEN_MAX {
            latest.sort_unstable();
            limit = latest.get(latest.len() / 2).copied();
        }
        let Some(limit) = limit else { return };
        self.opened.retain(|log| {
            let mut files = log.files();
            let stays = files.unwritten > 0 || files.used.is_some_and(|it| it > limit);
            if !stays {
                files.close();
                files.used = None;
            }
            stays
        });
    }
}

fn tidy(settings: &Settings, names: &Receiver<String>) {
    let mut all = None;
    loop {
        if all.is_none_or(|it: Instant| it.elapsed() >= TIDY) {
            aside::tidy(settings, None, SystemTime::now());
            all = Some(Instant::now());
        }
        match names.recv_timeout(TIDY) {
            Ok(name) => aside::tidy(settings, Some(&name), SystemTime::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
