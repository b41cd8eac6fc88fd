//! Where a boot has got to. Stages alone do not say it: firmware, iPXE and the operating system each ask DHCP anew.

use domain::BootStage;
use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::wire::Event;

/// Places in the order of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The power command was taken.
    Power,
    /// The firmware asked for an address,
    Discover,
    /// was offered one,
    Offer,
    /// and has it.
    Ack,
    /// The loader's transfer began.
    LoaderStart,
    /// The loader was transferred.
    Loader,
    /// iPXE asked for an address,
    LoaderDiscover,
    /// was offered one,
    LoaderOffer,
    /// and has it.
    LoaderAck,
    /// The script was served.
    Script,
    /// The kernel was served.
    Kernel,
    /// The initrd was served.
    Initrd,
    /// The operating system asked DHCP.
    System,
    /// The root file system was served.
    Root,
    /// meta-data was served.
    Metadata,
    /// user-data was served: the boot is good.
    Userdata,
    /// The token was given.
    Join,
    /// cloud-init's end was reported.
    PhoneHome,
    /// The log-in prompt was seen.
    Login,
    /// The kernel panicked.
    Panic,
}

/// Who speaks DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Client {
    Firmware,
    Ipxe,
    Os,
}

impl Client {
    /// As dhcp tells it; what is not told follows from how far the boot is.
    pub(crate) fn of(event: &Event, at: Option<Place>) -> Self {
        match (event.fact("client"), at) {
            (Some("firmware"), _) => Self::Firmware,
            (Some("ipxe"), _) => Self::Ipxe,
            (Some("os"), _) | (_, Some(Place::System)) => Self::Os,
            (_, Some(at)) if at >= Place::Kernel && at < Place::Userdata => Self::Os,
            (_, Some(at)) if (Place::LoaderStart..Place::Kernel).contains(&at) => Self::Ipxe,
            _ => Self::Firmware,
        }
    }
}

impl Place {
    /// Where a step of this stage is; `at` is where the boot was before.
    pub(crate) fn of(event: &Event, at: Option<Self>) -> Self {
        use BootStage as Is;
        let client = || Client::of(event, at);
        match event.stage {
            Is::PowerOn => Self::Power,
            Is::DhcpDiscover | Is::DhcpOffer | Is::DhcpAck => match (event.stage, client()) {
                (_, Client::Os) => Self::System,
                (Is::DhcpDiscover, Client::Firmware) => Self::Discover,
                (Is::DhcpOffer, Client::Firmware) => Self::Offer,
                (_, Client::Firmware) => Self::Ack,
                (Is::DhcpDiscover, Client::Ipxe) => Self::LoaderDiscover,
                (Is::DhcpOffer, Client::Ipxe) => Self::LoaderOffer,
                (_, Client::Ipxe) => Self::LoaderAck,
            },
            Is::TftpStart => Self::LoaderStart,
            Is::TftpEnd => Self::Loader,
            Is::Script => Self::Script,
            Is::Kernel => Self::Kernel,
            Is::Initrd => Self::Initrd,
            Is::Root => Self::Root,
            Is::Metadata => Self::Metadata,
            Is::Userdata => Self::Userdata,
            Is::Join => Self::Join,
            Is::PhoneHome => Self::PhoneHome,
            Is::Login => Self::Login,
            Is::Panic => Self::Panic,
        }
    }

    /// The stage that a boot reaches by being here.
    pub(crate) fn stage(self) -> BootStage {
        match self {
            Self::Power => BootStage::PowerOn,
            Self::Discover | Self::LoaderDiscover => BootStage::DhcpDiscover,
            Self::Offer | Self::LoaderOffer => BootStage::DhcpOffer,
            Self::Ack | Self::LoaderAck | Self::System => BootStage::DhcpAck,
            Self::LoaderStart => BootStage::TftpStart,
            Self::Loader => BootStage::TftpEnd,
            Self::Script => BootStage::Script,
            Self::Kernel => BootStage::Kernel,
            Self::Initrd => BootStage::Initrd,
            Self::Root => BootStage::Root,
            Self::Metadata => BootStage::Metadata,
            Self::Userdata => BootStage::Userdata,
            Self::Join => BootStage::Join,
            Self::PhoneHome => BootStage::PhoneHome,
            Self::Login => BootStage::Login,
            Self::Panic => BootStage::Panic,
        }
    }

    /// How long a boot may wait to get here, without what was learnt.
    pub(crate) fn limit(self, limits: &Limits) -> std::time::Duration {
        match self {
            Self::Power | Self::Discover => limits.firmware.0,
            Self::Offer | Self::Ack | Self::LoaderOffer | Self::LoaderAck => limits.dhcp.0,
            Self::LoaderStart => limits.loader.0,
            Self::Loader => limits.transfer.0,
            Self::LoaderDiscover | Self::Script => limits.script.0,
            Self::Kernel => limits.kernel.0,
            Self::Initrd => limits.initrd.0,
            Self::System | Self::Root => limits.root.0,
            Self::Metadata => limits.metadata.0,
            _ => limits.userdata.0,
        }
    }
}
