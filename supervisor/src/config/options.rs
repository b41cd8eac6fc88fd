//! The options of Apply and Rollback.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{OwnedVariant, fdo};

use crate::apply::Options;

/// The longest reason.
const REASON_MAX: usize = 500;
/// The longest time to confirm: whoever needs more is not watching.
const CONFIRM_MAX_S: u64 = 3600;

/// Reads them.
///
/// # Errors
///
/// `InvalidArgs` for one that is unknown, of the wrong type, or out of its range.
pub(super) fn parse(options: &HashMap<String, OwnedVariant>) -> fdo::Result<Options> {
    let mut parsed = Options::default();
    for (name, value) in options {
        match name.as_str() {
            "base" => parsed.base = Some(number(name, value)?),
            "at" => parsed.at_s = Some(number(name, value)?),
            "confirm-within" => {
                let seconds = number(name, value)?;
                if !(1..=CONFIRM_MAX_S).contains(&seconds) {
                    return Err(wrong(name, "1 to 3600 seconds"));
                }
                parsed.confirm_within = Some(Duration::from_secs(seconds));
            }
            "override-freeze" => {
                parsed.override_freeze = bool::try_from(value).map_err(|_| wrong(name, "a boolean"))?;
            }
            "reason" => {
                let text = <&str>::try_from(value).map_err(|_| wrong(name, "a string"))?;
                if text.len() > REASON_MAX || text.contains(char::is_control) {
                    return Err(wrong(name, "one line of at most 500 bytes"));
                }
                text.clone_into(&mut parsed.reason);
            }
            _ => return Err(fdo::Error::InvalidArgs(format!("there is no option {name:?}"))),
        }
    }
    if parsed.override_freeze && parsed.reason.is_empty() {
        return Err(fdo::Error::InvalidArgs("override-freeze needs a reason".to_owned()));
    }
    Ok(parsed)
}

fn number(name: &str, value: &OwnedVariant) -> fdo::Result<u64> {
    let number = u64::try_from(value).or_else(|_| u32::try_from(value).map(u64::from));
    number.map_err(|_| wrong(name, "a number (t)"))
}

fn wrong(name: &str, wanted: &str) -> fdo::Error {
    fdo::Error::InvalidArgs(format!("the option {name} is {wanted}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use zbus::OwnedVariant;

    fn parse(name: &str, value: impl Into<OwnedVariant>) -> zbus::fdo::Result<super::Options> {
        super::parse(&HashMap::from([(name.to_owned(), value.into())]))
    }

    #[test]
    fn an_option_is_known_typed_and_in_its_range() {
        assert_eq!(parse("base", 4_u64).unwrap().base, Some(4));
        assert_eq!(parse("confirm-within", 120_u32).unwrap().confirm_within, Some(Duration::from_secs(120)));
        assert_eq!(parse("reason", zbus::Str::from("because")).unwrap().reason, "because");
        assert!(parse("confirm-within", 0_u64).is_err() && parse("confirm-within", 3601_u64).is_err());
        assert!(parse("base", zbus::Str::from("4")).is_err() && parse("faster", true).is_err());
        assert!(parse("reason", zbus::Str::from("a\nb")).is_err());
        assert!(parse("override-freeze", true).is_err(), "why?");
    }
}
