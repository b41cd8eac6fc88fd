//! Nonces (RFC 8555 section 6.5): made from a key of this process, so that asking for many costs no memory; only
//! those that were used are remembered, until they are too old to be taken anyhow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::wire::decode;

/// How long one is good, in seconds.
const LIFE_S: u64 = 3600;
/// How many used ones are remembered; while there are more, none is taken.
const USED_MAX: usize = 200_000;
const RANDOM: usize = 16;
const TIME: usize = 8;
const MARK: usize = 16;

/// Gives nonces, and takes each once. Another process' are not taken; its client asks again.
pub(crate) struct Nonces {
    key: hmac::Key,
    used: Mutex<HashMap<[u8; RANDOM], u64>>,
}

impl Nonces {
    /// # Errors
    ///
    /// If there is no randomness.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| anyhow::anyhow!("there is no randomness for nonces"))?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), used: Mutex::default() })
    }

    /// A new one. `now_s` counts from any moment and never goes back.
    pub(crate) fn give(&self, now_s: u64) -> String {
        let mut nonce = [0; RANDOM + TIME];
        // Without randomness the time alone is signed: taken once, by whoever comes first.
        if rand::fill(&mut nonce[..RANDOM]).is_err() {
            tracing::error!("there is no randomness");
        }
        nonce[RANDOM..].copy_from_slice(&now_s.to_be_bytes());
        URL_SAFE_NO_PAD.encode([&nonce[..], &self.mark(&nonce)[..MARK]].concat())
    }

    /// Whether it is one of ours, young, and was not taken before.
    pub(crate) fn take(&self, nonce: &str, now_s: u64) -> bool {
        let Some(octets) = decode(nonce).filter(|it| it.len() == RANDOM + TIME + MARK) else { return false };
        let (signed, mark) = octets.split_at(RANDOM + TIME);
        let equal = self.mark(signed).iter().zip(mark).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        let (Ok(random), Ok(time)) = (signed[..RANDOM].try_into(), signed[RANDOM..].try_into()) else {
            return false;
        };
        let given_s = u64::from_be_bytes(time);
        if equal != 0 || now_s.saturating_sub(given_s) > LIFE_S {
            return false;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX {
            used.retain(|_, given_s| now_s.saturating_sub(*given_s) <= LIFE_S);
        }
        used.len() < USED_MAX && used.insert(random, given_s).is_none()
    }

    fn mark(&self, octets: &[u8]) -> [u8; MARK] {
        let mut mark = [0; MARK];
        mark.copy_from_slice(&hmac::sign(&self.key, octets).as_ref()[..MARK]);
        mark
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{LIFE_S, Nonces};

    #[test]
    fn a_nonce_is_taken_once_and_while_it_is_young() {
        let nonces = Nonces::new().unwrap();
        let (first, second) = (nonces.give(5), nonces.give(5));
        assert_ne!(first, second);
        assert!(nonces.take(&first, 6) && !nonces.take(&first, 6));
        assert!(!nonces.take(&second, 6 + LIFE_S) && nonces.take(&nonces.give(9), 9 + LIFE_S));
    }

    #[test]
    fn nobody_makes_one_himself() {
        let nonces = Nonces::new().unwrap();
        let good = nonces.give(1);
        for at in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            // The last letter has bits that mean nothing; the one spelling is taken alone.
            assert!(!nonces.take(&String::from_utf8(bad).unwrap(), 1), "{at}");
        }
        assert!(!nonces.take("", 1) && !nonces.take(&Nonces::new().unwrap().give(1), 1));
        assert!(nonces.take(&good, 1));
    }
}
