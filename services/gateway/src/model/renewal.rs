//! When a certificate is replaced.

use time::{Duration, OffsetDateTime};

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Its first moment.
    pub(crate) not_before: OffsetDateTime,
    /// Its last moment.
    pub(crate) not_after: OffsetDateTime,
}

/// What is to be done about a certificate at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Nothing until then.
    Wait(Duration),
    /// A new one is to be had.
    Due,
    /// As `Due`, and only a third of the life is left, so that somebody has to know.
    Late,
}

impl Validity {
    fn life(self) -> Duration {
        self.not_after - self.not_before
    }

    /// Two thirds of the life are over.
    pub(crate) fn late_at(self) -> OffsetDateTime {
        self.not_before + self.life() * 2 / 3
    }

    /// When a new one is asked for: before two thirds are over, earlier by up to a fifteenth of the life, so
    /// that heads which began together do not ask together. `jitter` is 0 to 65535.
    pub(crate) fn renew_at(self, jitter: u16) -> OffsetDateTime {
        self.late_at() - self.life() / 15 * f64::from(jitter) / 65536.0
    }

    /// Whether it holds now.
    pub(crate) fn holds(self, now: OffsetDateTime) -> bool {
        (self.not_before..self.not_after).contains(&now)
    }

    /// What is to be done now. A clock that went back before the certificate's beginning makes it due too.
    pub(crate) fn renewal(self, now: OffsetDateTime, jitter: u16) -> Renewal {
        let renew_at = self.renew_at(jitter);
        if now < self.not_before || now >= self.late_at() {
            Renewal::Late
        } else if now >= renew_at {
            Renewal::Due
        } else {
            Renewal::Wait(renew_at - now)
        }
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::{Renewal, Validity};

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        let validity = Validity { not_before: START, not_after: START + Duration::minutes(90) };
        let at = |minutes| validity.renewal(START + Duration::minutes(minutes), 0);
        assert_eq!(at(0), Renewal::Wait(Duration::minutes(60)));
        assert_eq!(at(59), Renewal::Wait(Duration::minutes(1)));
        assert_eq!(at(60), Renewal::Late);
        assert_eq!(at(-1), Renewal::Late);
        assert!(!validity.holds(START + Duration::minutes(90)) && validity.holds(START));
    }

    #[test]
    fn jitter_asks_earlier_by_a_fifteenth_at_most() {
        let validity = Validity { not_before: START, not_after: START + Duration::minutes(90) };
        assert!(
            (Duration::minutes(54)..Duration::seconds(54 * 60 + 1))
                .contains(&(validity.renew_at(65535) - START))
        );
        assert_eq!(validity.renewal(START + Duration::minutes(58), 65535), Renewal::Due);
    }

    /// A clock that jumps makes a certificate due at once where it does not hold, and leaves one alone that does.
    #[test]
    fn a_clock_that_jumps_has_new_certificates_had_and_comes_back() {
        let day = Duration::days(1);
        // As ca makes them: an hour before now, for a day.
        let made_at = |now| Validity { not_before: now - Duration::hours(1), not_after: now + day };
        let now = START + Duration::days(10_000);
        let first = made_at(now);
        assert!(matches!(first.renewal(now, 0), Renewal::Wait(_)));
        // A day back: before its beginning, so another is had, which holds then.
        let back = now - day;
        assert_eq!((first.renewal(back, 0), first.holds(back)), (Renewal::Late, false));
        let second = made_at(back);
        assert!(second.holds(back) && matches!(second.renewal(back, 0), Renewal::Wait(_)));
        // Ten years ahead: long over.
        let ahead = back + Duration::days(3652);
        assert_eq!((second.renewal(ahead, 0), second.holds(ahead)), (Renewal::Late, false));
        let third = made_at(ahead);
        assert!(third.holds(ahead));
        // And home again: that one is of the future, and is replaced as well.
        assert_eq!((third.renewal(now, 65535), third.holds(now)), (Renewal::Late, false));
        assert!(made_at(now).holds(now));
        // What is waited for never goes beyond the certificate's life, whatever the clock says.
        for hours in -48..48 {
            if let Renewal::Wait(left) = first.renewal(now + Duration::hours(hours), 0) {
                assert!(left > Duration::ZERO && left <= first.not_after - first.not_before);
            }
        }
    }
}
