//! The Mirror: a service's view of its own tables or a neighbour's, in memory, kept on disk as the last good copy.
//!
//! Whoever holds the copy (`file.rs`) may change the view, so that changes are applied one after the other, each
//! whole: those that this process commits at once, the others as its source tells of them (`follow.rs`). Reads take
//! a shared lock for the time of one look-up.

mod file;
mod follow;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use domain::feed::{Change, View};
use tokio::sync::{Mutex, broadcast, watch};
use uuid::Uuid;

use file::{Draft, Kept};

/// How long a write waits to see itself come back.
const REACHED_MAX: Duration = Duration::from_secs(5);
/// Transactions that wait for a follower; one that is further behind reads them from the database.
const BATCHES: usize = 64;
/// A longer transaction waits for nobody: followers read it from the database.
const BATCH_MAX: usize = 256 << 10;

/// A burst of changes is over when this long there was none,
const QUIET: Duration = Duration::from_millis(150);
/// or when it is this old.
const BURST_MAX: Duration = Duration::from_secs(1);

/// So many changes at once leave memory behind that is worth giving back.
const LARGE: usize = 1000;

/// Where a Mirror's answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was ever read.
    Empty,
    /// The last good copy; its source cannot be reached now.
    LastGood,
    /// The source, as of now.
    Live,
}

impl std::fmt::Display for Freshness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::LastGood => "last good copy",
            Self::Live => "live",
        })
    }
}

/// The Mirror did not reach a number in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mirror did not reach change {0} in time")]
pub struct Lagging(pub i64);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Position {
    /// None: the copy cannot be continued, a snapshot is needed.
    pub(crate) epoch: Option<Uuid>,
    pub(crate) seq: i64,
    pub(crate) freshness: Freshness,
}

/// Whole transactions, for those who follow this Mirror.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) epoch: Uuid,
    /// The number before it.
    pub(crate) from: i64,
    /// Its last number.
    pub(crate) to: i64,
    /// Its lines and their mark; none if they are too long, or not known.
    pub(crate) text: Option<Bytes>,
}

struct Inner<V> {
    name: &'static str,
    view: RwLock<V>,
    /// Counts the changes of the view.
    generation: AtomicU64,
    position: watch::Sender<Position>,
    kept: Mutex<Kept>,
    batches: broadcast::Sender<Batch>,
}

/// A view that follows a feed. Clones share it.
pub struct Mirror<V>(Arc<Inner<V>>);

impl<V> Clone for Mirror<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: View> Mirror<V> {
    /// Loads the last good copy `<folder>/<name>.ndjson`, if there is one.
    ///
    /// # Errors
    ///
    /// If the file is there but cannot be read; one that makes no sense is set aside and counts as none.
    pub fn load(folder: impl AsRef<Path>, name: &'static str) -> io::Result<Self> {
        let mut view = V::default();
        let (kept, read) = Kept::load(folder.as_ref().join(format!("{name}.ndjson")), &mut view)?;
        let position = match read {
            None => Position { epoch: None, seq: 0, freshness: Freshness::Empty },
            // One that is torn serves until its source is there, which then gives all of it anew.
            Some(read) => Position {
                epoch: read.whole.then_some(read.header.epoch),
                seq: read.header.seq,
                freshness: Freshness::LastGood,
            },
        };
        Ok(Self(Arc::new(Inner {
            name,
            view: RwLock::new(view),
            generation: AtomicU64::new(0),
            position: watch::Sender::new(position),
            kept: Mutex::new(kept),
            batches: broadcast::Sender::new(BATCHES),
        })))
    }

    /// Looks something up. Keep it short: writers wait meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&V) -> R) -> R {
        look(&self.0.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where answers come from now.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.0.position.borrow().freshness
    }

