//! How much may wait for the disk.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// What a console may have waiting, text and bytes together, before its line is left alone until the disk has
/// taken some of it: what a BMC is not confirmed it keeps.
pub(super) const WAITING_MAX: usize = 64 << 10;
/// What all consoles may have waiting, before each but the quiet ones is full.
const ALL_WAITING_MAX: usize = 64 << 20;
/// What a quiet console may have waiting all the same.
const QUIET_WAITING_MAX: usize = 4 << 10;

/// What all logs have waiting, and whoever waits for less.
#[derive(Default)]
pub(super) struct Room {
    bytes: AtomicUsize,
    freed: Notify,
}

impl Room {
    /// More bytes wait.
    pub(super) fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes wait no more.
    pub(super) fn free(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.freed.notify_waiters();
    }

    /// Whether a console that has so many bytes waiting has too many.
    pub(super) fn is_over(&self, bytes: usize) -> bool {
        let all = || self.bytes.load(Ordering::Relaxed);
        bytes > WAITING_MAX || (bytes > QUIET_WAITING_MAX && all() > ALL_WAITING_MAX)
    }

    /// Waits until it is not so any more, looking whenever bytes were freed.
    pub(super) async fn wait_while(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on no word of it is missed.
            freed.as_mut().enable();
            if !is_so() {
                return;
            }
            freed.await;
        }
    }
}
