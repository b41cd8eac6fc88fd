//! A time limit that costs nothing as long as it is met.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// A timer that is moved to later only when it goes off, since moving one at each request costs as much as some
/// of the request's system calls.
#[derive(Debug)]
pub(crate) struct Watch {
    sleep: Pin<Box<Sleep>>,
    due: Instant,
}

impl Watch {
    pub(crate) fn new(due: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(due)), due }
    }

    /// Goes off then.
    pub(crate) fn set(&mut self, due: Instant) {
        self.due = due;
        if due < self.sleep.deadline() {
            self.sleep.as_mut().reset(due);
        }
    }

    /// Ready when it is due.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Watch;

    #[tokio::test]
    async fn it_goes_off_when_it_was_last_told_to() {
        let begun = Instant::now();
        let after = |it| begun + Duration::from_millis(it);
        let mut watch = Watch::new(after(60_000));
        for due in [30, 60] {
            watch.set(after(due - 20));
            watch.set(after(due));
            std::future::poll_fn(|cx| watch.poll(cx)).await;
            assert!(begun.elapsed().as_millis() >= u128::from(due));
        }
    }
}
