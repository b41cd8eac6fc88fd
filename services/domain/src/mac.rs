//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A hardware address, shown in lower case with colons: six octets of Ethernet (IEEE 802),
/// `ec:e7:a7:05:a1:fc`, or twenty of IP over InfiniBand (RFC 4391 section 9.1.1).
///
/// # Errors
///
/// Parsing takes `:` or `-` between the pairs in either case, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(Octets);

/// Copied everywhere, hence no heap; an Ethernet address is compared and hashed as the six octets it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Octets {
    Ethernet([u8; 6]),
    Infiniband([u8; 20]),
}

/// Text that is no hardware address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address; write six pairs of hex digits, as ec:e7:a7:05:a1:fc")]
pub struct MacAddrError(String);

impl MacAddr {
    /// The Ethernet address of these six octets.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(Octets::Ethernet(octets))
    }

    /// The IP-over-InfiniBand address of these octets: queue pair, then GID.
    #[must_use]
    pub const fn infiniband(octets: [u8; 20]) -> Self {
        Self(Octets::Infiniband(octets))
    }

    /// The six or twenty octets, first on the wire first.
    #[must_use]
    pub const fn octets(&self) -> &[u8] {
        match &self.0 {
            Octets::Ethernet(it) => it,
            Octets::Infiniband(it) => it,
        }
    }

    /// The GUID of an InfiniBand port, the last eight of its twenty octets: what of its address stays, since the queue
    /// pair before it may be another one after each start (RFC 4391 section 9.1.1).
    #[must_use]
    pub fn guid(&self) -> Option<[u8; 8]> {
        match &self.0 {
            Octets::Ethernet(_) => None,
            Octets::Infiniband(it) => it.last_chunk().copied(),
        }
    }

    /// Lower-case digits without separators: the id of an Ethernet interface in the SMD API.
    #[must_use]
    pub fn bare(self) -> String {
        use fmt::Write as _;
        let mut text = String::with_capacity(self.octets().len() * 2);
        for octet in self.octets() {
            // Writing to a String cannot fail.
            let written = write!(text, "{octet:02x}");
            debug_assert!(written.is_ok());
        }
        text
    }

    /// Parses what the SMD API takes besides the separated forms: the digits in a row, and groups of four between
    /// dots as switches write them.
    ///
    /// # Errors
    ///
    /// Whatever is neither that nor a separated address.
    pub fn parse_bare(text: &str) -> Result<Self, MacAddrError> {
        let digits = |it: &str| it.bytes().all(|it| it.is_ascii_hexdigit());
        if matches!(text.len(), 12 | 40) && digits(text) {
            return of_digits(text).ok_or_else(|| fail(text));
        }
        if text.contains('.') && text.split('.').all(|it| it.len() == 4 && digits(it)) {
            return of_digits(&text.replace('.', "")).ok_or_else(|| fail(text));
        }
        text.parse()
    }
}

fn fail(text: &str) -> MacAddrError {
    MacAddrError(text.chars().take(64).collect())
}

/// The address of hex digits; from_str_radix alone would take a `+`.
fn of_digits(text: &str) -> Option<MacAddr> {
    let mut octets = [0; 20];
    let pairs = text.as_bytes().chunks(2);
    let count = pairs.len();
    for (octet, pair) in octets.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).ok().filter(|it| it.len() == 2)?;
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    match count {
        6 => octets.first_chunk().copied().map(MacAddr::new),
        20 => Some(MacAddr::infiniband(octets)),
        _ => None,
    }
}

impl FromStr for MacAddr {
    type Err = MacAddrError;
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let sound = |pair: &str| pair.len() == 2 && pair.bytes().all(|it| it.is_ascii_hexdigit());
        if !matches!(text.len(), 17 | 59) || !text.split([':', '-']).all(sound) {
            return Err(fail(text));
        }
        of_digits(&text.replace([':', '-'], "")).ok_or_else(|| fail(text))
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

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = MacAddr;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a MAC address, such as ec:e7:a7:05:a1:fc")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<MacAddr, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b':'; 59];
        let octets = self.octets();
        for (octet, pair) in octets.iter().zip(text.chunks_mut(3)) {
            pair[0] = DIGITS[usize::from(octet >> 4)];
            pair[1] = DIGITS[usize::from(octet & 15)];
        }
        f.pad(std::str::from_utf8(&text[..octets.len() * 3 - 1]).unwrap_or_default())
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacAddr({self})")
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
        assert!(MacAddr::parse_bare("ece7.a705").is_err() && MacAddr::parse_bare("ece7.a705.a1f").is_err());
    }

    #[test]
    fn an_infiniband_address_has_twenty_pairs() {
        let text = "80:00:02:08:fe:80:00:00:00:00:00:00:7c:fe:90:03:00:29:26:52";
        let mac = MacAddr::parse_bare(text).map_err(|it| it.to_string());
        assert_eq!(mac.as_ref().map(ToString::to_string).as_deref(), Ok(text));
        let bare = text.replace(':', "");
        assert_eq!(mac.clone().map(MacAddr::bare), Ok(bare.clone()));
        assert_eq!(MacAddr::parse_bare(&bare.to_ascii_uppercase()).ok(), mac.clone().ok());
        assert_eq!(MacAddr::parse_bare(&text.replace(':', "-")).ok(), mac.ok());
        let guid = [0x7c, 0xfe, 0x90, 0x03, 0x00, 0x29, 0x26, 0x52];
        assert_eq!(MacAddr::parse_bare(&bare).ok().and_then(|it| it.guid()), Some(guid));
        assert_eq!(MacAddr::new([2; 6]).guid(), None);
        assert!(MacAddr::parse_bare(&bare[2..]).is_err() && text[3..].parse::<MacAddr>().is_err());
        assert_eq!(
            MacAddr::parse_bare("ECE7.A705.A1FC"),
            Ok(MacAddr::new([0xec, 0xe7, 0xa7, 5, 0xa1, 0xfc]))
        );
    }
}
