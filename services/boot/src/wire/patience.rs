//! How iPXE waits and tries again. It knows no random numbers and cannot multiply, so that each script brings the
//! numbers of its own: machines that failed at one moment come back at many.

/// What a machine waits after its first failure, in the mean; it doubles with each that follows.
const FIRST_S: u32 = 10;
/// The longest mean: who repairs a head sees all of its nodes back within three minutes.
const MEAN_MAX_S: u32 = 120;
/// Between two tries to reach a head that does not answer: twice soon, then for ever.
const STEPS_S: [u32; 3] = [5, 15, 60];
/// Between two looks of a machine that has nothing to boot.
const LOOK_S: u32 = 10;

/// The random number of one script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience(pub(crate) u64);

impl Patience {
    /// A span from half of the mean to half as much again; `place` makes several of one script differ.
    fn spread(self, mean: u32, place: u32) -> u32 {
        // The constants of a linear congruential generator (Knuth, MMIX); the upper bits are the good ones.
        let turned = (0..=place).fold(self.0, |it, _| {
            it.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
        });
        let part = u32::try_from((turned >> 33) % u64::from(mean + 1)).unwrap_or_default();
        mean.div_ceil(2) + part
    }

    /// How long a machine that has nothing to boot waits before it asks again, seconds.
    pub(crate) fn wait_s(self) -> u32 {
        // Closer around its mean than the others: who adds a node wants to see it come.
        LOOK_S / 2 + self.spread(LOOK_S / 2, 0)
    }

    /// How long after this many failures before.
    pub(crate) fn retry_s(self, retry: u32) -> u32 {
        let mean = FIRST_S.saturating_mul(1 << retry.min(8)).min(MEAN_MAX_S);
        self.spread(mean, 0)
    }

    /// The end of a script that boots: it waits and asks at `url` again, until the head answers. A key pressed at the
    /// console ends a wait, and nothing else.
    pub(crate) fn push(self, script: &mut String, retry: u32, url: &str) {
        let [soon, later, ever] = [1, 2, 3].map(|it| self.spread(STEPS_S[it as usize - 1], it));
        let wait = self.retry_s(retry);
        script.push_str(&format!(
            ":boot_retry\n\
             imgfree ||\n\
             echo Failed: ${{step}}. Trying again in {wait} seconds ...\n\
             sleep {wait} ||\n\
             set again {url}\n\
             chain --replace ${{again}} ||\n\
             sleep {soon} ||\n\
             chain --replace ${{again}} ||\n\
             sleep {later} ||\n\
             :again\n\
             chain --replace ${{again}} ||\n\
             sleep {ever} ||\n\
             goto again\n"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::{MEAN_MAX_S, Patience};

    /// As a process makes them: one hash after the other.
    fn numbers() -> impl Iterator<Item = Patience> {
        (0..5000_u64).map(|it| Patience(it.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    #[test]
    fn five_thousand_machines_do_not_come_back_at_once() {
        for retry in [0, 1, 3, 20, u32::MAX] {
            let mut seconds = std::collections::BTreeMap::<u32, usize>::new();
            numbers().for_each(|it| *seconds.entry(it.retry_s(retry)).or_default() += 1);
            let (most, spans) = (seconds.values().max().copied().unwrap_or_default(), seconds.len());
            assert!(spans > 10 && most < 2 * 5000 / spans, "{retry}: {seconds:?}");
            assert!(seconds.keys().all(|it| (5..=MEAN_MAX_S * 3 / 2 + 1).contains(it)), "{seconds:?}");
        }
    }

    #[test]
    fn waits_grow_and_a_look_is_always_near() {
        let mean = |retry| numbers().map(|it| u64::from(it.retry_s(retry))).sum::<u64>() / 5000;
        assert!(mean(0) < mean(1) && mean(1) < mean(2) && mean(2) < mean(3) && mean(8) == mean(9));
        assert!(numbers().all(|it| (7..=13).contains(&it.wait_s())));
        let waits: std::collections::BTreeSet<_> = numbers().map(Patience::wait_s).collect();
        assert!(waits.len() > 4, "{waits:?}");
    }
}
