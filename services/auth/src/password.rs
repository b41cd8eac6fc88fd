//! Passwords: Argon2id (RFC 9106), off the runtime's threads and few at a time, since each takes 19 MiB.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{constant_time, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Memory in KiB, passes, lanes: OWASP's first choice.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
const SALT_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;
/// So many are computed at once, and so many more may wait, this long.
const TURNS: usize = 2;
const WAITING_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Letters of a password: NIST SP 800-63B asks for no more rules than a length.
const LENGTH: std::ops::RangeInclusive<usize> = 12..=256;

/// A password as it came, wiped when it is dropped.
#[derive(Deserialize)]
#[serde(from = "String")]
pub(crate) struct Password(pub(crate) Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Computes digests of passwords.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Of no password: what an unknown person's is compared with, so that they cost the same.
    nobody: String,
}

/// Why a password was not looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("too many passwords are being checked; try again in some seconds")]
    Busy,
    #[error("a password has {} to {} letters", LENGTH.start(), LENGTH.end())]
    Length,
    #[error("the password cannot be digested")]
    Digest,
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| PasswordError::Digest)?;
        // Its digest is drawn, not computed: no password leads to it.
        let mut digest = [0; DIGEST_BYTES];
        rand::fill(&mut digest).map_err(|_| PasswordError::Digest)?;
        let places = |it| Arc::new(Semaphore::new(it));
        Ok(Self { turns: places(TURNS), waiting: places(WAITING_MAX), nobody: write(&salt, &digest, COST) })
    }

    /// What is kept of a new password, in PHC's form.
    pub(crate) async fn digest(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        if !LENGTH.contains(&password.chars().count()) {
            return Err(PasswordError::Length);
        }
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| PasswordError::Digest)?;
        let digest = self.compute(password, salt.to_vec(), COST).await?;
        Ok(write(&salt, &*digest, COST))
    }

    /// Whether it is the password of whom this is kept; of nobody it takes as long.
    pub(crate) async fn verify(
        &self,
        password: Zeroizing<String>,
        kept: Option<&str>,
    ) -> Result<bool, PasswordError> {
        let (salt, kept_digest, cost) = read(kept.unwrap_or(&self.nobody)).ok_or(PasswordError::Digest)?;
        // A longer one was never taken, and would only take time.
        if password.len() > 4 * LENGTH.end() {
            return Ok(false);
        }
        let digest = self.compute(password, salt, cost).await?;
        let same = constant_time::verify_slices_are_equal(&*digest, &kept_digest).is_ok();
        Ok(same && kept.is_some())
    }

    async fn compute(
        &self,
        password: Zeroizing<String>,
        salt: Vec<u8>,
        (memory, passes, lanes): (u32, u32, u32),
    ) -> Result<Zeroizing<[u8; DIGEST_BYTES]>, PasswordError> {
        let _place = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
        let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| PasswordError::Busy)?.map_err(|_| PasswordError::Busy)?;
        let work = move || {
            // Held until the memory is free again, though nobody waits any more.
            let _turn = turn;
            let params = Params::new(memory, passes, lanes, Some(DIGEST_BYTES)).ok()?;
            let mut digest = Zeroizing::new([0; DIGEST_BYTES]);
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon.hash_password_into(password.as_bytes(), &salt, &mut *digest).ok()?;
            Some(digest)
        };
        tokio::task::spawn_blocking(work).await.ok().flatten().ok_or(PasswordError::Digest)
    }
}

fn write(salt: &[u8], digest: &[u8], (memory, passes, lanes): (u32, u32, u32)) -> String {
    let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${digest}")
}

type Kept = (Vec<u8>, Vec<u8>, (u32, u32, u32));

fn read(text: &str) -> Option<Kept> {
    let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
    let mut cost = parts.next()?.split(',');
    let mut number = |name: &str| cost.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let cost = (number("m=")?, number("t=")?, number("p=")?);
    let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let digest = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    parts.next().is_none().then_some((salt, digest, cost))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use zeroize::Zeroizing;

    use super::{PasswordError, Passwords};

    fn text(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other() {
        let passwords = Passwords::new().unwrap();
        let kept = passwords.digest(text("correct horse battery")).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !kept.contains("horse"));
        assert_ne!(kept, passwords.digest(text("correct horse battery")).await.unwrap());
        assert!(passwords.verify(text("correct horse battery"), Some(&kept)).await.unwrap());
        for (password, kept) in [("correct horse batterx", Some(&*kept)), ("correct horse battery", None)] {
            assert!(!passwords.verify(text(password), kept).await.unwrap());
        }
        assert!(matches!(passwords.digest(text("short")).await, Err(PasswordError::Length)));
        assert!(!passwords.verify(text(&"x".repeat(100_000)), Some(&kept)).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_not_kept_in_that_form_is_no_password() {
        let passwords = Passwords::new().unwrap();
        for kept in ["", "plain", "$argon2i$v=19$m=1,t=1,p=1$AA$AA", "$argon2id$v=19$m=19456,t=2,p=1$AA"] {
            assert!(passwords.verify(text("correct horse battery"), Some(kept)).await.is_err(), "{kept}");
        }
    }

    #[tokio::test]
    async fn a_flood_is_refused_not_queued() {
        let passwords = std::sync::Arc::new(Passwords::new().unwrap());
        let tries = (0..64).map(|_| {
            let passwords = std::sync::Arc::clone(&passwords);
            tokio::spawn(async move { passwords.verify(text("correct horse battery"), None).await })
        });
        let mut busy = 0;
        for it in tries.collect::<Vec<_>>() {
            match it.await.unwrap() {
                Ok(good) => assert!(!good),
                Err(error) => busy += usize::from(matches!(error, PasswordError::Busy)),
            }
        }
        assert!((1..=32).contains(&busy), "{busy}");
    }
}
