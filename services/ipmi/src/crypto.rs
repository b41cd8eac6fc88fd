//! The cryptography of RMCP+: RAKP's codes, session keys, integrity and encryption (sections 13.28 to 13.32).
//!
//! Both sides compute the same codes, so a simulated BMC uses this module as it is.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::CipherSuite;
pub use keys::SessionKeys;
use mac::Authenticator;

mod keys;
mod mac;

/// What both sides know after RAKP message 2, from which every code of the handshake is made.
#[derive(Clone, Debug)]
pub struct Rakp {
    /// The suite agreed on.
    pub suite: CipherSuite,
    /// The console's id of the session, SIDm.
    pub console_id: u32,
    /// The BMC's id of the session, SIDc.
    pub bmc_id: u32,
    /// The console's random number, Rm.
    pub console_random: [u8; 16],
    /// The BMC's random number, Rc.
    pub bmc_random: [u8; 16],
    /// The BMC's GUID.
    pub bmc_guid: [u8; 16],
    /// The role byte of RAKP message 1.
    pub role: u8,
    /// The user name, at most 16 bytes.
    pub user: Vec<u8>,
}

impl Rakp {
    /// The BMC's code of message 2, with the user's password as key.
    pub fn second_code(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let (console_id, bmc_id) = (self.console_id.to_le_bytes(), self.bmc_id.to_le_bytes());
        let (randoms, guid) = (&[self.console_random, self.bmc_random].concat(), &self.bmc_guid);
        authenticate(self.suite, password, &[&console_id, &bmc_id, randoms, guid, &self.name()])
    }

    /// The console's code of message 3, with the user's password as key.
    pub fn third_code(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let console_id = self.console_id.to_le_bytes();
        authenticate(self.suite, password, &[&self.bmc_random, &console_id, &self.name()])
    }

    /// The session integrity key, with Kg as key, or the password if there is none.
    pub fn session_key(&self, key: &[u8]) -> Zeroizing<Vec<u8>> {
        authenticate(self.suite, key, &[&self.console_random, &self.bmc_random, &self.name()])
    }

    /// The BMC's code of message 4, with the session integrity key as key.
    pub fn fourth_code(&self, session_key: &[u8]) -> Zeroizing<Vec<u8>> {
        let bmc_id = self.bmc_id.to_le_bytes();
        let mut code =
            authenticate(self.suite, session_key, &[&self.console_random, &bmc_id, &self.bmc_guid]);
        code.truncate(code_bytes(self.suite));
        code
    }

    /// Role, length of the name, name: what ends three of the four.
    fn name(&self) -> Vec<u8> {
        let length = u8::try_from(self.user.len()).unwrap_or(u8::MAX);
        [&[self.role, length], self.user.as_slice()].concat()
    }
}

/// Compares two codes in a time that tells nothing about where they differ.
pub fn same_code(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}

/// The length of a packet's code and of message 4's.
fn code_bytes(suite: CipherSuite) -> usize {
    match suite {
        CipherSuite::Three => 12,
        CipherSuite::Seventeen => 16,
    }
}

/// The length of the codes of messages 2 and 3.
pub(crate) fn proof_bytes(suite: CipherSuite) -> usize {
    match suite {
        CipherSuite::Three => 20,
        CipherSuite::Seventeen => 32,
    }
}

/// The suite's HMAC over the parts, one after the other.
fn authenticate(suite: CipherSuite, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(
        Authenticator::new(suite, key).code(parts).get(..proof_bytes(suite)).unwrap_or_default().to_vec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmac_gives_the_published_values() {
        // RFC 2202 and RFC 4231, test case 2.
        let data: [&[u8]; 1] = [b"what do ya want for nothing?"];
        let first = authenticate(CipherSuite::Three, b"Jefe", &data);
        assert_eq!(hex(&first), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let second = authenticate(CipherSuite::Seventeen, b"Jefe", &data);
        assert_eq!(hex(&second), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn codes_are_the_same_or_not_whatever_their_length() {
        assert!(same_code(b"abc", b"abc"));
        assert!(!same_code(b"abc", b"abd") && !same_code(b"abc", b"abcd") && !same_code(b"abc", b""));
    }
}
