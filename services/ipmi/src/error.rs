//! What can go wrong, at which step, and what to check then.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ipmi_rs_core::connection::CompletionErrorCode as Code;

use crate::CipherSuite;

/// Why a session, a request or a console failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing came back in time. A request that was sent may have been carried out all the same.
    #[error(
        "{step}: no answer from {address} within {} ms; check the BMC's address and cable, and that IPMI \
         over LAN is enabled",
        waited.as_millis()
    )]
    Timeout {
        /// The step that got no answer.
        step: &'static str,
        /// Whom we asked.
        address: SocketAddr,
        /// How long we waited.
        waited: Duration,
    },
    /// The BMC refused a step of the handshake.
    #[error("{step}: the BMC {address} refused: {status}")]
    Refused {
        /// The step it refused.
        step: &'static str,
        /// Which BMC.
        address: SocketAddr,
        /// Its reason.
        status: RakpStatus,
    },
    /// The BMC takes none of the cipher suites we offer.
    #[error(
        "open session: the BMC {address} takes none of the cipher suites {}; enable 17 or 3 on it",
        list(tried)
    )]
    NoCipherSuite {
        /// Which BMC.
        address: SocketAddr,
        /// What was offered, in this order.
        tried: Vec<CipherSuite>,
    },
    /// Name, password, key or privilege are not right.
    #[error("{step} with the BMC {address}: {reason}")]
    Auth {
        /// The step that showed it.
        step: &'static str,
        /// Which BMC.
        address: SocketAddr,
        /// What is not right.
        reason: AuthFailure,
    },
    /// A command was answered with a completion code other than success.
    #[error("{step}: the BMC {address} answered {raw:#04x}, {}", describe(*code, *raw))]
    Completion {
        /// The command.
        step: &'static str,
        /// Which BMC.
        address: SocketAddr,
        /// The code, as `ipmi-rs-core` names it.
        code: Code,
        /// The code as sent.
        raw: u8,
    },
    /// The BMC answered something that the specification does not allow.
    #[error("{step}: the answer of the BMC {address} is not IPMI 2.0: {reason}")]
    Protocol {
        /// The step in which it did.
        step: &'static str,
        /// Which BMC.
        address: SocketAddr,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting which no BMC could be asked with.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The session or the console was closed on our side, or the console by the BMC.
    #[error("the session is closed")]
    Closed,
    /// The operating system refused to send or receive.
    #[error("{step}: cannot exchange packets with {address}")]
    Io {
        /// The step.
        step: &'static str,
        /// With whom.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The completion code, if that is what this is.
    pub fn completion(&self) -> Option<u8> {
        match self {
            Self::Completion { raw, .. } => Some(*raw),
            _ => None,
        }
    }

    /// What it comes to, for who has to decide what to do about it.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Timeout { .. } => Cause::Silent,
            Self::Io { .. } => Cause::Unreachable,
            Self::Refused { status, .. } if status.is_full() => Cause::NoSlot,
            Self::NoCipherSuite { .. } => Cause::NoCipherSuite,
            Self::Auth { reason, .. } => Cause::Account(*reason),
            Self::Completion { code: Code::InsufficientPrivilege, .. } => {
                Cause::Account(AuthFailure::Privilege)
            }
            Self::Completion { code: Code::NodeBusy | Code::ResponseUnavailable { .. }, .. } => Cause::Busy,
            Self::Completion { code: Code::InvalidCommand | Code::InvalidCommandForLun, .. } => {
                Cause::Unsupported
            }
            Self::Refused { .. } | Self::Completion { .. } => Cause::Refused,
            Self::Protocol { .. } => Cause::Malformed,
            Self::Invalid { .. } => Cause::Setting,
            Self::Closed => Cause::Closed,
        }
    }
}

/// The kinds of failure that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing came back.
    Silent,
    /// The operating system cannot send there.
    Unreachable,
    /// The BMC has as many sessions as it can have.
    NoSlot,
    /// No cipher suite that both sides take.
    NoCipherSuite,
    /// Name, password, key or privilege are not right: to try again without a change only locks the account.
    Account(AuthFailure),
    /// It says to try later.
    Busy,
    /// It does not have the command.
    Unsupported,
    /// It refused for another reason.
    Refused,
    /// It answered something that is not IPMI 2.0.
    Malformed,
    /// What was asked for cannot be.
    Setting,
    /// The session is over.
    Closed,
}

/// What is not right with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthFailure {
    /// The BMC does not prove that it knows the password we have (RAKP message 2).
    #[error(
        "the BMC knows another password for this user, or none; check user name and password, and if they are right, \
         try the workaround opensesspriv"
    )]
    WrongPassword,
    /// The BMC knows the password but derives other session keys (RAKP message 4).
    #[error("the BMC does not derive our session keys; check the key Kg")]
    WrongKg,
    /// There is no such user, or it may not use this channel.
    #[error(
        "the BMC does not know this user name, or it is disabled on the LAN channel; check the account, and if it is \
         right, try the workaround intel20"
    )]
    UnknownUser,
    /// The user may not have the privilege level asked for.
    #[error(
        "the user may not have this privilege level; check its limit on the LAN channel, or ask for less"
    )]
    Privilege,
}