    /// The number of the last change applied.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.0.position.borrow().seq
    }

    /// A number that is another one after each change of the view. Whoever keeps what they made of the view asks
    /// for it before they read: then nothing old is taken for new.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Waits until a change is applied.
    ///
    /// # Errors
    ///
    /// If that takes more than 5 s.
    pub async fn reached(&self, seq: i64) -> Result<(), Lagging> {
        let mut position = self.0.position.subscribe();
        match tokio::time::timeout(REACHED_MAX, position.wait_for(|it| it.seq >= seq)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Lagging(seq)),
        }
    }

    /// Waits for the next change after the call before; for those who react to changes.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        Changes(self.0.position.subscribe())
    }

    /// Every transaction from now on, for those who follow.
    pub(crate) fn batches(&self) -> broadcast::Receiver<Batch> {
        self.0.batches.subscribe()
    }

    /// Takes a transaction that this process has just committed, if it is the next one and nobody is applying any:
    /// else it comes back by the database's notification.
    pub(crate) fn offer(&self, epoch: Uuid, seq: i64, changes: &[Change], text: Bytes) {
        let at = *self.0.position.borrow();
        let next = at.epoch == Some(epoch) && at.seq + 1 == seq && at.freshness == Freshness::Live;
        if let (true, Ok(mut kept)) = (next, self.0.kept.try_lock())
            // Another may have been applied between the two looks.
            && self.seq() + 1 == seq
        {
            self.apply(&mut kept, seq, changes, text);
        }
    }

    /// Applies whole transactions up to `to`: to the copy first, then to the view, then for whoever waits.
    fn apply(&self, kept: &mut Kept, to: i64, changes: &[Change], text: Bytes) {
        if changes.len() >= LARGE {
            daemon::trim_memory_soon();
        }
        if !changes.is_empty() {
            kept.append(self.0.name, &text, changes.len());
            let mut view = self.0.view.write().unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                apply_one(&mut *view, change);
            }
            self.0.generation.fetch_add(1, Ordering::Release);
        }
        let mut before = None;
        self.0.position.send_if_modified(|it| {
            before = it.epoch.map(|epoch| (epoch, it.seq));
            let after = Position { epoch: it.epoch, seq: to, freshness: Freshness::Live };
            let changed = *it != after;
            *it = after;
            changed
        });
        if let Some((epoch, from)) = before.filter(|it| it.1 != to) {
            self.tell(Batch { epoch, from, to, text: (text.len() <= BATCH_MAX).then_some(text) });
        }
    }

    /// Takes a snapshot in place of what was there.
    fn replace(&self, kept: &mut Kept, draft: Draft<V>) {
        let (header, view) = kept.replace(self.0.name, draft);
        let mut place = self.0.view.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, view);
        self.0.generation.fetch_add(1, Ordering::Release);
        drop(place);
        let from = self.seq();
        self.0.position.send_replace(Position {
            epoch: Some(header.epoch),
            seq: header.seq,
            freshness: Freshness::Live,
        });
        self.tell(Batch { epoch: header.epoch, from, to: header.seq, text: None });
        drop(old);
        daemon::trim_memory_soon();
    }

    /// An error only says that nobody follows.
    fn tell(&self, batch: Batch) {
        if self.0.batches.receiver_count() > 0 && self.0.batches.send(batch).is_err() {
            tracing::debug!("the last follower of {} has just gone", self.0.name);
        }
    }

    fn note_stale(&self, error: &str) {
        let name = self.0.name;
        self.0.position.send_if_modified(|it| {
            let was_live = it.freshness == Freshness::Live;
            if was_live {
                it.freshness = Freshness::LastGood;
                daemon::event!(
                    domain::event::MIRROR_STALE,
                    "{name} is served from the last good copy: {error}"
                );
            } else {
                tracing::debug!("{name} cannot be followed: {error}");
            }
            was_live
        });
    }
}

/// A row that does not parse is left out: the others are worth having.
fn apply_one<V: View>(view: &mut V, change: &Change) {
    if let Err(error) = view.apply(change) {
        tracing::warn!(%error, "{} {} is left out", change.kind, change.id);
    }
}

/// Wakes whoever reacts to changes of a Mirror.
#[derive(Debug)]
pub struct Changes(watch::Receiver<Position>);

impl Changes {
    /// Returns when something changed since the last call; false when the Mirror is gone.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// As [`changed`](Self::changed), for whoever looks at everything after a change: changes come in bursts, and it
    /// returns when one is over, at the latest a second after it began.
    pub async fn settled(&mut self) -> bool {
        let there = self.changed().await;
        let quiet = async { while let Ok(true) = tokio::time::timeout(QUIET, self.changed()).await {} };
        // Either end is fine: quiet, or old enough.
        drop(tokio::time::timeout(BURST_MAX, quiet).await);
        there
    }
}
