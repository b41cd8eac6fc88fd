//! The task behind a line: writes one after the other, repetitions, and the question who has the line.

use std::sync::Arc;

use ipmi_rs_core::connection::IpmiCommand;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::line::{Done, Line};
use super::{Deactivation, deactivate};
use crate::commands::payload::SolOwner;
use crate::session::{Link, spread};
use crate::{Error, Repeat};

/// The part of the time to death after which the line's owner is asked for.
const OWNER_ASKED_AFTER: u32 = 3;
const JITTER_PERCENT: u8 = 25;

/// A write and who waits for it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) data: Vec<u8>,
    pub(super) control: u8,
    /// Other flags to be held from now on.
    pub(super) hold: Option<u8>,
    pub(super) done: Done,
}

/// A line and all that it is connected to.
pub(super) struct Pump {
    pub(super) link: Arc<Link>,
    pub(super) line: Arc<Line>,
    pub(super) instance: u8,
    pub(super) outgoing: mpsc::Receiver<Write>,
    /// Whether the BMC can be asked who has the line.
    pub(super) owner_known: bool,
}

impl Pump {
    /// Runs until the reader stops it or is gone, the BMC ends it or the session is over.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<oneshot::Sender<Result<(), Error>>>) {
        let (link, line) = (Arc::clone(&self.link), Arc::clone(&self.line));
        let end = link.wait_for_end();
        let lost = watch_owner(&link, &line, self.instance, self.owner_known);
        tokio::pin!(end, lost);
        loop {
            let status = line.status();
            if status.over {
                if !status.kept {
                    link.note_line(None);
                }
                return;
            }
            tokio::select! {
                biased;
                _ = &mut end => return line.end(None),
                asked = &mut stopped => return self.stop(asked.ok()).await,
                () = sleep_until(status.due.unwrap_or_else(Instant::now)), if status.due.is_some() => {
                    line.send_again(&link);
                }
                () = line.wake.notified() => {}
                Some(write) = self.outgoing.recv(), if status.idle => {
                    if let Some(flags) = write.hold {
                        line.hold(flags);
                    }
                    line.begin(&link, write.data, write.control, write.done);
                }
                cause = &mut lost => {
                    line.end(Some(cause));
                }
            }
        }
    }

    /// Gives the line back; if nobody asked for it, the reader was dropped and nobody wants the answer.
    async fn stop(self, asked: Option<oneshot::Sender<Result<(), Error>>>) {
        self.line.end(None);
        let result = deactivate(&self.link, self.instance).await;
        self.link.note_line(None);
        match asked {
            Some(asked) => drop(asked.send(result)),
            None => {
                if let Err(error) = result {
                    tracing::debug!(%error, "the line was not given back");
                }
            }
        }
    }
}

/// Ends when the BMC says, and says again when asked again, that the line is not ours; never if it cannot
/// be asked. While the line has something to say, it is ours.
async fn watch_owner(link: &Link, line: &Line, instance: u8, known: bool) -> Deactivation {
    let ask = || async {
        let message = SolOwner { instance }.into();
        let data = link.ask("get SOL owner", message, Repeat::WhenSilent).await.ok()?;
        let owner = SolOwner::parse_success_response(&data).ok()?;
        (owner != link.bmc_id()).then_some(owner)
    };
    if !known {
        return std::future::pending().await;
    }
    // The session's own number spreads the questions of many: lines are activated in bursts.
    let roll = u16::try_from(link.console_id() >> 16).unwrap_or(0);
    let pause = spread(link.options().dead_after / OWNER_ASKED_AFTER, JITTER_PERCENT, roll);
    loop {
        sleep(pause).await;
        if line.heard().elapsed() < pause {
            continue;
        }
        if ask().await.is_some() {
            match ask().await {
                Some(0) => return Deactivation::Inactive,
                Some(_) => return Deactivation::TakenOver,
                None => {}
            }
        }
    }
}
