//! The authorities as they are kept, in the database and in the state folder: certificates, and keys sealed.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::Validity;

/// A root or an intermediate of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedAuthority {
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) id: String,
    /// The root's id; a root's own.
    pub(crate) root: String,
    /// What it may issue for; empty for a root.
    pub(crate) constraints: Vec<String>,
    /// DER.
    pub(crate) certificate: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) not_after: OffsetDateTime,
}

/// A root's key and name, certified by an older root of ours for who knows that one alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cross {
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) id: String,
    /// The certified root.
    pub(crate) subject: String,
    /// The root that signed.
    pub(crate) issuer: String,
    /// DER.
    pub(crate) certificate: Vec<u8>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) not_after: OffsetDateTime,
}

/// An intermediate under a site's own root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Site {
    /// SHA-256 of the request, in hexadecimal.
    pub(crate) id: String,
    /// PKCS #10, DER.
    pub(crate) request: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) made: OffsetDateTime,
    /// From the intermediate to the site's root, DER; empty while the request is not answered.
    pub(crate) chain: Vec<Vec<u8>>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) usable_from: Option<OffsetDateTime>,
}

/// Every authority there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) authorities: Vec<SealedAuthority>,
    pub(crate) crosses: Vec<Cross>,
    pub(crate) sites: Vec<Site>,
}

/// What stands in the second file of the state folder.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct More {
    pub(crate) crosses: Vec<Cross>,
    pub(crate) sites: Vec<Site>,
}

impl SealedAuthority {
    pub(crate) fn is_root(&self) -> bool {
        self.id == self.root
    }

    pub(crate) fn validity(&self) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after }
    }
}

impl Cross {
    pub(crate) fn validity(&self) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after }
    }
}

impl Kept {
    pub(crate) fn roots(&self) -> impl Iterator<Item = &SealedAuthority> {
        self.authorities.iter().filter(|it| it.is_root())
    }
}
