//! Challenges of TPMs: what each hides, until it is answered or forgotten. Lost at a restart: the node asks again.

use std::collections::HashMap;
use std::net::IpAddr;

use domain::Xname;
use uuid::Uuid;

use super::{Secret, digest_of, is_secret_of};

/// How long an answer may take, in seconds: a TPM's key takes some seconds.
const LIFE_S: i64 = 60;
/// Challenges that are open at once; more nodes than boot together.
const OPEN_MAX: usize = 16_384;

/// What was asked of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) node: Xname,
    pub(crate) address: IpAddr,
    /// The key that nobody enrolled and that is enrolled by the answer.
    pub(crate) first_use: Option<String>,
}

/// Every open challenge.
#[derive(Debug, Default)]
pub(crate) struct Challenges(HashMap<Uuid, (Challenge, String, i64)>);

impl Challenges {
    /// Notes a challenge that hides this secret; false if there are too many.
    pub(crate) fn open(&mut self, id: Uuid, challenge: Challenge, secret: &Secret, now: i64) -> bool {
        if self.0.len() >= OPEN_MAX {
            self.0.retain(|_, it| it.2 > now);
        }
        let room = self.0.len() < OPEN_MAX;
        if room {
            self.0.insert(id, (challenge, digest_of(secret), now + LIFE_S));
        }
        room
    }

    /// Takes an answer. A challenge is answered once, rightly or not.
    pub(crate) fn answer(&mut self, id: Uuid, secret: &[u8], address: IpAddr, now: i64) -> Option<Challenge> {
        // Asked from elsewhere it stays open for the node.
        if self.0.get(&id)?.0.address != address {
            return None;
        }
        let (challenge, kept, until) = self.0.remove(&id)?;
        (is_secret_of(secret, &kept) && now < until).then_some(challenge)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use uuid::Uuid;

    use super::{Challenge, Challenges, OPEN_MAX};

    #[test]
    fn a_challenge_is_answered_once_in_time_and_from_its_own_address() {
        let (node, address) = ("x0c0s0b0n0".parse().unwrap(), [172, 16, 0, 1].into());
        let challenge = Challenge { node, address, first_use: None };
        let mut open = Challenges::default();
        let ask = |open: &mut Challenges| {
            let id = Uuid::new_v4();
            assert!(open.open(id, challenge.clone(), &[7; 32], 0));
            id
        };
        let id = ask(&mut open);
        assert_eq!(open.answer(id, &[7; 32], [172, 16, 0, 2].into(), 1), None);
        assert!(open.answer(id, &[7; 32], address, 1).is_some());
        assert_eq!(open.answer(id, &[7; 32], address, 1), None, "once");
        let id = ask(&mut open);
        assert_eq!(open.answer(id, &[8; 32], address, 1), None, "wrong");
        assert_eq!(open.answer(id, &[7; 32], address, 1), None, "and then no more");
        let id = ask(&mut open);
        assert_eq!(open.answer(id, &[7; 32], address, 60), None, "late");
        for _ in 0..OPEN_MAX {
            ask(&mut open);
        }
        assert!(!open.open(Uuid::new_v4(), challenge.clone(), &[7; 32], 59));
        assert!(open.open(Uuid::new_v4(), challenge.clone(), &[7; 32], 60));
    }
}
