//! Where the next boot comes from (sections 28.12, 28.13, table 28-14).

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};

use super::{plain_answer, request};
use crate::{Error, Repeat, Session};

const SET_IN_PROGRESS: u8 = 0;
const ACKNOWLEDGE: u8 = 4;
const BOOT_FLAGS: u8 = 5;
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const EFI: u8 = 0x20;

/// Where to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootDevice {
    /// As the firmware is set up.
    None,
    /// The network.
    Pxe,
    /// The default disk.
    Disk,
    /// The default optical drive.
    Cdrom,
    /// The firmware's set-up.
    Bios,
    /// Another one, by its number in the specification; never asked for by us.
    Other(u8),
}

impl From<u8> for BootDevice {
    fn from(number: u8) -> Self {
        match number & 0x0f {
            0 => Self::None,
            1 => Self::Pxe,
            2 => Self::Disk,
            5 => Self::Cdrom,
            6 => Self::Bios,
            other => Self::Other(other),
        }
    }
}

impl From<BootDevice> for u8 {
    fn from(device: BootDevice) -> Self {
        match device {
            BootDevice::None => 0,
            BootDevice::Pxe => 1,
            BootDevice::Disk => 2,
            BootDevice::Cdrom => 5,
            BootDevice::Bios => 6,
            BootDevice::Other(other) => other & 0x0f,
        }
    }
}

/// A boot device and for how long and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootOverride {
    /// Where to boot from.
    pub device: BootDevice,
    /// For every boot from now on, not for the next alone.
    pub persistent: bool,
    /// By UEFI; otherwise by the firmware's legacy way ("PC compatible").
    pub efi: bool,
}

/// What a BMC holds about the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootFlags {
    /// Whether it takes effect: not after its boot or its time are over. Some BMCs never say so.
    pub valid: bool,
    /// The boot device.
    pub boot: BootOverride,
}

impl Session {
    /// Sets the boot device. A BMC forgets one for the next boot alone after 60 s, unless power is
    /// switched on or the system reset by then.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`], of the boot flags themselves: that the frame around them is refused,
    /// as many BMCs do, has no effect.
    pub async fn set_boot_device(&self, boot: BootOverride) -> Result<(), Error> {
        self.set_quietly(SET_IN_PROGRESS, vec![1]).await?;
        // The flags are new for the BIOS: bit 0 of the mask, set in the data as well.
        self.set_quietly(ACKNOWLEDGE, vec![1, 1]).await?;
        let flags = self.set_boot_option("set boot device", BOOT_FLAGS, encode(boot)).await;
        let done = self.set_quietly(SET_IN_PROGRESS, vec![0]).await;
        flags.and(done)
    }

    /// Reads the boot device back.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn boot_device(&self) -> Result<BootFlags, Error> {
        self.ask("get boot device", GetBootFlags, Repeat::WhenSilent).await
    }

    /// Sets what not every BMC has; only its silence is an error.
    async fn set_quietly(&self, parameter: u8, data: Vec<u8>) -> Result<(), Error> {
        match self.set_boot_option("set boot options", parameter, data).await {
            Err(Error::Completion { .. }) => Ok(()),
            other => other,
        }
    }

    async fn set_boot_option(&self, step: &'static str, parameter: u8, data: Vec<u8>) -> Result<(), Error> {
        self.ask(step, SetBootOption { parameter, data }, Repeat::WhenSilent).await
    }
}

fn encode(boot: BootOverride) -> Vec<u8> {
    let persistent = if boot.persistent { PERSISTENT } else { 0 };
    let efi = if boot.efi { EFI } else { 0 };
    vec![VALID | persistent | efi, u8::from(boot.device) << 2, 0, 0, 0]
}

struct SetBootOption {
    parameter: u8,
    data: Vec<u8>,
}
// Bit 7 of the parameter would lock it, so it is kept clear.
request!(SetBootOption, Chassis, 0x08, |it| [vec![it.parameter & 0x7f], it.data].concat());
plain_answer!(SetBootOption);

struct GetBootFlags;
request!(GetBootFlags, Chassis, 0x09, |_it| vec![BOOT_FLAGS, 0, 0]);

impl IpmiCommand for GetBootFlags {
    type Output = BootFlags;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<BootFlags, NotEnoughData> {
        let ([_version, _parameter, flags, device], _) = data.split_first_chunk().ok_or(NotEnoughData)?;
        let has = |flag| flags & flag != 0;
        let boot = BootOverride {
            device: BootDevice::from(device >> 2),
            persistent: has(PERSISTENT),
            efi: has(EFI),
        };
        Ok(BootFlags { valid: has(VALID), boot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_survive_the_way_there_and_back() {
        for device in
            [BootDevice::None, BootDevice::Pxe, BootDevice::Disk, BootDevice::Cdrom, BootDevice::Bios]
        {
            for (persistent, efi) in [(false, false), (true, false), (false, true), (true, true)] {
                let boot = BootOverride { device, persistent, efi };
                let data = [vec![1, BOOT_FLAGS], encode(boot)].concat();
                assert_eq!(GetBootFlags::parse_success_response(&data), Ok(BootFlags { valid: true, boot }));
            }
        }
        let pxe = BootOverride { device: BootDevice::Pxe, persistent: false, efi: true };
        assert_eq!(encode(pxe), [0xa0, 0x04, 0, 0, 0]);
    }

    #[test]
    fn flags_that_are_over_are_told_from_those_that_count() {
        let flags = GetBootFlags::parse_success_response(&[1, 5, 0x20, 0x04, 0, 0, 0]);
        assert_eq!(flags.map(|it| (it.valid, it.boot.device)), Ok((false, BootDevice::Pxe)));
        assert_eq!(GetBootFlags::parse_success_response(&[1, 5, 0x80]), Err(NotEnoughData));
    }
}
