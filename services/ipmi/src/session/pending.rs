//! The requests under way, by their number.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ipmi_rs_core::connection::NetFn;
use tokio::sync::oneshot;

use super::link::{Link, lock};
use crate::Error;
use crate::wire::Frame;

/// Request numbers have six bits.
pub(super) const NUMBERS: u8 = 64;

pub(super) struct Pending {
    next: u8,
    waiting: HashMap<u8, Waiting>,
}

struct Waiting {
    netfn: NetFn,
    command: u8,
    answer: oneshot::Sender<Vec<u8>>,
}

impl Pending {
    pub(super) fn new(next: u8) -> Self {
        Self { next: next % NUMBERS, waiting: HashMap::new() }
    }

    /// Hands the answer to who waits for it.
    pub(super) fn answer(&mut self, frame: &Frame) {
        let number = frame.sequence;
        let answers = |it: &Waiting| frame.answers(number, it.netfn, it.command);
        if self.waiting.get(&number).is_some_and(answers)
            && let Some(waiting) = self.waiting.remove(&number)
        {
            // Who asked may have stopped waiting in this moment.
            drop(waiting.answer.send(frame.message.data().to_vec()));
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
