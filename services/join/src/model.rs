//! The decisions: who gets a nonce, who may trade it for a token, who answered a challenge. Pure: time and
//! randomness come from outside.

mod challenge;
mod held;
mod window;

use aws_lc_rs::digest;

pub(crate) use challenge::{Challenge, Challenges};
pub(crate) use held::{Enrolment, Held, Kind, SshKey, gone};
pub(crate) use window::{Claim, Refusal, Windows};

/// A secret that is given out once: a nonce, what a challenge hides.
pub(crate) type Secret = [u8; 32];

/// What is kept of a secret.
pub(crate) fn digest_of(secret: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, secret))
}

/// Whether this is the secret of that digest; how long it takes says nothing.
pub(crate) fn is_secret_of(secret: &[u8], kept: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(digest_of(secret).as_bytes(), kept.as_bytes()).is_ok()
}
