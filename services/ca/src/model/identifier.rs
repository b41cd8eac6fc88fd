//! What a certificate is for: DNS names (RFC 8555) and addresses (RFC 8738).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::config::is_name;

/// A name or an address, in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Identifier {
    Dns(String),
    Ip(IpAddr),
}

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentifierError {
    #[error("identifiers of type {0:?} are not known; there are dns and ip")]
    Kind(String),
    #[error("{0:?} is no DNS name")]
    Name(String),
    #[error("{0:?} is no address in its one spelling (RFC 5952)")]
    Address(String),
    #[error("{0:?} is a wildcard, which takes dns-01, and that is not offered; name the machines")]
    Wildcard(String),
}

impl Identifier {
    pub(crate) fn parse(kind: &str, value: &str) -> Result<Self, IdentifierError> {
        match kind {
            "dns" => {
                let name = value.to_ascii_lowercase();
                if name.starts_with("*.") {
                    return Err(IdentifierError::Wildcard(value.to_owned()));
                }
                let is_address = name.parse::<IpAddr>().is_ok();
                let good = is_name(&name) && !is_address;
                good.then_some(Self::Dns(name)).ok_or_else(|| IdentifierError::Name(value.to_owned()))
            }
            "ip" => {
                let address = value.parse::<IpAddr>().ok().filter(|it| it.to_string() == value);
                address.map(Self::Ip).ok_or_else(|| IdentifierError::Address(value.to_owned()))
            }
            _ => Err(IdentifierError::Kind(kind.to_owned())),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Ip(_) => "ip",
        }
    }

    /// Without its type.
    pub(crate) fn value(&self) -> String {
        match self {
            Self::Dns(name) => name.clone(),
            Self::Ip(address) => address.to_string(),
        }
    }

    /// As ACME writes it.
    pub(crate) fn json(&self) -> Value {
        json!({"type": self.kind(), "value": self.value()})
    }

    /// The name that a TLS client asks for to meet it (RFC 8737 section 3, RFC 8738 section 6).
    pub(crate) fn server_name(&self) -> String {
        match self {
            Self::Dns(name) => name.clone(),
            Self::Ip(IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            Self::Ip(IpAddr::V6(address)) => {
                let digits = address.octets().into_iter().rev();
                let labels: Vec<String> = digits.map(|it| format!("{:x}.{:x}", it & 15, it >> 4)).collect();
                format!("{}.ip6.arpa", labels.join("."))
            }
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.value())
    }
}

impl FromStr for Identifier {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let (kind, value) = text.split_once(':').ok_or_else(|| IdentifierError::Kind(text.to_owned()))?;
        Self::parse(kind, value)
    }
}

impl TryFrom<String> for Identifier {
    type Error = IdentifierError;
    fn try_from(text: String) -> Result<Self, IdentifierError> {
        text.parse()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Identifier;

    #[test]
    fn an_identifier_is_read_as_it_is_written() {
        for text in ["dns:a.b", "dns:localhost", "ip:10.0.0.1", "ip:fd00::1"] {
            assert_eq!(text.parse::<Identifier>().unwrap().to_string(), text);
        }
        assert_eq!(Identifier::parse("dns", "A.Example").unwrap().value(), "a.example");
        for (kind, value) in [
            ("dns", "*.a.b"),
            ("dns", "10.0.0.1"),
            ("dns", ""),
            ("dns", "a..b"),
            ("dns", "a.b."),
            ("dns", "a_b.c"),
            ("dns", "ä.de"),
            ("ip", "010.0.0.1"),
            ("ip", "fd00:0::1"),
            ("ip", "FD00::1"),
            ("ip", "a.b"),
            ("email", "a@b"),
        ] {
            assert!(Identifier::parse(kind, value).is_err(), "{kind} {value}");
        }
    }

    #[test]
    fn an_address_is_asked_for_by_its_reverse_name() {
        let name = |text: &str| text.parse::<Identifier>().unwrap().server_name();
        assert_eq!(name("ip:10.1.2.3"), "3.2.1.10.in-addr.arpa");
        assert!(name("ip:fd00::1").starts_with("1.0.0.0.") && name("ip:fd00::1").ends_with(".d.f.ip6.arpa"));
    }
}
