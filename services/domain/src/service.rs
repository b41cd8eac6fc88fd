//! The services of the head and what is fixed for each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A service: one crate, one unit, one user, one database, one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// What there is.
    Inventory,
    /// What a node boots.
    Boot,
    /// What a node becomes.
    CloudInit,
    /// Kernels, initrds, root file systems.
    Images,
    /// Addresses and boot files.
    Dhcp,
    /// Tokens.
    Auth,
    /// Certificates.
    Ca,
    /// The front door.
    Gateway,
    /// Power.
    Power,
    /// Consoles.
    Console,
    /// Node identity.
    Join,
    /// What each node did.
    Timeline,
    /// What BMCs tell of themselves and their nodes.
    Discovery,
}

/// The first uid: below it Debian keeps what it gives out at installation.
const UID_BASE: u32 = 800;

impl Service {
    /// Every service, in the order of their uids.
    pub const ALL: [Self; 13] = [
        Self::Inventory,
        Self::Boot,
        Self::CloudInit,
        Self::Images,
        Self::Dhcp,
        Self::Auth,
        Self::Ca,
        Self::Gateway,
        Self::Power,
        Self::Console,
        Self::Join,
        Self::Timeline,
        Self::Discovery,
    ];

    /// The word of its crate, socket and unit, `cloud-init`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Boot => "boot",
            Self::CloudInit => "cloud-init",
            Self::Images => "images",
            Self::Dhcp => "dhcp",
            Self::Auth => "auth",
            Self::Ca => "ca",
            Self::Gateway => "gateway",
            Self::Power => "power",
            Self::Console => "console",
            Self::Join => "join",
            Self::Timeline => "timeline",
            Self::Discovery => "discovery",
        }
    }

    /// Its table in the document, its database and its role: `cloud_init`.
    #[must_use]
    pub fn key(self) -> &'static str {
        if self == Self::CloudInit { "cloud_init" } else { self.name() }
    }

    /// Its uid and gid, the same in every version of the image: 801 and on; 800 is the supervisor's.
    #[must_use]
    pub fn uid(self) -> u32 {
        let index = Self::ALL.iter().position(|it| *it == self).unwrap_or(0);
        UID_BASE + 1 + u32::try_from(index).unwrap_or(0)
    }

    /// The service that runs as this uid.
    #[must_use]
    pub fn of_uid(uid: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.uid() == uid)
    }

    /// Its unit, `pilothouse-boot.service`.
    #[must_use]
    pub fn unit(self) -> String {
        format!("pilothouse-{self}.service")
    }

    /// Whether it keeps data in PostgreSQL.
    #[must_use]
    pub fn has_database(self) -> bool {
        use Service::{Auth, Boot, Ca, CloudInit, Dhcp, Images, Inventory, Join, Timeline};
        matches!(self, Inventory | Boot | CloudInit | Images | Dhcp | Auth | Ca | Join | Timeline)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|it| it.name() == text || it.key() == text).ok_or_else(|| {
            format!("{text:?} is no service; there are {}", Self::ALL.map(Service::name).join(", "))
        })
    }
}
