//! What becomes of orders, and when a certificate is to be renewed.

use time::{Duration, OffsetDateTime};

use crate::model::Validity;

/// Where an authorization stands (RFC 8555 section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorizationStatus {
    Pending,
    /// Pending towards the client: a challenge is being looked for.
    Processing,
    Valid,
    Invalid,
    Deactivated,
}

/// Where an order stands; certificates are issued at once, so that none is `processing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderStatus {
    Pending,
    Ready,
    Valid,
    Invalid,
}

impl AuthorizationStatus {
    /// As it is kept.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Deactivated => "deactivated",
        }
    }

    /// As clients are told; what ran out is over, however far it came.
    pub(crate) fn shown(self, expires: OffsetDateTime, now: OffsetDateTime) -> &'static str {
        match self {
            Self::Pending | Self::Processing if now >= expires => "expired",
            Self::Processing => "pending",
            _ => self.word(),
        }
    }
}

impl TryFrom<String> for AuthorizationStatus {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let all = [Self::Pending, Self::Processing, Self::Valid, Self::Invalid, Self::Deactivated];
        all.into_iter().find(|it| it.word() == text).ok_or(text)
    }
}

impl OrderStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

/// An order's status, from whether it has its certificate, when it runs out, and its authorizations.
pub(crate) fn order_status(
    has_certificate: bool,
    expires: OffsetDateTime,
    authorizations: impl IntoIterator<Item = AuthorizationStatus>,
    now: OffsetDateTime,
) -> OrderStatus {
    if has_certificate {
        return OrderStatus::Valid;
    }
    if now >= expires {
        return OrderStatus::Invalid;
    }
    let mut status = OrderStatus::Ready;
    for authorization in authorizations {
        match authorization {
            AuthorizationStatus::Invalid | AuthorizationStatus::Deactivated => return OrderStatus::Invalid,
            AuthorizationStatus::Pending | AuthorizationStatus::Processing => status = OrderStatus::Pending,
            AuthorizationStatus::Valid => {}
        }
    }
    status
}

/// When a certificate is best renewed (RFC 9773 section 4.2): before two thirds of its life are over; at once if it
/// was revoked.
pub(crate) fn renewal_window(
    validity: Validity,
    revoked: bool,
    now: OffsetDateTime,
) -> (OffsetDateTime, OffsetDateTime) {
    let life = validity.not_after - validity.not_before;
    if revoked {
        return (now - Duration::hours(1), now - Duration::minutes(1));
    }
    (validity.not_before + life * 3 / 5, validity.not_before + life * 2 / 3)
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::AuthorizationStatus::{Deactivated, Invalid, Pending, Processing, Valid};
    use super::{OrderStatus, order_status, renewal_window};
    use crate::model::Validity;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn an_order_is_as_its_authorizations_are() {
        let later = NOW + Duration::days(1);
        for (authorizations, status) in [
            (&[Valid, Pending][..], OrderStatus::Pending),
            (&[Valid, Processing], OrderStatus::Pending),
            (&[Valid, Valid], OrderStatus::Ready),
            (&[Pending, Invalid], OrderStatus::Invalid),
            (&[Valid, Deactivated], OrderStatus::Invalid),
        ] {
            let of = |has, now| order_status(has, later, authorizations.iter().copied(), now);
            assert_eq!(of(false, NOW), status, "{authorizations:?}");
            assert_eq!(of(false, later), OrderStatus::Invalid);
            assert_eq!(of(true, later), OrderStatus::Valid);
        }
    }

    #[test]
    fn renewal_is_suggested_before_two_thirds_or_at_once() {
        let validity = Validity { not_before: NOW, not_after: NOW + Duration::minutes(90) };
        assert_eq!(
            renewal_window(validity, false, NOW),
            (NOW + Duration::minutes(54), NOW + Duration::minutes(60))
        );
        assert!(renewal_window(validity, true, NOW).1 < NOW);
    }
}
