//! Values with a unit as the document writes them: durations `"30s"`, sizes `"16MiB"` (INTERFACES 3).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A duration, a whole number of one unit: `500ms`, `30s`, `5m`, `12h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// A number of bytes: `512B`, `64KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The number, times its unit; none if there is no number, no such unit, or it is too large.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|it| it.0 == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The number in the largest unit that divides it.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|it| value > 0 && value.is_multiple_of(it.1));
    let (unit, factor) = whole.or(units.last()).copied().unwrap_or(("", 1));
    format!("{}{unit}", value / factor)
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let millis = parse(text, &SPANS)
            .ok_or_else(|| format!("{text:?} is no duration; write 30s, 5m, 12h or 7d"))?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &SIZES)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size; write 64KiB, 16MiB or 1GiB"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPANS))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0, &SIZES))
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}
as_text!(Span);
as_text!(Size);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Size, Span};

    #[test]
    fn a_unit_is_read_as_it_is_written() {
        for text in ["500ms", "30s", "5m", "12h", "7d", "90s", "0ms"] {
            assert_eq!(text.parse::<Span>().map(|it| it.to_string()), Ok(text.to_owned()));
        }
        for text in ["512B", "64KiB", "16MiB", "1GiB", "1025B"] {
            assert_eq!(text.parse::<Size>().map(|it| it.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("90s".parse(), Ok(Span(Duration::from_secs(90))));
        for text in ["", "s", "30", "-1s", "1.5h", "30 s", "99999999999999999999d", "18446744073709551615d"] {
            assert!(text.parse::<Span>().is_err() && text.parse::<Size>().is_err(), "{text}");
        }
    }
}
