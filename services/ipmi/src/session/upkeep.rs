//! Notices a dead BMC within a bounded time, and keeps a living one from ending an idle session (6.12.15).

use std::sync::Arc;
use std::time::Duration;

use ipmi_rs_core::app::GetDeviceId;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Repeat;
use super::backoff::spread;
use super::link::{End, Link};

/// The part of the time to death after which a silent BMC is asked for a sign of life.
const ASKED_AFTER: u32 = 3;
/// The share of it after which a BMC is asked whatever comes over its line: not every BMC takes that for activity
/// of the session, and ends it after 30 s (ipmi_sim) or 60 s (6.12.15) without a request.
const REQUESTED_AFTER: (u32, u32) = (2, 3);
/// How soon a session that goes on in another process asks: once it is set up there.
const RESUMED_AFTER: Duration = Duration::from_millis(500);
const JITTER_PERCENT: u8 = 25;

/// Runs until the BMC is dead, or the session's other end aborts it. Of a session that goes on here nobody knows how
/// long ago the last request was: there is one soon.
pub(super) async fn run(link: Arc<Link>, resumed: bool) {
    let dead_after = link.options().dead_after;
    // The session's own number spreads the questions of many: sessions are opened in bursts.
    let roll = u16::try_from(link.console_id() & 0xffff).unwrap_or(0);
    let (part, whole) = REQUESTED_AFTER;
    let request_every = spread(dead_after * part / whole, JITTER_PERCENT, roll);
    let mut request_at = Instant::now() + if resumed { RESUMED_AFTER } else { request_every };
    loop {
        let heard = link.heard();
        let silent = heard + spread(dead_after / ASKED_AFTER, JITTER_PERCENT, roll);
        sleep_until(silent.min(request_at)).await;
        if link.heard() != heard || Instant::now() < silent {
            if Instant::now() >= request_at {
                request_at = Instant::now() + request_every;
                request(&link).await;
            }
            continue;
        }
        request_at = Instant::now() + request_every;
        // Any answer is a sign of life, whatever its completion code, and so is any other packet.
        let death = heard + dead_after;
        let question = link.ask_within("keep-alive", GetDeviceId.into(), Repeat::WhenSilent, dead_after);
        if let Ok(Err(error)) = timeout_at(death, question).await {
            tracing::debug!(address = %link.address(), %error, "the keep-alive was refused");
        }
        if link.heard() != heard {
            continue;
        }
        sleep_until(death).await;
        if link.heard() == heard {
            let silent = Instant::now() - heard;
            tracing::debug!(address = %link.address(), ?silent, "the BMC is silent, the session is over");
            return link.end(End::Dead(silent));
        }
    }
}

/// Whether it is answered does not matter here: what comes from the BMC does, whatever it is.
async fn request(link: &Link) {
    let options = link.options();
    // A BMC that dies just then is noticed in time all the same.
    let limit = options.deadline.min(options.dead_after / ASKED_AFTER);
    let question = link.ask_within("keep-alive", GetDeviceId.into(), Repeat::WhenSilent, limit);
    if let Err(error) = question.await {
        tracing::debug!(address = %link.address(), %error, "the keep-alive was not answered");
    }
}
