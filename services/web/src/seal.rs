//! Sealed secrets: AES-256-GCM (NIST SP 800-38D) under a key that is a credential.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// A key that seals rows. The associated data binds a sealed value to the row it stands in.
pub struct SealKey(LessSafeKey);

/// What does not open: another key, another row, or a changed byte.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The credential is not 32 bytes.
    #[error("the sealing key must be 32 bytes")]
    Key,
    /// It was not sealed with this key for this row.
    #[error("the sealed value does not open; was the sealing key replaced?")]
    Open,
    /// The random source or the cipher failed.
    #[error("the value cannot be sealed")]
    Seal,
}

impl SealKey {
    /// The key of these 32 bytes.
    ///
    /// # Errors
    ///
    /// Another length.
    pub fn new(bytes: &[u8]) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::Key)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Nonce, ciphertext and tag in one.
    ///
    /// # Errors
    ///
    /// If there is no randomness.
    pub fn seal(&self, secret: &[u8], row: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Seal)?;
        let mut sealed = secret.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(row), &mut sealed)
            .map_err(|_| SealError::Seal)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The secret.
    ///
    /// # Errors
    ///
    /// Whatever was not sealed by [`seal`](Self::seal) with this key for this row.
    pub fn open(&self, sealed: &[u8], row: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
        let mut secret = Zeroizing::new(rest.to_vec());
        let length =
            self.0.open_in_place(nonce, Aad::from(row), &mut secret).map_err(|_| SealError::Open)?.len();
        secret.truncate(length);
        Ok(secret)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::SealKey;

    #[test]
    fn a_secret_opens_in_its_own_row_alone() {
        let key = SealKey::new(&[7; 32]).unwrap();
        let sealed = key.seal(b"canary", "default").unwrap();
        assert_eq!(key.open(&sealed, "default").unwrap().as_slice(), b"canary");
        assert!(key.open(&sealed, "x1000c1s7b1").is_err());
        assert!(SealKey::new(&[8; 32]).unwrap().open(&sealed, "default").is_err());
        for length in 0..sealed.len() {
            assert!(key.open(&sealed[..length], "default").is_err());
        }
    }
}
