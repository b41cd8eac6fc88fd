//! What can go wrong: with a request, and with one BMC.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Xname;
use web::{ClientError, Problem};

use crate::crawl::chain;
use crate::model::rule::RuleError;
use crate::model::target::TargetError;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("targets: {0}")]
    Targets(TargetError),
    #[error("xname: {0}")]
    Rule(#[from] RuleError),
    #[error("xname: the rule {rule} has {count} places for {targets} BMCs; widen it, or name fewer")]
    Places { rule: String, count: u64, targets: usize },
    #[error("name: {0:?} names no nodes; write nid{{nid:03}}: letters, digits and -, with the number in it")]
    Name(String),
    #[error("ip: {0}")]
    Ip(TargetError),
    #[error("group: {0:?} is no group; write letters, digits and _ . : -")]
    Group(String),
    #[error("nic: {0:?} is no card; write its MAC address, its name, or its number from 1")]
    Nic(String),
    #[error("{0} is 1 to 65535")]
    Port(&'static str),
    #[error(
        "{0} is on no BMC plane and no BMC of the inventory; an administrator may ask it, for whoever is there is \
         shown the account"
    )]
    Elsewhere(IpAddr),
    #[error("{0} discoveries are under way; wait, or end one: pilotctl discover --cancel ID")]
    Busy(usize),
    #[error("there is no discovery {0}; pilotctl discover --list shows those since the service was started")]
    NoDiscovery(u64),
    #[error("whoever asked dhcp for an address cannot be told of: {0}")]
    Dhcp(#[source] ClientError),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::Targets(_)
            | Self::Rule(_)
            | Self::Places { .. }
            | Self::Name(_)
            | Self::Ip(_)
            | Self::Group(_)
            | Self::Nic(_)
            | Self::Port(_) => (StatusCode::BAD_REQUEST, "bad-discovery"),
            Self::Elsewhere(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Busy(_) => (StatusCode::CONFLICT, "busy"),
            Self::NoDiscovery(_) => (StatusCode::NOT_FOUND, "no-discovery"),
            Self::Dhcp(_) => return Problem::unavailable(self.to_string()).into_response(),
        };
        Problem::own(status, kind, self.to_string()).into_response()
    }
}

/// Why a BMC told nothing; each says what to check.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VisitError {
    #[error("the name {0} does not resolve; write its address")]
    NoName(String),
    #[error("{0} is the address of the node {1}, not of a BMC")]
    Node(IpAddr, Xname),
    #[error("{0} is on no BMC plane; an administrator may ask it")]
    Elsewhere(IpAddr),
    #[error("no account is known for it; set one: pilotctl bmc set --user NAME")]
    NoAccount,
    #[error("its account cannot be read from the inventory")]
    Inventory(#[source] ClientError),
    #[error(transparent)]
    Trust(crate::crawl::TrustError),
    #[error("{error}; {}", trust(.bmc.as_ref()))]
    Changed { bmc: Option<Xname>, error: redfish::Error },
    #[error(transparent)]
    Redfish(redfish::Error),
    #[error(transparent)]
    Ipmi(ipmi::Error),
    #[error("neither Redfish nor IPMI: {redfish}; {ipmi}")]
    Neither { redfish: String, ipmi: String, is_silence: bool },
    #[error("it was not done within {} s; ask it alone, or raise discovery.deadline", .0.as_secs())]
    Late(Duration),
}

fn trust(bmc: Option<&Xname>) -> String {
    let bmc = bmc.map_or("XNAME", Xname::as_str);
    format!(
        "if the board was replaced: pilotctl bmc trust {bmc} FINGERPRINT; else look who stands in between"
    )
}

impl VisitError {
    /// Whether nobody is there.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Neither { is_silence, .. } => *is_silence,
            Self::Ipmi(error) => matches!(error, ipmi::Error::Timeout { .. } | ipmi::Error::Io { .. }),
            _ => false,
        }
    }

    /// The same after Redfish had failed too.
    pub(crate) fn beside(self, redfish: redfish::Error) -> Self {
        match &self {
            // Somebody is there: what it says tells more.
            Self::Ipmi(_) if !self.is_silence() => self,
            _ => {
                let is_silence = self.is_silence() && redfish.is_silence();
                Self::Neither { redfish: chain(&redfish), ipmi: chain(&self), is_silence }
            }
        }
    }
}
