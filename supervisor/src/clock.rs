//! The clocks, read here alone.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Microseconds since the machine was started, sleep included (CLOCK_BOOTTIME): a deadline that no change of the
/// time of day moves, and that every process of this boot reads alike.
pub(crate) fn boottime_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds of the UNIX clock.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
