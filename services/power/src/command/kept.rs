//! Log-ins that outlive their command: whoever asks again soon has one question to wait for instead of six.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Xname;
use domain::inventory::Endpoint;
use ipmi::Session;
use tokio::time::Instant;

/// So many there can be: each has a few KiB here, and one of the few sessions that a BMC can have.
const COUNT_MAX: usize = 4096;

/// IPMI sessions that nobody uses now. They keep themselves alive until their time is over.
pub(crate) struct Kept {
    lasts: Duration,
    sessions: Mutex<HashMap<Xname, One>>,
}

struct One {
    /// What the inventory said when it was opened: a BMC that moved, or has another account, is logged in to anew.
    endpoint: Endpoint,
    session: Session,
    until: Instant,
}

impl Kept {
    /// Each is kept for so long after its last use; zero: none is.
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, sessions: Mutex::default() }
    }

    /// Takes the one with this BMC, if it is what a log-in would lead to now.
    pub(super) fn take(&self, endpoint: &Endpoint, now: Instant) -> Option<Session> {
        // What is dropped here is closed without waiting for an answer.
        let one = self.lock().remove(&endpoint.id)?;
        let is_good = one.endpoint == *endpoint && now < one.until && !one.session.is_closed();
        is_good.then_some(one.session)
    }

    /// Keeps one; gives it back if there is no room.
    pub(super) fn put(&self, endpoint: &Endpoint, session: Session, now: Instant) -> Result<(), Session> {
        let mut sessions = self.lock();
        if self.lasts.is_zero() || sessions.len() >= COUNT_MAX {
            return Err(session);
        }
        let one = One { endpoint: endpoint.clone(), session, until: now + self.lasts };
        let old = sessions.insert(endpoint.id.clone(), one);
        drop(sessions);
        drop(old);
        Ok(())
    }

    /// Ends the one with this BMC: somebody is about to log in there who wants to know whether that works.
    pub(crate) fn forget(&self, bmc: &Xname) {
        let old = self.lock().remove(bmc);
        drop(old);
    }

    /// Ends those whose time is over, and those that ended by themselves.
    pub(super) fn expire(&self, now: Instant) {
        let is_over = |one: &One| one.until <= now || one.session.is_closed();
        let over: Vec<One> = self.lock().extract_if(|_, one| is_over(one)).map(|it| it.1).collect();
        drop(over);
    }

    /// Ends all.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }

    /// How often [`Self::expire`] is worth its while.
    pub(super) fn pause(&self) -> Duration {
        (self.lasts / 4).max(Duration::from_secs(1))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Xname, One>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
