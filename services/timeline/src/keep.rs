//! Writing: steps in batches, boots as they are now, partitions made ahead and dropped. Steps wait for PostgreSQL in a
//! bounded queue.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::Retry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sqlx::types::time::Date;
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::Timeline;
use crate::model::Boot;
use crate::store::{self, Row};
use crate::wire::Event;

/// How long a step waits for others at most.
const EVERY: Duration = Duration::from_millis(500);
/// So many are written at once; a batch this large does not wait.
const BATCH: usize = 2000;
/// Boots that wait to be written.
const BOOTS_MAX: usize = 100_000;
/// How long the last batch may take at a stop.
const LAST_MAX: Duration = Duration::from_secs(5);
/// How often partitions are looked after.
const PARTITIONS_EVERY: time::Duration = time::Duration::hours(1);
/// Boots that are read back at a start.
const LOADED_MAX: i64 = 30_000;

static WAITING: LazyLock<Gauge> =
    LazyLock::new(|| web::gauge("timeline_waiting", "Steps that wait to be written"));
static LOST: LazyLock<Counter> =
    LazyLock::new(|| web::counter("timeline_lost", "Steps that were given up before they were written"));
static WRITTEN: LazyLock<Counter> = LazyLock::new(|| web::counter("timeline_written", "Steps written"));

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    rows: Mutex<VecDeque<Row>>,
    /// What is on its way into the table: neither here any more nor there yet. Changed under the lock of `rows`.
    writing: Mutex<Arc<Vec<Row>>>,
    /// Boots that changed: none, as the board has it; some, as it was when another began.
    boots: Mutex<HashMap<BootKey, Option<Box<Boot>>>>,
    wake: Notify,
}

/// Whose boot, and when it began.
type BootKey = (String, OffsetDateTime);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// Puts a step in; over the bound the oldest goes.
    pub(crate) fn push(&self, row: Row, most: usize) {
        let mut rows = lock(&self.rows);
        if rows.len() >= most {
            rows.pop_front();
            if LOST.inc() == 0 {
                daemon::event!(
                    domain::event::TIMELINE_LOST,
                    "steps of boots are given up: {most} wait already"
                );
            }
        }
        rows.push_back(row);
        if rows.len() == BATCH {
            self.wake.notify_one();
        }
    }

    /// Notes that a boot changed.
    pub(crate) fn note(&self, node: &str, started: OffsetDateTime, last: Option<Boot>) {
        let mut boots = lock(&self.boots);
        let key = (node.to_owned(), started);
        if boots.len() < BOOTS_MAX || boots.contains_key(&key) {
            boots.insert(key, last.map(Box::new));
        }
    }

    /// Forgets that a boot changed: there is none any more.
    pub(crate) fn forget(&self, node: &str, started: OffsetDateTime) {
        lock(&self.boots).remove(&(node.to_owned(), started));
    }

    /// Steps that wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.rows).len()
    }

    /// The steps of a boot that are not written yet.
    pub(crate) fn waiting_of(&self, node: &str, boot: OffsetDateTime) -> Vec<Event> {
        let rows = lock(&self.rows);
        let writing = Arc::clone(&lock(&self.writing));
        let own = writing
            .iter()
            .chain(rows.iter())
            .filter(|it| it.boot == Some(boot) && it.node.as_deref() == Some(node));
        // As they are read back from the table: whose they are is said by the boot.
        own.map(|it| Event { node: None, ..it.event.clone() }).collect()
    }

    fn take_rows(&self) -> Arc<Vec<Row>> {
        let mut rows = lock(&self.rows);
        let count = rows.len().min(BATCH);
        let taken = Arc::new(rows.drain(..count).collect());
        *lock(&self.writing) = Arc::clone(&taken);
        taken
    }

    /// Forgets what was taken: it is in the table.
    fn forget_taken(&self) {
        *lock(&self.writing) = Arc::default();
    }

    /// Puts back what could not be written, in front of what came meanwhile.
    fn put_back(&self, failed: &[Row], most: usize) {
        let mut rows = lock(&self.rows);
        *lock(&self.writing) = Arc::default();
        let room = most.saturating_sub(rows.len());
        let lost = failed.len().saturating_sub(room);
        if lost > 0 {
            LOST.inc_by(lost as u64);
        }
        for row in failed.iter().skip(lost).rev() {
            rows.push_front(row.clone());
        }
    }
}

