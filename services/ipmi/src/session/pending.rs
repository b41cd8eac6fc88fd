//! The requests under way, by their number.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use ipmi_rs_core::connection::NetFn;
use tokio::sync::oneshot;

use super::link::{Link, lock};
use crate::Error;
use crate::wire::Frame;

/// Request numbers have six bits.
pub(super) const NUMBERS: u8 = 64;

const WRONG_SUMS: &str = "the check sums of its messages are wrong; set the workaround nochecksumcheck";

pub(super) struct Pending {
    next: u8,
    waiting: HashMap<u8, Waiting>,
    /// Whether messages came that cannot be read, and none that can since.
    damaged: bool,
}

struct Waiting {
    netfn: NetFn,
    command: u8,
    answer: oneshot::Sender<Vec<u8>>,
}

impl Pending {
    pub(super) fn new(next: u8) -> Self {
        Self { next: next % NUMBERS, waiting: HashMap::new(), damaged: false }
    }

    /// Hands the answer to who waits for it.
    pub(super) fn answer(&mut self, frame: &Frame) {
        let number = frame.sequence;
        self.damaged = false;
        let answers = |it: &Waiting| frame.answers(number, it.netfn, it.command);
        if self.waiting.get(&number).is_some_and(answers)
            && let Some(waiting) = self.waiting.remove(&number)
        {
            // Who asked may have stopped waiting in this moment.
            drop(waiting.answer.send(frame.message.data().to_vec()));
        }
    }

    /// A message came that cannot be read.
    pub(super) fn note_damage(&mut self) {
        self.damaged = true;
    }
}

impl Link {
    /// Why there is no answer: nothing came, or nothing that could be read.
    pub(super) fn silence(&self, step: &'static str, waited: Duration) -> Error {
        let address = self.address();
        match lock(&self.pending).damaged {
            true => Error::Protocol { step, address, reason: WRONG_SUMS },
            false => Error::Timeout { step, address, waited },
        }
    }
}

/// A request's number, free again when nobody waits for the answer any more.
pub(super) struct Number<'a> {
    link: &'a Link,
    number: u8,
}

impl<'a> Number<'a> {
    /// Finds a free number. There are more numbers than permits, so one is free.
    pub(super) fn reserve(
        link: &'a Link,
        netfn: NetFn,
        command: u8,
    ) -> Result<(Self, oneshot::Receiver<Vec<u8>>), Error> {
        let mut pending = lock(&link.pending);
        for _ in 0..NUMBERS {
            let number = pending.next;
            pending.next = (number + 1) % NUMBERS;
            if let Entry::Vacant(free) = pending.waiting.entry(number) {
                let (answer, receiver) = oneshot::channel();
                free.insert(Waiting { netfn, command, answer });
                let next = pending.next;
                drop(pending);
                link.note_request(next);
                return Ok((Self { link, number }, receiver));
            }
        }
        Err(Error::Invalid { reason: "too many requests at once" })
    }

    pub(super) fn get(&self) -> u8 {
        self.number
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        lock(&self.link.pending).waiting.remove(&self.number);
    }
}
