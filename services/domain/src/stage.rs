//! The stages of a node's boot.

use std::fmt;

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
}

impl BootStage {
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

impl fmt::Display for BootStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
