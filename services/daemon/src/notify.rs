//! What systemd is told (sd_notify(3)).

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

pub(crate) fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
}

pub(crate) fn status(status: &str) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Status(status)]) {
        tracing::debug!(%error, "systemd does not take a status");
    }
}

pub(crate) fn stopping() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Stopping]) {
        tracing::debug!(%error, "systemd does not take STOPPING");
    }
}

/// Tells the watchdog, twice in its time, that the runtime still runs tasks. Ends with `stop`.
pub(crate) async fn watchdog(stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
                    tracing::warn!(%error, "the watchdog cannot be told");
                }
            }
        }
    }
}
