//! What parameters belong to.

use std::fmt;

use domain::{MacAddr, Nid, Xname};

/// The longest host word.
const HOST_MAX: usize = 128;

/// A host word: an xname, a node's name, a group's label, `Default`, or `Unknown-<arch>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Host(Box<str>);

/// What parameters belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A NIC.
    Mac(MacAddr),
    /// A host word.
    Host(Host),
    /// A node's number.
    Nid(Nid),
}

impl Host {
    /// The word; xnames in lower case. None for what is no word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(xname) = text.parse::<Xname>() {
            return Some(Self(xname.as_str().into()));
        }
        let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_' | b':');
        ((1..=HOST_MAX).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.into()))
    }

    /// The word.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an xname.
    pub(crate) fn is_xname(&self) -> bool {
        self.0.parse::<Xname>().is_ok()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Target {
    /// A target as it is stored.
    pub(crate) fn parse(kind: &str, key: &str) -> Option<Self> {
        match kind {
            "mac" => key.parse().ok().map(Self::Mac),
            "host" => Host::parse(key).map(Self::Host),
            "nid" => key.parse().ok().map(Self::Nid),
            _ => None,
        }
    }

    /// `mac`, `host` or `nid`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Mac(_) => "mac",
            Self::Host(_) => "host",
            Self::Nid(_) => "nid",
        }
    }

    /// The part that tells targets of one kind apart.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Mac(it) => it.to_string(),
            Self::Host(it) => it.to_string(),
            Self::Nid(it) => it.to_string(),
        }
    }

    /// Whether it names one machine rather than a set of them.
    pub(crate) fn is_machine(&self) -> bool {
        !matches!(self, Self::Host(host) if !host.is_xname())
    }
}

/// As in the change feed, `mac:ec:e7:a7:05:a1:fc`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.key())
    }
}