/// A status code of the handshake (table 13-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RakpStatus(
    /// The code as sent.
    pub u8,
);

impl RakpStatus {
    /// Success.
    pub const OK: Self = Self(0);
    /// "No cipher suite match with proposed security algorithms".
    pub const NO_SUITE: Self = Self(0x11);
    /// "Invalid integrity check value": what a side says that found a code wrong.
    pub const INVALID_INTEGRITY_CHECK: Self = Self(0x0f);

    /// Whether the BMC refuses the algorithms, so that another suite may do. Some BMCs say 0x12 for it.
    pub fn refuses_algorithms(self) -> bool {
        matches!(self.0, 0x03..=0x07 | 0x10..=0x12)
    }

    /// Whether the BMC has no room for another session.
    pub fn is_full(self) -> bool {
        matches!(self.0, 0x01 | 0x0b)
    }

    /// The account's failure behind it, if it is one.
    pub(crate) fn auth_failure(self) -> Option<AuthFailure> {
        match self.0 {
            0x09 | 0x0a => Some(AuthFailure::Privilege),
            0x0c..=0x0e => Some(AuthFailure::UnknownUser),
            0x0f => Some(AuthFailure::WrongPassword),
            _ => None,
        }
    }
}

impl fmt::Display for RakpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            0x00 => "no error",
            0x01 => "no room for another session; close unused ones, or wait until they expire",
            0x02 => "it does not know the session id",
            0x03 => "it does not know the payload type",
            0x04 => "it does not take the authentication algorithm",
            0x05 => "it does not take the integrity algorithm",
            0x06 => "no matching authentication payload",
            0x07 => "no matching integrity payload",
            0x08 => "the session id is not active",
            0x09 => "it does not know the role",
            0x0a => "the user may not have the privilege level asked for",
            0x0b => "no room for another session of this privilege level",
            0x0c => "the length of the user name is not valid",
            0x0d => "it does not know the user name",
            0x0e => "it does not know the GUID",
            0x0f => "our integrity check value is wrong; check the password",
            0x10 => "it does not take the confidentiality algorithm",
            0x11 => "it takes no cipher suite with these algorithms",
            0x12 => "it does not know a parameter",
            _ => "for a reason of its own",
        };
        write!(f, "{meaning} (status {:#04x})", self.0)
    }
}

/// A completion code in words, with what to check where one can tell (table 5-2).
fn describe(code: Code, raw: u8) -> &'static str {
    match code {
        Code::NodeBusy => "it is busy; try again",
        Code::InvalidCommand | Code::InvalidCommandForLun => "it does not have this command",
        Code::ProcessingTimeout => "it took too long inside",
        Code::OutOfSpace => "it is out of space",
        Code::RequestDataTruncated | Code::RequestDataLenInvalid | Code::RequestDataLengthLimitExceeded => {
            "it expects a request of another length"
        }
        Code::ParameterOutOfRange => "a parameter is out of range",
        Code::RequestedDatapointNotPresent => "what was asked for is not there",
        Code::InvalidDataFieldInRequest => "it does not support this value",
        Code::ResponseUnavailable { .. } => "it is updating or starting; try again later",
        Code::CannotExecuteDuplicateRequest => "it takes the request for a repetition",
        Code::DestinationUnavailable => "it cannot reach the part that would answer",
        Code::InsufficientPrivilege => {
            "the session's privilege is too low; check the user's limit on the LAN channel"
        }
        Code::CannotExecuteCommandInCurrentState => "not possible in its present state",
        Code::SubFunctionDisabled => "the function is disabled",
        Code::Unspecified => "an unspecified error",
        Code::CommandSpecific(_) => match raw {
            0x80 => "already in use, or a parameter it does not support",
            0x81 => "disabled, or over a limit, or being changed by somebody else",
            0x82 => "no more of them are possible, or it cannot be written",
            0x83 => "not possible with encryption",
            0x84 => "not possible without encryption",
            _ => "an error of this command alone",
        },
        Code::Oem(_) => "an error of its maker's own",
        _ => "an error",
    }
}

fn list(suites: &[CipherSuite]) -> String {
    suites.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_step_and_what_to_check() {
        let address = ([172, 16, 0, 101], 623).into();
        let step = "chassis control";
        let low = Error::Completion { step, address, code: Code::InsufficientPrivilege, raw: 0xd4 };
        let text = low.to_string();
        assert!(text.contains("chassis control") && text.contains("0xd4"), "{text}");
        assert!(text.contains("privilege") && text.contains("172.16.0.101"), "{text}");
        assert_eq!(low.cause(), Cause::Account(AuthFailure::Privilege));
        let full = Error::Refused { step: "open session", address, status: RakpStatus(1) };
        assert!(full.cause() == Cause::NoSlot && full.to_string().contains("close unused ones"), "{full}");
        let none = Error::NoCipherSuite { address, tried: vec![CipherSuite::Seventeen, CipherSuite::Three] };
        assert!(none.to_string().contains("17, 3"), "{none}");
    }

    #[test]
    fn every_status_and_every_code_has_words() {
        for raw in 1..=u8::MAX {
            assert!(RakpStatus(raw).to_string().len() > 15);
            if let Ok(code) = Code::try_from(raw) {
                assert!(!describe(code, raw).is_empty());
            }
        }
    }
}
