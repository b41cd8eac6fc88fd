//! Which account a BMC has now, as far as that is known here: by number.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// The version of a BMC's account, and word of a new one.
#[derive(Debug)]
pub(crate) struct Account {
    version: AtomicI64,
    changed: Notify,
}

impl Account {
    pub(crate) fn new(version: i64) -> Self {
        Self { version: AtomicI64::new(version), changed: Notify::new() }
    }

    pub(super) fn version(&self) -> i64 {
        self.version.load(Ordering::Acquire)
    }

    /// There is this one now.
    pub(crate) fn set(&self, version: i64) {
        if self.version.swap(version, Ordering::AcqRel) != version {
            self.changed.notify_waiters();
        }
    }

    /// Waits until there is another than this.
    pub(super) async fn changed(&self, from: i64) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no word of it is missed.
            changed.as_mut().enable();
            if self.version() != from {
                return;
            }
            changed.await;
        }
    }
}
