//! One line a step, with the seconds since the beginning.

use std::time::{Duration, Instant};

/// What has been reached so far; each is printed when it is.
#[derive(Debug)]
pub struct Steps {
    begun: Instant,
    reached: Vec<(String, String, Duration)>,
}

impl Steps {
    /// Begins to count.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: Instant::now(), reached: Vec::new() }
    }

    /// Something reached a step now.
    pub fn reach(&mut self, who: &str, step: &str) {
        self.reach_at(who, step, Instant::now());
    }

    /// Something reached a step at a time that lies a little back.
    pub fn reach_at(&mut self, who: &str, step: &str, at: Instant) {
        let elapsed = at.saturating_duration_since(self.begun);
        eprintln!("{:7.1} s  {who:<8} {step}", elapsed.as_secs_f64());
        self.reached.push((who.to_owned(), step.to_owned(), elapsed));
    }

    /// The time of a step, from the beginning.
    #[must_use]
    pub fn at(&self, who: &str, step: &str) -> Option<Duration> {
        self.reached.iter().find(|it| it.0 == who && it.1 == step).map(|it| it.2)
    }

    /// All steps as a table: from the beginning, and from what the same one reached before.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!("{:<8}  {:<28} {:>8} {:>8}\n", "WHO", "STEP", "AT/s", "TOOK/s");
        for (index, (who, step, at)) in self.reached.iter().enumerate() {
            let before =
                self.reached[..index].iter().rev().find(|it| it.0 == *who).map_or(Duration::ZERO, |it| it.2);
            let (at, took) = (at.as_secs_f64(), at.saturating_sub(before).as_secs_f64());
            table.push_str(&format!("{who:<8}  {step:<28} {at:>8.1} {took:>8.1}\n"));
        }
        table
    }
}
