//! Who is next: when which BMC has something to do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The times of all BMCs. An entry that was overtaken by an earlier one is skipped when its time comes.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    set: Vec<Option<Instant>>,
}

impl Wheel {
    pub(super) fn new(count: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(count), set: vec![None; count] }
    }

    /// Wakes a BMC no later than this.
    pub(super) fn set(&mut self, index: usize, due: Option<Instant>) {
        if let Some(due) = due
            && self.set[index].is_none_or(|it| due < it)
        {
            self.set[index] = Some(due);
            self.heap.push(Reverse((due, index)));
        }
    }

    /// When somebody is next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|it| it.0.0)
    }

    /// The next one whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<usize> {
        while self.next().is_some_and(|it| it <= now) {
            let Reverse((due, index)) = self.heap.pop()?;
            if self.set[index] == Some(due) {
                self.set[index] = None;
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Wheel;

    #[test]
    fn the_earliest_of_several_times_counts() {
        let (mut wheel, now) = (Wheel::new(2), Instant::now());
        let at = |it| now + Duration::from_secs(it);
        wheel.set(0, Some(at(5)));
        wheel.set(1, Some(at(4)));
        wheel.set(0, Some(at(3)));
        wheel.set(0, Some(at(9)));
        assert_eq!(wheel.next(), Some(at(3)));
        assert_eq!(wheel.pop(at(4)), Some(0));
        assert_eq!(wheel.pop(at(4)), Some(1));
        assert_eq!(wheel.pop(at(20)), None, "what was overtaken is gone");
    }
}
