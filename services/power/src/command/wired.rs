//! One command at one BMC, over a log-in that is there.

use std::time::Duration;

use daemon::BootEvent;
use domain::inventory::Component;
use domain::{BootStage, Service, Xname, event};
use ipmi::chassis::PowerAction;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::inrush::Inrush;
use super::{Order, Task};
use crate::bmc::{Link, LinkError, Protocol, Seen};
use crate::error::Error;
use crate::model::{Action, State};

/// How often the state is asked for after a command: by IPMI, and by Redfish, where each is some work.
const POLL: Duration = Duration::from_millis(250);
const POLL_REDFISH: Duration = Duration::from_secs(1);
/// How long a node may take to reach the state it was sent to; some BMCs show it late.
const REACH_MAX: Duration = Duration::from_secs(15);

/// A log-in at a node's BMC.
pub(super) struct Wired<'a> {
    pub(super) link: &'a Link,
    pub(super) node: &'a Component,
    pub(super) bmc: &'a Xname,
    pub(super) inrush: &'a Inrush,
}

impl Wired<'_> {
    /// From what was seen a moment ago, or else is seen now.
    pub(super) async fn carry_out(&self, seen: Option<Seen>, order: Order) -> Result<Seen, Error> {
        let seen = match seen {
            Some(seen) => seen,
            None => self.look().await?,
        };
        match order.task {
            Task::Look => Ok(seen),
            Task::Light(on) => {
                self.link.set_light(on).await.map_err(|it| self.failed(it))?;
                Ok(Seen { light: Some(on), ..seen })
            }
            Task::Power { action, boot } => {
                let now = seen.state;
                let plan = action.map(|it| it.plan(now)).transpose().map_err(Error::Impossible)?;
                if let Some(boot) = boot {
                    self.link.set_boot(boot).await.map_err(|it| self.failed(it))?;
                }
                let Some((action, send, until)) =
                    action.zip(plan).and_then(|(action, plan)| Some((action, plan.send?, plan.until)))
                else {
                    return Ok(seen);
                };
                let state = self.switch(action, send, until, order.until).await?;
                Ok(Seen { state, ..seen })
            }
        }
    }

    async fn switch(
        &self,
        action: Action,
        send: PowerAction,
        until: Option<State>,
        deadline: Option<Instant>,
    ) -> Result<State, Error> {
        if matches!(send, PowerAction::On | PowerAction::Cycle) {
            let full = || Error::Inrush(self.bmc.clone());
            let at = self.inrush.reserve(Instant::now(), deadline).ok_or_else(full)?;
            sleep_until(at).await;
        }
        let lost = match self.link.switch(send).await {
            Ok(()) => None,
            Err(error) if error.is_lost() => Some(error),
            // A BMC without a cycle has off and on.
            Err(error) if send == PowerAction::Cycle && error.is_unsupported() => {
                return self.off_and_on().await;
            }
            Err(error) => return Err(self.failed(error)),
        };
        if lost.is_none() {
            self.tell(action);
        }
        match (lost, until, send) {
            // These lead to a state, which shows whether they came to pass.
            (lost, Some(until), PowerAction::On | PowerAction::Off) => {
                let reached = self.reach(until).await?;
                if lost.is_some() {
                    self.tell(action);
                }
                Ok(reached)
            }
            (None, Some(until), _) => self.reach(until).await,
            (None, None, _) => Ok(self.look().await?.state),
            (Some(error), _, _) => self.unsure(action, error).await,
        }
    }

    async fn off_and_on(&self) -> Result<State, Error> {
        self.link.switch(PowerAction::Off).await.map_err(|it| self.failed(it))?;
        self.reach(State::Off).await?;
        self.link.switch(PowerAction::On).await.map_err(|it| self.failed(it))?;
        self.tell(Action::Cycle);
        self.reach(State::On).await
    }

    /// The answer was lost. The command is not sent again: it may have been carried out, and a second one would meet
    /// the node in the middle of its boot.
    async fn unsure(&self, action: Action, error: LinkError) -> Result<State, Error> {
        let state = self.look().await.ok().map(|it| it.state);
        if action == Action::Soft && state == Some(State::Off) {
            return Ok(State::Off);
        }
        let (bmc, state) = (self.bmc.clone(), state.map_or("unknown", State::name));
        Err(Error::Unsure { bmc, action: action.name(), state, source: error })
    }

    fn tell(&self, action: Action) {
        let (id, name) = (&self.node.id, action.name());
        daemon::event!(event::POWER_DONE, node = id, "{} was told: power {name}", self.bmc);
        if action.boots() && id.is_node() {
            let detail = format!("{} switched power {name}", self.bmc);
            BootEvent::new(Service::Power, BootStage::PowerOn, detail).node(Some(id)).send();
        }
    }

    async fn look(&self) -> Result<Seen, Error> {
        self.link.look().await.map_err(|it| self.failed(it))
    }

    /// Asks until the state is there.
    async fn reach(&self, until: State) -> Result<State, Error> {
        let started = Instant::now();
        let mut poll = interval(if self.link.protocol() == Protocol::Ipmi { POLL } else { POLL_REDFISH });
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while started.elapsed() < REACH_MAX {
            poll.tick().await;
            match self.link.look().await {
                Ok(seen) if seen.state == until => return Ok(until),
                // Some do not say while they switch.
                Ok(_) | Err(LinkError::NoState) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(Error::NotReached { bmc: self.bmc.clone(), state: until.name(), waited: REACH_MAX })
    }

    fn failed(&self, source: LinkError) -> Error {
        Error::Bmc { bmc: self.bmc.clone(), address: self.link.address(), source }
    }
}
