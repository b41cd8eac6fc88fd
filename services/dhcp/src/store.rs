//! The durable leases of machines that have no address of their own: rows of PostgreSQL, and a last good copy
//! beside it. An ACK leaves after its lease is committed, and waits for it beside the loop that answers.

mod copy;
mod rows;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use domain::MacAddr;
use prometheus_client::metrics::counter::Counter;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use web::Database;

pub(crate) use self::copy::{LEASES_FILE, load_leases};
use crate::alarm::Alarms;
use crate::event::Step;
use crate::model::{Change, Lease};
use crate::server::{DROPPED, Outgoing, Sender};
use crate::state::{State, now};

/// ACKs that wait for their lease; what is over it is dropped, and the client asks again.
const QUEUE: usize = 4096;
/// So many leases are waited for,
const BATCH_ENOUGH: usize = 64;
/// for so long at most;
const BATCH_WAIT: Duration = Duration::from_millis(5);
/// where more wait already, so many are committed together.
const BATCH_MAX: usize = 512;
/// A commit that takes longer has failed.
const COMMIT_MAX: Duration = Duration::from_secs(3);
/// How often a server that is away is asked again, and the last good copy is looked at.
const TICK: Duration = Duration::from_secs(1);
/// The copy is written so many ticks after a change at the earliest.
const COPY_EVERY: u32 = 10;
/// Rows that ended are taken out once in so many ticks.
const CLEAN_EVERY: u32 = 3600;

static COMMITS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_lease_commits", "Batches of leases that were committed"));
static TAKEN: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_leases_taken", "Leases refused: another head has the address"));

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// The lease is held.
    Put(Lease),
    /// It is no longer.
    Drop(Lease),
    /// Nor is its address lent to anybody until then.
    Refuse(Lease, i64),
}

/// What is to be kept, and the packet that waits for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) write: Write,
    pub(crate) outgoing: Option<Outgoing>,
    /// It was a lease before: its ACK leaves whatever the store says.
    pub(crate) renewed: bool,
    /// What is told once it is kept.
    pub(crate) step: Option<Step>,
}

impl Entry {
    /// The end of a lease.
    pub(crate) fn drop(lease: Lease, change: Change) -> Self {
        let write = match change {
            Change::Refuse { until, .. } => Write::Refuse(lease, until),
            Change::Hold(_) | Change::Release(..) => Write::Drop(lease),
        };
        Self { write, outgoing: None, renewed: false, step: None }
    }
}

/// The queue.
pub(crate) fn queue() -> (mpsc::Sender<Entry>, mpsc::Receiver<Entry>) {
    mpsc::channel(QUEUE)
}

/// Keeps leases.
pub(crate) struct Keeper {
    pub(crate) database: Database,
    pub(crate) state: Arc<State>,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) sender: Sender,
    /// The last good copy.
    pub(crate) path: PathBuf,
}

