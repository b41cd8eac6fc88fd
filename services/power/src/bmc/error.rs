//! Why no session could be opened.

use domain::Xname;
use redfish::Fingerprint;
use web::ClientError;

/// Why no session could be opened; each says what to check.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The inventory has no address.
    #[error("BMC {0} has no address; import nodes.yaml with its bmc_ip")]
    NoAddress(Xname),
    /// The name does not resolve.
    #[error("BMC {bmc}: the name {host} does not resolve; give the BMC an IP address in the inventory")]
    NoName {
        /// The BMC.
        bmc: Xname,
        /// Its name.
        host: String,
    },
    /// It is to be spoken to in a protocol that is not IPMI.
    #[error("BMC {bmc} is set to {protocol}, which has no serial over LAN; set it to ipmi or auto")]
    Protocol {
        /// The BMC.
        bmc: Xname,
        /// As set.
        protocol: String,
    },
    /// There is no account for it.
    #[error("BMC {0}: no account is known; set one with `pilotctl bmc set`")]
    NoCredential(Xname),
    /// The inventory cannot be asked for the account.
    #[error("BMC {bmc}: its account cannot be read from the inventory; is pilothouse-inventory running?")]
    Inventory {
        /// The BMC.
        bmc: Xname,
        /// What the inventory says.
        source: ClientError,
    },
    /// Packets do not get there, or are refused there.
    #[error("BMC {bmc} cannot be reached; check its address, its cable, and that IPMI over LAN is enabled")]
    Network {
        /// The BMC.
        bmc: Xname,
        /// The step, and what the network says.
        source: ipmi::Error,
    },
    /// The BMC refuses, or does not answer.
    #[error("BMC {bmc}")]
    Ipmi {
        /// The BMC.
        bmc: Xname,
        /// The step, where it was asked, and what to check.
        source: ipmi::Error,
    },
    /// The BMC's Redfish service refuses, or does not answer.
    #[error("BMC {bmc} by Redfish")]
    Redfish {
        /// The BMC.
        bmc: Xname,
        /// The step and what to check.
        source: redfish::Error,
    },
    /// It is not the one that it was, or somebody stands in between. Nothing was sent.
    #[error(
        "BMC {bmc} shows another certificate than before, so nothing is sent to it: known {known}, shown {shown}; if \
         it was replaced or renewed, say so: pilotctl bmc trust {bmc} {shown}"
    )]
    Changed {
        /// The BMC.
        bmc: Xname,
        /// The one that is known.
        known: Box<Fingerprint>,
        /// The one that was shown.
        shown: Box<Fingerprint>,
    },
    /// It is to be believed by a root, and there is none.
    #[error(
        "BMC {0} is to be believed by a root certificate and none is known; name the file in power.tls_ca"
    )]
    NoRoots(Xname),
    /// It answers in no protocol.
    #[error("{ipmi}; {redfish}")]
    Neither {
        /// What came of IPMI.
        ipmi: String,
        /// What came of Redfish.
        redfish: String,
    },
}

impl OpenError {
    /// Whether the BMC does not take the account: asking again soon may lock it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Ipmi { source, .. } => matches!(source, ipmi::Error::Auth { .. }),
            Self::Redfish { source, .. } => source.is_refusal(),
            _ => false,
        }
    }

    /// Whether nobody answered.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Neither { .. } => true,
            Self::Ipmi { source, .. } => {
                matches!(source, ipmi::Error::Timeout { .. } | ipmi::Error::Io { .. })
            }
            Self::Redfish { source, .. } => source.is_silence(),
            _ => false,
        }
    }

    pub(crate) fn neither(ipmi: Self, redfish: Self) -> Self {
        // What Redfish refuses tells more than the silence of IPMI.
        if redfish.is_silence() {
            let told = |it: Self| format!("{:#}", anyhow::Error::new(it));
            Self::Neither { ipmi: told(ipmi), redfish: told(redfish) }
        } else {
            redfish
        }
    }
}
