//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit Ethernet address (IEEE 802), shown as lower-case `ec:e7:a7:05:a1:fc`.
///
/// # Errors
///
/// Parsing takes `:` or `-` between six pairs in either case, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

/// Text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address; write six pairs of hex digits, as ec:e7:a7:05:a1:fc")]
pub struct MacAddrError(String);

impl MacAddr {
    /// The address of these six octets.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six octets, first on the wire first.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Twelve lower-case digits without separators: the id of an Ethernet interface in the SMD API.
    #[must_use]
    pub fn bare(self) -> String {
        self.0.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// Parses what the SMD API takes besides the separated forms: twelve digits in a row.
    ///
    /// # Errors
    ///
    /// Whatever is neither that nor a separated address.
    pub fn parse_bare(text: &str) -> Result<Self, MacAddrError> {
        if text.len() == 12 && text.bytes().all(|it| it.is_ascii_hexdigit()) {
            let pairs: Vec<&str> = (0..6).map(|at| &text[2 * at..2 * at + 2]).collect();
            return pairs.join(":").parse();
        }
        text.parse()
    }
}

impl FromStr for MacAddr {
    type Err = MacAddrError;
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let fail = || MacAddrError(text.chars().take(64).collect());
        let mut octets = [0; 6];
        let mut pairs = text.split([':', '-']);
        for octet in &mut octets {
            let pair = pairs.next().filter(|it| it.len() == 2).ok_or_else(fail)?;
            let hex = pair.bytes().all(|it| it.is_ascii_hexdigit()); // from_str_radix takes a `+`.
            *octet = u8::from_str_radix(pair, 16).ok().filter(|_| hex).ok_or_else(fail)?;
        }
        if pairs.next().is_some() { Err(fail()) } else { Ok(Self(octets)) }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = MacAddrError;
    fn try_from(text: String) -> Result<Self, MacAddrError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::MacAddr;

    #[test]
    fn an_address_is_shown_in_lower_case_however_it_was_spelled() {
        for text in ["ec:e7:a7:05:a1:fc", "EC-E7-A7-05-A1-FC"] {
            assert_eq!(text.parse::<MacAddr>().map(|it| it.to_string()).as_deref(), Ok("ec:e7:a7:05:a1:fc"));
        }
        assert_eq!(MacAddr::parse_bare("ECE7A705A1FC").map(MacAddr::bare).as_deref(), Ok("ece7a705a1fc"));
    }

    #[test]
    fn what_is_not_six_pairs_is_refused() {
        for text in
            ["", "ec:e7:a7:05:a1", "ec:e7:a7:05:a1:fc:00", "+c:e7:a7:05:a1:fc", "ec:e7:a7:05:a1:f", "ec e7"]
        {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
        assert!(MacAddr::parse_bare("ece7a705a1é").is_err());
    }
}
