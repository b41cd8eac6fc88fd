//! One command at one BMC whose turn it is: the log-in, the command, what becomes of the log-in afterwards.

use std::sync::Arc;
use std::time::Duration;

use domain::Xname;
use domain::inventory::{Component, Endpoint};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::wired::Wired;
use super::{Order, Switchboard, Task};
use crate::bmc::{LOOK_MAX, Link, Seen};
use crate::error::Error;
use crate::model::Action;

/// How long a step of a log-in may take for a command.
const STEP_MAX: Duration = Duration::from_secs(5);
/// How long a kept session has to answer, one retransmission included, before the BMC is logged in to anew.
const KEPT_WAIT: Duration = Duration::from_millis(650);
/// A log-in that took longer is not kept: the BMC might need longer than that for a single answer.
const QUICK: Duration = Duration::from_secs(1);
/// How long a power command waits for join.
const JOIN_MAX: Duration = Duration::from_secs(2);

/// A BMC's turn, and room among all that are spoken to.
pub(super) struct Place {
    pub(super) _turn: OwnedMutexGuard<()>,
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

impl Switchboard {
    /// Ends sessions that were kept long enough, until the service stops.
    pub(crate) async fn tidy(&self) {
        let mut clock = interval(self.kept.pause());
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stop.run_until_cancelled(clock.tick()).await.is_some() {
            self.kept.expire(Instant::now());
        }
    }

    /// One command, in a log-in that was kept or is made.
    pub(super) async fn command(
        self: &Arc<Self>,
        node: &Component,
        endpoint: &Endpoint,
        order: Order,
        place: Place,
    ) -> Result<Seen, Error> {
        let step = if order.task == Task::Look { LOOK_MAX } else { STEP_MAX };
        let (link, seen, is_quick) = self.log_in(node, endpoint, step).await?;
        if order.task.action().is_some_and(Action::boots) && node.id.is_node() {
            self.open_window(&node.id).await;
        }
        let wired = Wired { link: &link, node, bmc: &endpoint.id, inrush: &self.inrush };
        let done = wired.carry_out(seen, order).await;
        let link = match link {
            Link::Ipmi(session) if is_quick && done.is_ok() => {
                match self.kept.put(endpoint, session, Instant::now()) {
                    Ok(()) => return done,
                    Err(session) => Link::Ipmi(session),
                }
            }
            link => link,
        };
        // Whoever asked need not wait for the end of the session; who asks next does.
        let board = Arc::clone(self);
        let bmc = endpoint.id.clone();
        self.spawn(async move {
            link.close().await;
            drop(place);
            board.forget(&bmc);
        });
        done
    }

    /// The log-in that was kept, and what the BMC says by it; or, if it says nothing, another one. And whether it was
    /// quick.
    async fn log_in(
        &self,
        node: &Component,
        endpoint: &Endpoint,
        mut step: Duration,
    ) -> Result<(Link, Option<Seen>, bool), Error> {
        if let Some(session) = self.kept.take(endpoint, Instant::now()) {
            let link = Link::Ipmi(session);
            match timeout(KEPT_WAIT, link.look()).await {
                Ok(Ok(seen)) => return Ok((link, Some(seen), true)),
                Ok(Err(error)) => {
                    tracing::debug!("a kept session with {} is of no use: {error}", endpoint.id)
                }
                Err(_) => tracing::debug!("{} does not answer in its kept session", endpoint.id),
            }
            step -= KEPT_WAIT;
        }
        let begun = Instant::now();
        let link = self.bmcs.link(endpoint, &node.id, step).await?;
        Ok((link, None, begun.elapsed() <= QUICK))
    }

    /// Before the command, so that no node is quicker. A node whose window stays shut boots all the same, without its
    /// token.
    async fn open_window(&self, node: &Xname) {
        let Some(join) = &self.join else { return };
        let opened = timeout(JOIN_MAX, join::client::open(join, node.as_str(), None)).await;
        let said = match opened {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "join does not answer".to_owned(),
        };
        tracing::warn!(pilothouse_node = %node, "{node} boots without a window for its token: {said}");
    }
}
