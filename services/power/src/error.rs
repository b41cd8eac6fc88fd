//! Why a node was not done; each names the thing and the next step.

use std::time::Duration;

use domain::Xname;

use crate::bmc::{LinkError, OpenError};

/// Why a node was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no node is called {0}; `pilotctl nodes list` shows them")]
    NoNode(String),
    #[error("{0} is {1}; unlock it first: pilotctl nodes unlock {0}")]
    Locked(Xname, String),
    /// Nothing is known to switch it with.
    #[error("{0} has no BMC in the inventory; import it with its bmc_ip")]
    NoBmc(Xname),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("BMC {bmc} at {address}")]
    Bmc {
        bmc: Xname,
        address: String,
        #[source]
        source: LinkError,
    },
    /// Not possible in the node's state.
    #[error("{0}")]
    Impossible(&'static str),
    /// Whether it was done is not known.
    #[error(
        "BMC {bmc}: the answer to power {action} was lost, so it may or may not have been carried out; it was not sent \
         again, and the power is {state} now: look at the console before asking again"
    )]
    Unsure {
        bmc: Xname,
        action: &'static str,
        state: &'static str,
        #[source]
        source: LinkError,
    },
    /// What it stands in failed.
    #[error("{0} was left as it is, because {1} failed; see to that first")]
    After(Xname, Xname),
    #[error(
        "BMC {0}: too many nodes are switched on at once (power.inrush); ask for fewer, or with pilotctl power on"
    )]
    Inrush(Xname),
    #[error("BMC {0}: its turn did not come in time; ask for fewer nodes at once, or again")]
    NoTurn(Xname),
    #[error("BMC {bmc} did not get done within {} s; ask for `power status` to see what it did", deadline.as_secs())]
    Late { bmc: Xname, deadline: Duration },
    #[error("BMC {bmc} took the command, but the node is not {state} after {} s; look at its console", waited.as_secs())]
    NotReached { bmc: Xname, state: &'static str, waited: Duration },
    #[error("BMC {0}: the service stops; ask again in a moment")]
    Stopping(Xname),
}

impl Error {
    /// Whether it is the BMC that does not answer or does not let us in.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Open(
                OpenError::Ipmi { .. }
                    | OpenError::Network { .. }
                    | OpenError::Redfish { .. }
                    | OpenError::Neither { .. }
                    | OpenError::Changed { .. }
            )
        )
    }

    /// The sentence of an outcome: with all causes, as nobody else tells them.
    pub(crate) fn sentence(self) -> String {
        format!("{:#}", anyhow::Error::new(self))
    }
}
