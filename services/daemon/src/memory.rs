//! Memory that large work leaves behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long after large work its memory is given back: by then what it held is freed.
const TRIM_AFTER: Duration = Duration::from_secs(2);

static PENDING: AtomicBool = AtomicBool::new(false);

/// Gives freed memory back to the system a little later, once for all that asked meanwhile. For whoever has just
/// worked on thousands of rows: glibc would keep what that took for the life of the process (malloc_trim(3)).
/// Outside of a runtime it does nothing.
pub fn trim_memory_soon() {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if PENDING.swap(true, Ordering::AcqRel) {
        return;
    }
    runtime.spawn(async {
        tokio::time::sleep(TRIM_AFTER).await;
        PENDING.store(false, Ordering::Release);
        // It walks the whole heap, which takes some milliseconds.
        if let Err(error) = tokio::task::spawn_blocking(trim).await {
            tracing::debug!(%error, "freed memory is kept");
        }
    });
}

fn trim() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "malloc_trim(3) takes any number and may be called by any thread")]
        let given_back = unsafe { libc::malloc_trim(0) };
        tracing::debug!("freed memory was given back: {given_back}");
    }
}
