//! Whom to talk to and how patiently.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ipmi_rs_core::app::auth::{
    AuthenticationAlgorithm, ConfidentialityAlgorithm, IntegrityAlgorithm, PrivilegeLevel,
};
use zeroize::Zeroizing;

use crate::{Error, Workarounds};

/// The longest user name, in bytes (section 13.20).
pub(crate) const USER_BYTES_MAX: usize = 16;
/// The longest password or key Kg, in bytes (sections 13.31, 22.30).
pub(crate) const KEY_BYTES_MAX: usize = 20;

/// One BMC and the account to use on it.
#[derive(Clone)]
pub struct Target {
    /// Where the BMC listens; the usual port is 623.
    pub address: SocketAddr,
    /// The user name, at most 16 bytes; empty for the anonymous user.
    pub user: String,
    /// The user's password, at most 20 bytes.
    pub password: Zeroizing<String>,
    /// The BMC's key Kg, at most 20 bytes, where one is set ("two-key log-in", section 13.31).
    pub kg: Option<Zeroizing<Vec<u8>>>,
    /// The cipher suites to try, in this order.
    pub cipher_suites: Vec<CipherSuite>,
    /// The privilege level of the session.
    pub privilege: PrivilegeLevel,
    /// What this BMC needs to be done otherwise.
    pub workarounds: Workarounds,
}

impl Target {
    /// A BMC with the usual settings: suite 17, then 3; no Kg; administrator.
    pub fn new(address: SocketAddr, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            address,
            user: user.into(),
            password: Zeroizing::new(password.into()),
            kg: None,
            cipher_suites: vec![CipherSuite::Seventeen, CipherSuite::Three],
            privilege: PrivilegeLevel::Administrator,
            workarounds: Workarounds::NONE,
        }
    }

    /// Tries this suite first: what was agreed on the last time spares a BMC the question for the others.
    #[must_use]
    pub fn first_with(mut self, suite: CipherSuite) -> Self {
        self.cipher_suites.sort_by_key(|it| *it != suite);
        self
    }

    /// Refuses what could not be put into a packet.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let long = |bytes: usize| bytes > KEY_BYTES_MAX;
        let reason = if self.user.len() > USER_BYTES_MAX {
            "the user name is longer than 16 bytes"
        } else if long(self.password.len()) {
            "the password is longer than 20 bytes"
        } else if self.kg.as_ref().is_some_and(|kg| long(kg.len())) {
            "the key Kg is longer than 20 bytes"
        } else if self.cipher_suites.is_empty() {
            "the list of cipher suites is empty"
        } else {
            return Ok(());
        };
        Err(Error::Invalid { reason })
    }
}

/// Shows everything but the secrets.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("kg", &self.kg.is_some())
            .field("cipher_suites", &self.cipher_suites)
            .field("privilege", &self.privilege)
            .field("workarounds", &self.workarounds)
            .finish_non_exhaustive()
    }
}

/// The cipher suites spoken (section 22.15.2); none without authentication, integrity and encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128: mandatory for every BMC.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl CipherSuite {
    /// The suite's number.
    pub fn id(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// The suite with this number, if it is one of ours.
    pub fn from_id(id: u8) -> Option<Self> {
        [Self::Seventeen, Self::Three].into_iter().find(|suite| suite.id() == id)
    }

    /// The algorithm of the handshake.
    pub fn authentication(self) -> AuthenticationAlgorithm {
        match self {
            Self::Three => AuthenticationAlgorithm::RakpHmacSha1,
            Self::Seventeen => AuthenticationAlgorithm::RakpHmacSha256,
        }
    }

    /// The algorithm of each packet's code.
    pub fn integrity(self) -> IntegrityAlgorithm {
        match self {
            Self::Three => IntegrityAlgorithm::HmacSha1_96,
            Self::Seventeen => IntegrityAlgorithm::HmacSha256_128,
        }
    }

    /// The algorithm of the encryption.
    pub fn confidentiality(self) -> ConfidentialityAlgorithm {
        ConfidentialityAlgorithm::AesCbc128
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// How long to wait, how often to ask again, how much at once.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The wait before the first retransmission; each further wait is twice as long.
    pub first_wait: Duration,
    /// The longest wait between two retransmissions.
    pub longest_wait: Duration,
    /// By how many percent a wait may be shorter or longer, so that many sessions do not send again all at
    /// once.
    pub jitter_percent: u8,
    /// How long one request, or one step of the handshake, may take in all.
    pub deadline: Duration,
    /// A BMC from which nothing came for this long is taken for dead and the session ends. It is asked
    /// for a sign of life after a third of this time; a BMC itself ends a session idle for 60 s.
    pub dead_after: Duration,
    /// How many requests may be under way at once; many BMCs handle no more than one.
    pub in_flight: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(2),
            jitter_percent: 20,
            deadline: Duration::from_secs(5),
            dead_after: Duration::from_secs(30),
            in_flight: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_never_shows_its_secrets() {
        let mut target = Target::new(([127, 0, 0, 1], 623).into(), "admin", "hush-hush");
        target.kg = Some(Zeroizing::new(b"whisper".to_vec()));
        let shown = format!("{target:?}");
        assert!(shown.contains("admin") && !shown.contains("hush"), "{shown}");
        assert!(!shown.contains("119"), "the bytes of Kg are not shown either: {shown}");
    }

    #[test]
    fn what_does_not_fit_a_packet_is_refused_before_anything_is_sent() {
        let address = ([127, 0, 0, 1], 623).into();
        assert!(Target::new(address, "a".repeat(16), "b".repeat(20)).check().is_ok());
        assert!(Target::new(address, "a".repeat(17), "b").check().is_err());
        assert!(Target::new(address, "a", "b".repeat(21)).check().is_err());
        let none = Target { cipher_suites: Vec::new(), ..Target::new(address, "a", "b") };
        assert!(none.check().is_err());
    }

    #[test]
    fn a_remembered_suite_is_tried_first_and_no_other_is_added() {
        let target = Target::new(([127, 0, 0, 1], 623).into(), "a", "b");
        assert_eq!(target.cipher_suites, [CipherSuite::Seventeen, CipherSuite::Three]);
        let target = target.first_with(CipherSuite::Three);
        assert_eq!(target.cipher_suites, [CipherSuite::Three, CipherSuite::Seventeen]);
        let only = Target { cipher_suites: vec![CipherSuite::Seventeen], ..target };
        assert_eq!(only.first_with(CipherSuite::Three).cipher_suites, [CipherSuite::Seventeen]);
    }
}
