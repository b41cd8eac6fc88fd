//! Long work as objects: who began it, how far it is, how it ended. They go on when the caller goes away, and are
//! shown for a while after their end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, OwnedObjectPath, interface};

use crate::bus::ROOT;

/// Jobs that have ended and are shown still.
const ENDED_MAX: usize = 16;

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    state: &'static str,
    percent: u32,
    step: String,
    result: u64,
    error: String,
}

/// A job as others see it.
#[derive(Debug)]
pub(crate) struct JobObject {
    id: u64,
    kind: &'static str,
    author: String,
    progress: watch::Receiver<Progress>,
}

#[interface(name = "org.pilothouse.Supervisor1.Job", introspection_docs = false)]
impl JobObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u64 {
        self.id
    }

    /// apply, rollback, resume or scheduled.
    #[zbus(property(emits_changed_signal = "const"))]
    fn kind(&self) -> &str {
        self.kind
    }

    /// The account that it is done for.
    #[zbus(property(emits_changed_signal = "const"))]
    fn author(&self) -> &str {
        &self.author
    }

    /// running, done or failed.
    #[zbus(property)]
    fn state(&self) -> &str {
        self.progress.borrow().state
    }

    /// How much of it is done, in percent of its steps.
    #[zbus(property)]
    fn progress(&self) -> u32 {
        self.progress.borrow().percent
    }

    /// What is being done, for people.
    #[zbus(property)]
    fn step(&self) -> String {
        self.progress.borrow().step.clone()
    }

    /// The generation that came of it; 0 before its end.
    #[zbus(property)]
    fn result(&self) -> u64 {
        self.progress.borrow().result
    }

    /// Why it failed; empty if it did not.
    #[zbus(property)]
    fn error(&self) -> String {
        self.progress.borrow().error.clone()
    }
}

/// Every job that is shown.
#[derive(Debug)]
pub(crate) struct Jobs {
    connection: Connection,
    last: AtomicU64,
    ended: Mutex<VecDeque<u64>>,
}

/// A job under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) path: OwnedObjectPath,
    id: u64,
    connection: Connection,
    progress: watch::Sender<Progress>,
}

impl Jobs {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, last: AtomicU64::new(0), ended: Mutex::default() }
    }

    /// Begins one.
    ///
    /// # Errors
    ///
    /// If the bus does not take its object.
    pub(crate) async fn begin(&self, kind: &'static str, author: &str) -> zbus::Result<Job> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let path = OwnedObjectPath::try_from(object_path(id))?;
        let progress = watch::Sender::new(Progress { state: "running", ..Progress::default() });
        let object = JobObject { id, kind, author: author.to_owned(), progress: progress.subscribe() };
        self.connection.object_server().at(path.as_str(), object).await?;
        Ok(Job { path, id, connection: self.connection.clone(), progress })
    }

    /// Says how a job ended: the generation, or why there is none.
    pub(crate) async fn end(&self, job: &Job, ended: Result<u64, String>) {
        let (state, result, error) = match ended {
            Ok(generation) => ("done", generation, String::new()),
            Err(error) => ("failed", 0, error),
        };
        job.change(|it| {
            *it = Progress { state, percent: 100, step: String::new(), result, error };
        })
        .await;
        let old = {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.push_back(job.id);
            if ended.len() > ENDED_MAX { ended.pop_front() } else { None }
        };
        if let Some(old) = old
            && let Err(error) = self.connection.object_server().remove::<JobObject, _>(object_path(old)).await
        {
            log::debug!("job {old} is not shown any more: {error}");
        }
    }
}

impl Job {
    /// Says how far it is.
    pub(crate) async fn reach(&self, percent: u32, step: &str) {
        self.change(|it| {
            it.percent = percent;
            step.clone_into(&mut it.step);
        })
        .await;
    }

    async fn change(&self, change: impl FnOnce(&mut Progress)) {
        let before = self.progress.borrow().clone();
        self.progress.send_modify(change);
        let after = self.progress.borrow().clone();
        if let Err(error) = self.announce(&before, &after).await {
            log::debug!("cannot announce the progress of {}: {error}", self.path);
        }
    }

    async fn announce(&self, before: &Progress, after: &Progress) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let object: InterfaceRef<JobObject> = server.interface(self.path.as_str()).await?;
        let (shown, emitter) = (object.get().await, object.signal_emitter());
        if before.percent != after.percent {
            shown.progress_changed(emitter).await?;
        }
        if before.step != after.step {
            shown.step_changed(emitter).await?;
        }
        if before.result != after.result {
            shown.result_changed(emitter).await?;
        }
        if before.error != after.error {
            shown.error_changed(emitter).await?;
        }
        // The last one: who waits for the end finds all else said.
        if before.state != after.state {
            shown.state_changed(emitter).await?;
        }
        Ok(())
    }
}

fn object_path(id: u64) -> String {
    format!("{ROOT}/job/{id}")
}