impl Keeper {
    /// Keeps what comes, many at once under load, and sends the packets that waited. Ends with `stop`.
    pub(crate) async fn run(
        self,
        mut queue: mpsc::Receiver<Entry>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut connection = None;
        let (mut batch, mut dirty, mut ticks) = (Vec::with_capacity(BATCH_MAX), false, 0u32);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = queue.recv_many(&mut batch, BATCH_MAX) => if count == 0 { break },
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    if connection.is_none() {
                        connection = self.connect(ticks == 3).await;
                    }
                    if dirty && ticks.is_multiple_of(COPY_EVERY) {
                        dirty = false;
                        self.write_copy().await;
                    }
                    self.look_after(ticks, connection.as_mut()).await;
                    continue;
                }
            }
            if connection.is_some() {
                gather(&mut queue, &mut batch).await;
            }
            dirty = true;
            let written = match connection.as_mut() {
                None => None,
                Some(it) => match timeout(COMMIT_MAX, rows::write(it, &batch)).await {
                    Ok(Ok(taken)) => Some(taken),
                    Ok(Err(error)) => self.note_lost(&error.to_string()),
                    Err(_) => self.note_lost("it does not answer"),
                },
            };
            if written.is_none() {
                connection = None;
            }
            self.settle(&mut batch, written);
        }
        self.write_copy().await;
        Ok(())
    }

    /// Sends what was kept; takes back what was not.
    fn settle(&self, batch: &mut Vec<Entry>, written: Option<Vec<rows::Taken>>) {
        let mut out = Vec::with_capacity(batch.len());
        let (mut leases, now) = (self.state.leases(), now());
        let config = &self.state.config;
        for Entry { write, outgoing, renewed, step } in batch.drain(..) {
            let Write::Put(lease) = write else { continue };
            let taken = written.as_ref().map(|it| it.iter().find(|it| it.ip == lease.ip));
            match taken {
                Some(None) => {
                    out.extend(outgoing);
                    if let Some(step) = step {
                        step.send();
                    }
                }
                None if renewed => out.extend(outgoing),
                // The client asks again, and gets another address.
                Some(Some(taken)) => {
                    TAKEN.inc();
                    let (mac, ip, place) = (lease.mac, lease.ip, lease.place);
                    let until = taken.until.max(now + 1);
                    leases.apply(Change::Refuse { mac, ip, place, until }, config);
                }
                None => {
                    DROPPED.inc();
                    leases.apply(Change::Release(lease.mac, lease.place), config);
                }
            }
        }
        drop(leases);
        if written.is_some() {
            COMMITS.inc();
        }
        self.sender.send(out);
    }

    fn note_lost<T>(&self, error: &str) -> Option<T> {
        tracing::debug!("leases cannot be kept: {error}");
        if self.state.set_durable(false) {
            self.alarms.set_lost(true);
        }
        None
    }

    /// A connection, once the database is there: its leases are taken over, and what was lent on without it
    /// is written. With patience at its end somebody hears of it if it is not there.
    async fn connect(&self, patient_no_more: bool) -> Option<PoolConnection<Postgres>> {
        let connected = async {
            let pool: &PgPool = self.database.pool().map_err(|it| it.to_string())?;
            // It notes whether the server is there, for the journal and `/readyz`.
            self.database.begin().await.map_err(|it| it.to_string())?;
            let mut connection = pool.acquire().await.map_err(|it| it.to_string())?;
            self.take_over(&mut connection).await.map_err(|it| it.to_string())?;
            Ok::<_, String>(connection)
        };
        match connected.await {
            Ok(connection) => {
                if self.state.set_durable(true) {
                    self.alarms.set_lost(false);
                }
                Some(connection)
            }
            Err(error) => {
                tracing::debug!("leases cannot be kept: {error}");
                if patient_no_more && !self.state.is_durable() {
                    self.alarms.set_lost(true);
                }
                None
            }
        }
    }

    /// The database's leases count; those of the copy that it has not are written.
    async fn take_over(&self, connection: &mut PoolConnection<Postgres>) -> sqlx::Result<()> {
        let now = now();
        let found = rows::list(connection).await?;
        let config = &self.state.config;
        let missing = {
            let mut leases = self.state.leases();
            let mut missing: std::collections::HashMap<_, _> =
                leases.bound(now).into_iter().map(|it| (it.ip, it)).collect();
            for row in found {
                let Some(place) = config.place_of(row.ip) else { continue };
                let (mac, ip) = (row.mac, row.ip);
                if mac == MacAddr::new([0; 6]) {
                    leases.apply(Change::Refuse { mac, ip, place, until: row.expires }, config);
                    continue;
                }
                let newer = missing.get(&ip).is_some_and(|it| it.mac == mac && it.expires > row.expires);
                if !newer {
                    missing.remove(&ip);
                    let lease = Lease { mac, ip, place, expires: row.expires, bound: true };
                    leases.apply(Change::Hold(lease), config);
                }
            }
            missing.into_values().collect::<Vec<Lease>>()
        };
        for chunk in missing.chunks(BATCH_MAX) {
            let put =
                |it: &Lease| Entry { write: Write::Put(*it), outgoing: None, renewed: true, step: None };
            let entries: Vec<Entry> = chunk.iter().map(put).collect();
            rows::write(connection, &entries).await?;
        }
        Ok(())
    }

    async fn look_after(&self, ticks: u32, connection: Option<&mut PoolConnection<Postgres>>) {
        let now = now();
        if ticks.is_multiple_of(COPY_EVERY) {
            self.state.leases().sweep(None, now, &self.state.config);
            self.alarms.sweep(now);
        }
        if let Some(connection) = connection.filter(|_| ticks.is_multiple_of(CLEAN_EVERY))
            && let Err(error) = rows::clean(connection).await
        {
            tracing::debug!(%error, "leases that ended are left in the table");
        }
    }

    async fn write_copy(&self) {
        let (leases, path) = (self.state.leases().bound(now()), self.path.clone());
        let written = tokio::task::spawn_blocking(move || copy::save_leases(&path, &leases)).await;
        let written = written.map_err(std::io::Error::other).and_then(|it| it);
        if let Err(error) = written {
            let path = self.path.display();
            tracing::error!(%error, %path, "the copy of the leases cannot be written; is the disk full?");
        }
    }
}

/// Waits for enough leases, or long enough.
async fn gather(queue: &mut mpsc::Receiver<Entry>, batch: &mut Vec<Entry>) {
    let until = Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH_ENOUGH {
        let room = BATCH_MAX - batch.len();
        match tokio::time::timeout_at(until, queue.recv_many(batch, room)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}
