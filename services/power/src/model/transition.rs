//! What OpenCHAMI's operations come to, step by step. Pure.

use std::time::Duration;

use super::{Action, State};

/// An operation of power-control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    On,
    Off,
    SoftRestart,
    HardRestart,
    Init,
    ForceOff,
    SoftOff,
}

/// A step of it, for all nodes that are still in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Those that are off are out of it.
    NeedOn,
    /// They are told; those whose BMC does not do it fail, unless a later step does it by force.
    Do { action: Action, may_fail: bool },
    /// They have until the deadline to be off; then those that are not fail, unless a later step does it by force.
    AwaitOff { may_fail: bool },
}

impl Operation {
    /// The operation of a word in either case.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::On,
            Self::Off,
            Self::SoftRestart,
            Self::HardRestart,
            Self::Init,
            Self::ForceOff,
            Self::SoftOff,
        ];
        all.into_iter().find(|it| it.name().eq_ignore_ascii_case(word))
    }

    /// As answers name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
            Self::SoftRestart => "Soft-Restart",
            Self::HardRestart => "Hard-Restart",
            Self::Init => "Init",
            Self::ForceOff => "Force-Off",
            Self::SoftOff => "Soft-Off",
        }
    }

    /// What it comes to: what is off is shut down first, if its system answers, and by force after the deadline.
    pub(crate) fn steps(self) -> &'static [Step] {
        use Step::{AwaitOff, Do, NeedOn};
        const ON: Step = Do { action: Action::On, may_fail: false };
        const FORCE: Step = Do { action: Action::Off, may_fail: false };
        const ASK: Step = Do { action: Action::Soft, may_fail: true };
        match self {
            Self::On => &[ON],
            Self::ForceOff => &[FORCE],
            Self::SoftOff => &[Do { action: Action::Soft, may_fail: false }, AwaitOff { may_fail: false }],
            Self::Off => &[ASK, AwaitOff { may_fail: true }, FORCE],
            Self::SoftRestart | Self::HardRestart => &[NeedOn, ASK, AwaitOff { may_fail: true }, FORCE, ON],
            Self::Init => &[ASK, AwaitOff { may_fail: true }, FORCE, ON],
        }
    }
}

/// How long nodes have to shut down: minutes as they are asked for, none of them for none at all, and fewer for as
/// long as it takes, which is a day at most.
pub(crate) fn patience(minutes: i64) -> Duration {
    const DAY: u64 = 24 * 60;
    let minutes = u64::try_from(minutes).map_or(DAY, |it| it.min(DAY));
    Duration::from_secs(minutes * 60)
}

/// Whether a node that is in this state needs to be waited for no longer.
pub(crate) fn is_off(state: Option<State>) -> bool {
    state == Some(State::Off)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_in_either_case_and_no_others() {
        assert_eq!(Operation::parse("soft-OFF"), Some(Operation::SoftOff));
        for word in ["", "reinit", "force-on", "explode"] {
            assert_eq!(Operation::parse(word), None, "{word}");
        }
    }

    #[test]
    fn nothing_is_forced_that_was_not_asked_to_be() {
        let forces =
            |it: Operation| it.steps().iter().any(|it| matches!(it, Step::Do { action: Action::Off, .. }));
        assert!(!forces(Operation::SoftOff) && !forces(Operation::On));
        assert!(forces(Operation::Off) && forces(Operation::HardRestart));
        assert_eq!(Operation::SoftRestart.steps().first(), Some(&Step::NeedOn));
    }

    #[test]
    fn patience_is_bounded() {
        assert_eq!(patience(0), Duration::ZERO);
        assert_eq!(patience(5), Duration::from_secs(300));
        assert_eq!(patience(-1), Duration::from_secs(86_400));
        assert_eq!(patience(i64::MAX), Duration::from_secs(86_400));
    }
}
