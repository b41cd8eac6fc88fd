//! The suites' HMACs, with the key's part of the work done once.

use hmac::digest::{Key, KeyInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::CipherSuite;

/// The longest code.
pub(super) const CODE_BYTES_MAX: usize = 32;

/// A key, ready to make codes.
#[derive(Clone)]
pub(super) enum Authenticator {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

impl Authenticator {
    pub(super) fn new(suite: CipherSuite, key: &[u8]) -> Self {
        match suite {
            CipherSuite::Three => Self::Sha1(keyed(key)),
            CipherSuite::Seventeen => Self::Sha256(keyed(key)),
        }
    }

    /// The code over the parts, one after the other; SHA-1 leaves the last bytes zero.
    pub(super) fn code(&self, parts: &[&[u8]]) -> [u8; CODE_BYTES_MAX] {
        match self {
            Self::Sha1(mac) => run(mac.clone(), parts),
            Self::Sha256(mac) => run(mac.clone(), parts),
        }
    }
}

/// Every key here is shorter than the hash's block of 64 bytes, to which HMAC fills it up with zeros.
fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    let mut block = Key::<M>::default();
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mac = <M as KeyInit>::new(&block);
    block.as_mut_slice().zeroize();
    mac
}

fn run<M: Mac>(mut mac: M, parts: &[&[u8]]) -> [u8; CODE_BYTES_MAX] {
    for part in parts {
        mac.update(part);
    }
    let mut code = [0; CODE_BYTES_MAX];
    for (to, from) in code.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
    code
}