/// What the writer remembers of the partitions.
#[derive(Default)]
struct Partitions {
    there: HashSet<Date>,
    looked: Option<OffsetDateTime>,
}

impl Timeline {
    /// Takes back the last boots of all machines.
    pub(crate) async fn load(&self) {
        let since = OffsetDateTime::now_utc() - time::Duration::days(2);
        let Ok(db) = self.database.pool() else { return };
        match store::list_last_boots(db, since, LOADED_MAX).await {
            Ok(boots) => {
                let mut board = self.board();
                boots.into_iter().for_each(|it| board.restore(it));
            }
            Err(error) => tracing::warn!(%error, "the boots from before the start cannot be read"),
        }
    }

    /// Writes until the context's stop, and then what is left.
    pub(crate) async fn write(&self) {
        let stop = &self.context.stop;
        let (mut retry, mut partitions) = (Retry::default(), Partitions::default());
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.queue.wake.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            let Err(error) = self.write_all(&mut partitions).await else {
                retry.reset();
                continue;
            };
            tracing::debug!("steps of boots wait: {error}");
            partitions = Partitions::default();
            tokio::select! {
                () = stop.cancelled() => {}
                () = retry.wait() => {}
            }
        }
        let last = tokio::time::timeout(LAST_MAX, self.write_all(&mut partitions)).await;
        if !matches!(last, Ok(Ok(()))) {
            tracing::warn!("{} steps of boots are lost with this stop", self.queue.len());
        }
    }

    /// Writes whatever waits.
    async fn write_all(&self, partitions: &mut Partitions) -> anyhow::Result<()> {
        loop {
            let rows = self.queue.take_rows();
            let boots = self.take_boots();
            let more = rows.len() == BATCH || boots.len() == BATCH;
            if let Err(error) = self.write_batch(&rows, &boots, partitions).await {
                self.queue.put_back(&rows, self.config.queue);
                for boot in boots {
                    let (node, started) = (boot.node.clone(), boot.started);
                    let present = self.board().get(&node).is_some_and(|it| it.started == started);
                    self.queue.note(&node, started, (!present).then_some(boot));
                }
                return Err(error);
            }
            self.queue.forget_taken();
            WRITTEN.inc_by(rows.len() as u64);
            WAITING.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
            if !more {
                return Ok(());
            }
        }
    }

    fn take_boots(&self) -> Vec<Boot> {
        let taken: Vec<_> = {
            let mut boots = lock(&self.queue.boots);
            let keys: Vec<_> = boots.keys().take(BATCH).cloned().collect();
            keys.into_iter().filter_map(|it| boots.remove_entry(&it)).collect()
        };
        let board = self.board();
        let present = |node: &str, started| board.get(node).filter(|it| it.started == started).cloned();
        let boots = taken
            .into_iter()
            .filter_map(|((node, started), last)| last.map(|it| *it).or_else(|| present(&node, started)));
        boots.collect()
    }

    async fn write_batch(
        &self,
        rows: &[Row],
        boots: &[Boot],
        partitions: &mut Partitions,
    ) -> anyhow::Result<()> {
        let now = OffsetDateTime::now_utc();
        let due = partitions.looked.is_none_or(|it| now - it >= PARTITIONS_EVERY);
        if rows.is_empty() && boots.is_empty() && !due {
            return Ok(());
        }
        let mut tx = self.database.begin().await?;
        let today = now.date();
        let ahead = [Some(today), today.next_day()].into_iter().flatten();
        let days = rows.iter().map(|it| it.event.time.date()).chain(boots.iter().map(|it| it.started.date()));
        let missing: HashSet<Date> = days.chain(ahead).filter(|it| !partitions.there.contains(it)).collect();
        for day in &missing {
            store::create_partitions(&mut tx, *day).await?;
        }
        if due {
            let before = today.saturating_sub(time::Duration::days(self.config.days()));
            let dropped = store::drop_partitions(&mut tx, before).await?;
            if dropped > 0 {
                tracing::info!("{dropped} partitions are older than {} and were dropped", self.config.keep);
            }
        }
        if !rows.is_empty() {
            store::insert_events(&mut *tx, rows).await?;
        }
        if !boots.is_empty() {
            store::replace_boots(&mut *tx, boots).await?;
        }
        tx.commit().await?;
        partitions.there.extend(missing);
        if due {
            partitions.looked = Some(now);
        }
        Ok(())
    }
}
