//! The task that runs a line: packets in, acknowledgements out, writes one after the other.

use std::ops::ControlFlow;
use std::sync::Arc;

use ipmi_rs_core::connection::IpmiCommand;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::machine::Machine;
use super::{Deactivation, SolEvent, SolOptions, deactivate};
use crate::commands::payload::SolOwner;
use crate::session::Link;
use crate::wire::{PayloadType, SolPacket};
use crate::{Error, Repeat};

const STEP: &str = "serial over LAN";
/// The most events that one packet can lead to: characters, break, overflow, end.
const EVENTS_OF_A_PACKET: usize = 4;
/// The part of the time to death after which the line's owner is asked for.
const OWNER_ASKED_AFTER: u32 = 3;

/// A write and who waits for it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) data: Vec<u8>,
    pub(super) control: u8,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
}

/// A line and all that it is connected to.
pub(super) struct Pump {
    pub(super) link: Arc<Link>,
    pub(super) options: SolOptions,
    pub(super) machine: Machine,
    pub(super) incoming: mpsc::Receiver<SolPacket>,
    pub(super) events: mpsc::Sender<SolEvent>,
    pub(super) outgoing: mpsc::Receiver<Write>,
    /// Whether the BMC can be asked who has the line.
    pub(super) owner_known: bool,
}

/// The write under way: who waits, and until when the BMC may take nothing of it.
type Current = Option<(oneshot::Sender<Result<(), Error>>, Instant)>;

impl Pump {
    /// Runs until the reader stops it or is gone, the BMC ends it or the session is over.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<oneshot::Sender<Result<(), Error>>>) {
        let link = Arc::clone(&self.link);
        let end = link.wait_for_end();
        let lost = watch_owner(Arc::clone(&link), self.options.instance, self.owner_known);
        tokio::pin!(end, lost);
        let mut current: Current = None;
        loop {
            let due = self.machine.due();
            tokio::select! {
                biased;
                _ = &mut end => return,
                asked = &mut stopped => return self.stop(asked.ok()).await,
                Some(packet) = self.incoming.recv() => {
                    if self.take(&packet, &mut current).await.is_break() {
                        return;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.send_again(&mut current).await;
                }
                Some(write) = self.outgoing.recv(), if current.is_none() => {
                    let now = Instant::now();
                    let packet = self.machine.begin(write.data, write.control, now);
                    current = Some((write.done, now + self.options.write_deadline));
                    self.send(&packet).await;
                }
                cause = &mut lost => {
                    // There is room unless nobody reads, and then nobody misses it.
                    drop(self.events.try_send(SolEvent::Deactivated(cause)));
                    return;
                }
            }
        }
    }

    async fn take(&mut self, packet: &SolPacket, current: &mut Current) -> ControlFlow<()> {
        let room = self.events.capacity() >= EVENTS_OF_A_PACKET;
        let outcome = self.machine.receive(packet, room, Instant::now());
        let over = outcome.events.iter().any(|event| matches!(event, SolEvent::Deactivated(_)));
        for event in outcome.events {
            // With room it fits; without, there is only the end to tell, which the closed channel tells too.
            drop(self.events.try_send(event));
        }
        for packet in &outcome.packets {
            self.send(packet).await;
        }
        if outcome.written
            && let Some((done, _)) = current.take()
        {
            drop(done.send(Ok(()))); // The writer may have stopped waiting.
        } else if outcome.progress
            && let Some((_, end)) = current
        {
            *end = Instant::now() + self.options.write_deadline;
        }
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    async fn send_again(&mut self, current: &mut Current) {
        let now = Instant::now();
        if let Some((done, _)) = current.take_if(|(_, end)| *end <= now) {
            self.machine.give_up();
            let waited = self.options.write_deadline;
            let late = Error::Timeout { step: "SOL write", address: self.link.address(), waited };
            drop(done.send(Err(late))); // The writer may have stopped waiting.
        } else if let Some(packet) = self.machine.tick(now) {
            self.send(&packet).await;
        }
    }

    /// What cannot be sent now is as good as lost on the way: it is sent again, or the session ends.
    async fn send(&self, packet: &SolPacket) {
        if let Err(error) = self.link.send(STEP, PayloadType::Sol, &packet.encode()).await {
            tracing::debug!(%error, "a SOL packet was not sent");
        }
    }

    /// Gives the line back; if nobody asked for it, the reader was dropped and nobody wants the answer.
    async fn stop(self, asked: Option<oneshot::Sender<Result<(), Error>>>) {
        let result = deactivate(&self.link, self.options.instance).await;
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
/// be asked.
async fn watch_owner(link: Arc<Link>, instance: u8, known: bool) -> Deactivation {
    let ask = || async {
        let message = SolOwner { instance }.into();
        let data = link.ask("get SOL owner", message, Repeat::WhenSilent).await.ok()?;
        let owner = SolOwner::parse_success_response(&data).ok()?;
        (owner != link.bmc_id()).then_some(owner)
    };
    if !known {
        return std::future::pending().await;
    }
    loop {
        sleep(link.options().dead_after / OWNER_ASKED_AFTER).await;
        if ask().await.is_some() {
            match ask().await {
                Some(0) => return Deactivation::Inactive,
                Some(_) => return Deactivation::TakenOver,
                None => {}
            }
        }
    }
}
