//! The stages of a node's boot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A step of a boot, as the journal and the timeline name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootStage {
    /// The BMC took the power command.
    PowerOn,
    /// A DISCOVER was seen.
    DhcpDiscover,
    /// An OFFER was sent.
    DhcpOffer,
    /// An ACK was sent.
    DhcpAck,
    /// The first block of a file was sent by TFTP.
    TftpStart,
    /// The last block was acknowledged.
    TftpEnd,
    /// The boot script was served.
    Script,
    /// The kernel was served whole.
    Kernel,
    /// The initrd was served whole.
    Initrd,
    /// The root file system was served whole.
    Root,
    /// meta-data was served.
    Metadata,
    /// user-data was served.
    Userdata,
    /// The node took its token.
    Join,
    /// The node reported the end of cloud-init.
    PhoneHome,
    /// A log-in prompt was seen on the console.
    Login,
    /// A kernel panic was seen on the console.
    Panic,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageResult {
    /// It was done.
    Ok,
    /// It was refused or broke off.
    Failed,
    /// Nothing came in time.
    Timeout,
    /// A transfer that takes a while began; its end is told too.
    Begun,
}

impl StageResult {
    /// The word of the journal and the timeline, `failed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Begun => "begun",
        }
    }
}

impl BootStage {
    /// Every stage, in the order of a boot.
    pub const ALL: [Self; 16] = [
        Self::PowerOn,
        Self::DhcpDiscover,
        Self::DhcpOffer,
        Self::DhcpAck,
        Self::TftpStart,
        Self::TftpEnd,
        Self::Script,
        Self::Kernel,
        Self::Initrd,
        Self::Root,
        Self::Metadata,
        Self::Userdata,
        Self::Join,
        Self::PhoneHome,
        Self::Login,
        Self::Panic,
    ];

    /// The word of the journal and the timeline, `dhcp-ack`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerOn => "power-on",
            Self::DhcpDiscover => "dhcp-discover",
            Self::DhcpOffer => "dhcp-offer",
            Self::DhcpAck => "dhcp-ack",
            Self::TftpStart => "tftp-start",
            Self::TftpEnd => "tftp-end",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Root => "root",
            Self::Metadata => "metadata",
            Self::Userdata => "userdata",
            Self::Join => "join",
            Self::PhoneHome => "phone-home",
            Self::Login => "login",
            Self::Panic => "panic",
        }
    }
}

impl FromStr for BootStage {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or_else(|| {
            format!("{text:?} is no stage; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

impl fmt::Display for BootStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
