//! What a power command means for a node in a given state. Pure.

mod recover;
mod transition;

use domain::Xname;
use domain::inventory::{Endpoint, Inventory, Lock};
use ipmi::boot::BootDevice;
use ipmi::chassis::PowerAction;
use serde::{Deserialize, Serialize};

pub use recover::{Policy, Verdict};
pub(crate) use recover::{Probe, arrived, judge};
pub(crate) use transition::{Operation, Step, is_off, patience};

/// What may be asked of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Power on.
    On,
    /// Power off at once.
    Off,
    /// Off and on again; a node that is off is switched on.
    Cycle,
    /// Reset without switching power; a node that is off is refused.
    Reset,
    /// Ask the operating system to shut down.
    Soft,
}

/// Where to boot from next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// The network.
    Pxe,
    /// The disk.
    Disk,
    /// The optical drive.
    Cdrom,
    /// The firmware's set-up.
    Bios,
}

/// A node's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On.
    On,
    /// Off.
    Off,
}

/// What to send, and which state shows that it was done; None: there is nothing to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) send: Option<PowerAction>,
    pub(crate) until: Option<State>,
}

impl Action {
    /// The word of the API and of messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
            Self::Reset => "reset",
            Self::Soft => "soft",
        }
    }

    /// Whether a boot begins with it.
    #[must_use]
    pub(crate) fn boots(self) -> bool {
        matches!(self, Self::On | Self::Cycle | Self::Reset)
    }

    /// What to do with a node in this state.
    ///
    /// # Errors
    ///
    /// Why it cannot be done, with the next step.
    pub(crate) fn plan(self, now: State) -> Result<Plan, &'static str> {
        let plan = |send, until| Ok(Plan { send, until });
        match (self, now) {
            (Self::On, State::On) => plan(None, None),
            (Self::On | Self::Cycle, State::Off) => plan(Some(PowerAction::On), Some(State::On)),
            (Self::Off | Self::Soft, State::Off) => plan(None, None),
            (Self::Off, State::On) => plan(Some(PowerAction::Off), Some(State::Off)),
            // Off comes within the cycle or not at all; what shows that it is over is that the node is on.
            (Self::Cycle, State::On) => plan(Some(PowerAction::Cycle), Some(State::On)),
            (Self::Reset, State::On) => plan(Some(PowerAction::Reset), None),
            (Self::Reset, State::Off) => Err("the node is off; a reset needs it on, use `power on`"),
            // The operating system takes its time; whoever asks sees the state by `power status`.
            (Self::Soft, State::On) => plan(Some(PowerAction::Soft), None),
        }
    }
}

/// What a component stands in comes before it: a chassis 0, a blade 1, a node and all else 2.
#[must_use]
pub(crate) fn rank(id: &Xname) -> i8 {
    match id.kind().name() {
        "Chassis" => 0,
        "ComputeModule" => 1,
        _ => 2,
    }
}

/// The controller that switches a component: of a node its BMC, of a blade and of a chassis the chassis' own.
pub(crate) fn controller_of<'a>(inventory: &'a Inventory, id: &Xname) -> Option<&'a Endpoint> {
    if rank(id) == 2 {
        return inventory.controller_of(id);
    }
    let chassis = id.ancestry().find(|it| rank(it) == 0)?;
    let listed = inventory.controller_of(id).filter(|it| it.nodes.contains(id));
    listed.or_else(|| inventory.endpoint(&chassis.child('b', 0).ok()?))
}

/// Whether a node with this lock may be switched or told where to boot from; its state may always be asked for.
///
/// # Errors
///
/// Who locked it, since when and why.
pub(crate) fn may_switch(lock: Option<&Lock>) -> Result<(), String> {
    lock.map_or(Ok(()), |it| Err(it.to_string()))
}

impl State {
    /// The word of the API and of messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl From<Boot> for BootDevice {
    fn from(boot: Boot) -> Self {
        match boot {
            Boot::Pxe => Self::Pxe,
            Boot::Disk => Self::Disk,
            Boot::Cdrom => Self::Cdrom,
            Boot::Bios => Self::Bios,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Action, Lock, Plan, PowerAction, State, may_switch, rank};

    #[test]
    fn a_locked_node_says_by_whom_and_why() {
        let [by, reason, since] = ["alice", "memory errors", "2026-01-01T00:00:00Z"].map(str::to_owned);
        let told = may_switch(Some(&Lock { by, reason, since }));
        assert_eq!(told, Err("locked by alice since 2026-01-01T00:00:00Z: memory errors".to_owned()));
        assert_eq!(may_switch(None), Ok(()));
    }

    #[test]
    fn what_others_stand_in_comes_first() {
        let rank = |text: &str| rank(&text.parse().unwrap());
        assert!(rank("x1000c0") < rank("x1000c0s1") && rank("x1000c0s1") < rank("x1000c0s1b0n0"));
    }

    #[test]
    fn a_node_that_is_where_it_should_be_is_left_alone() {
        let nothing = Ok(Plan { send: None, until: None });
        assert_eq!(Action::On.plan(State::On), nothing);
        assert_eq!(Action::Off.plan(State::Off), nothing);
        assert_eq!(Action::Soft.plan(State::Off), nothing);
    }

    #[test]
    fn a_cycle_of_a_node_that_is_off_switches_it_on() {
        let on = Ok(Plan { send: Some(PowerAction::On), until: Some(State::On) });
        assert_eq!(Action::Cycle.plan(State::Off), on);
        assert!(Action::Reset.plan(State::Off).is_err());
    }
}
