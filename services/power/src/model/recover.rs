//! Which nodes are on without having booted, after the head was started. Pure.

use std::collections::BTreeMap;

use domain::Xname;
use serde::{Deserialize, Serialize};

/// What is done about nodes that are on without having booted, when the head was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nobody looks.
    Off,
    /// They are listed, and a health issue says so.
    #[default]
    List,
    /// They are switched off and on again, a stage at a time.
    Cycle,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is off.
    Off,
    /// It asked for its script since the head was started, or answers at its address.
    Alive,
    /// It is on, and nothing shows that it lives.
    Silent,
    /// It cannot be known, and it is left alone.
    Unsure,
    /// It was switched off and on, and has not asked for its script yet.
    Waiting,
    /// It was, and has asked.
    Booted,
    /// It was, and has not asked in time.
    Late,
    /// It could not be switched.
    Failed,
}

/// What an address said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Somebody is there.
    Answered,
    /// Nobody has this address: no answer to ARP, or a router says so.
    Nobody,
    /// Nothing came, which a packet filter does too.
    Nothing,
}

impl Verdict {
    /// The word of the API and of tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Alive => "alive",
            Self::Silent => "silent",
            Self::Unsure => "unsure",
            Self::Waiting => "waiting",
            Self::Booted => "booted",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }

    /// Whether somebody should look after the node.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Silent | Self::Late | Self::Failed)
    }
}

/// What the answers of a node's addresses mean. A node is silent only if all of them are nobody's: one that runs, or
/// waits in iPXE, has its address and says so even where it takes no connections.
pub(crate) fn judge(probes: &[Probe]) -> (Verdict, Option<&'static str>) {
    if probes.contains(&Probe::Answered) {
        (Verdict::Alive, None)
    } else if probes.is_empty() {
        (Verdict::Unsure, Some("it has no address in the inventory"))
    } else if probes.contains(&Probe::Nothing) {
        (Verdict::Unsure, Some("its address answers nothing, and nothing says that it is nobody's"))
    } else {
        (Verdict::Silent, Some("on, but its address is nobody's and it has asked for no script"))
    }
}

/// Those that have asked for their script since this moment, of those that are waited for.
pub(crate) fn arrived<'a>(
    waiting: impl Iterator<Item = &'a Xname>,
    seen: &BTreeMap<Xname, i64>,
    since: i64,
) -> Vec<Xname> {
    waiting.filter(|it| seen.get(*it).is_some_and(|at| *at >= since)).cloned().collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Probe, Verdict, arrived, judge};

    #[test]
    fn a_node_is_silent_only_if_all_its_addresses_are_nobody_s() {
        assert_eq!(judge(&[Probe::Nobody, Probe::Answered]).0, Verdict::Alive);
        assert_eq!(judge(&[Probe::Nobody, Probe::Nothing]).0, Verdict::Unsure);
        assert_eq!(judge(&[]).0, Verdict::Unsure);
        assert_eq!(judge(&[Probe::Nobody, Probe::Nobody]).0, Verdict::Silent);
    }

    #[test]
    fn a_script_of_before_is_no_arrival() {
        let [a, b, c] = ["x0c0s1b0n0", "x0c0s2b0n0", "x0c0s3b0n0"].map(|it| it.parse().unwrap());
        let seen = [(a, 99), (b, 100)].into();
        let b: domain::Xname = "x0c0s2b0n0".parse().unwrap();
        assert_eq!(arrived([&b, &c].into_iter(), &seen, 100).first(), Some(&b));
        assert!(arrived([&b].into_iter(), &seen, 101).is_empty());
    }
}
