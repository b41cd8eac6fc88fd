//! Power and identification (sections 28.2, 28.3, 28.5).

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};

use super::{plain_answer, request};
use crate::{Error, Repeat, Session};

/// What a chassis can be told to do (table 28-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerAction {
    /// Power off at once.
    Off,
    /// Power on.
    On,
    /// Power off and on again; a BMC may refuse it while the power is off.
    Cycle,
    /// Hard reset.
    Reset,
    /// Ask the operating system to shut down, by ACPI.
    Soft,
}

impl PowerAction {
    fn code(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::Cycle => 2,
            Self::Reset => 3,
            Self::Soft => 5,
        }
    }

    /// Off and on lead to a state, so asking twice is as good as once. A cycle or reset asked for twice
    /// happens twice, maybe into the middle of a boot; so does a button pressed for a soft shutdown.
    fn repeat(self) -> Repeat {
        match self {
            Self::Off | Self::On => Repeat::WhenSilent,
            Self::Cycle | Self::Reset | Self::Soft => Repeat::Never,
        }
    }
}

/// The state of a chassis (table 28-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChassisStatus {
    /// Whether the system's power is on.
    pub power_on: bool,
    /// Whether power went off by an overload.
    pub overload: bool,
    /// Whether the power supply reports a fault.
    pub power_fault: bool,
    /// What happens when mains power comes back.
    pub restore_policy: RestorePolicy,
    /// Whether an intrusion is reported.
    pub intrusion: bool,
    /// Whether the front panel is locked out.
    pub front_panel_locked: bool,
    /// Whether a drive reports a fault.
    pub drive_fault: bool,
    /// Whether cooling reports a fault.
    pub cooling_fault: bool,
    /// Whether the identification light is on, if the BMC tells.
    pub identifying: Option<bool>,
}

/// What happens when mains power comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePolicy {
    /// It stays off.
    StayOff,
    /// It is as it was before.
    Restore,
    /// It goes on.
    TurnOn,
    /// The BMC does not tell.
    Unknown,
}

/// How long the identification light shall be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identify {
    /// Off now.
    Off,
    /// For as many seconds.
    Seconds(u8),
    /// Until it is switched off.
    On,
}

impl Session {
    /// Asks whether the power is on, and for the chassis' other lights.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn chassis_status(&self) -> Result<ChassisStatus, Error> {
        self.ask("get chassis status", GetChassisStatus, Repeat::WhenSilent).await
    }

    /// Switches the power. The BMC confirms that it will, not that it has: ask [`Self::chassis_status`].
    /// Cycle, reset and soft are sent once only, see [`Repeat::Never`].
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; 0xd5 where the present state does not allow it.
    pub async fn chassis_control(&self, action: PowerAction) -> Result<(), Error> {
        self.ask("chassis control", ChassisControl(action), action.repeat()).await
    }

    /// Sets what happens when mains power comes back.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; [`Error::Invalid`] for [`RestorePolicy::Unknown`].
    pub async fn set_restore_policy(&self, policy: RestorePolicy) -> Result<(), Error> {
        let code = match policy {
            RestorePolicy::StayOff => 0,
            RestorePolicy::Restore => 1,
            RestorePolicy::TurnOn => 2,
            RestorePolicy::Unknown => {
                return Err(Error::Invalid { reason: "there is no such restore policy" });
            }
        };
        self.ask("set power restore policy", SetRestorePolicy(code), Repeat::WhenSilent).await
    }

    /// Switches the identification light.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; [`Identify::On`] came with IPMI 2.0, and not every BMC knows it.
    pub async fn identify(&self, identify: Identify) -> Result<(), Error> {
        self.ask("chassis identify", ChassisIdentify(identify), Repeat::WhenSilent).await
    }
}

struct GetChassisStatus;
request!(GetChassisStatus, Chassis, 0x01, |_it| Vec::new());

impl IpmiCommand for GetChassisStatus {
    type Output = ChassisStatus;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<ChassisStatus, NotEnoughData> {
        let ([power, _last_event, misc], _) = data.split_first_chunk().ok_or(NotEnoughData)?;
        let has = |byte: &u8, bit: u8| byte & (1 << bit) != 0;
        Ok(ChassisStatus {
            power_on: has(power, 0),
            overload: has(power, 1),
            power_fault: has(power, 3),
            restore_policy: match power >> 5 & 0b11 {
                0 => RestorePolicy::StayOff,
                1 => RestorePolicy::Restore,
                2 => RestorePolicy::TurnOn,
                _ => RestorePolicy::Unknown,
            },
            intrusion: has(misc, 0),
            front_panel_locked: has(misc, 1),
            drive_fault: has(misc, 2),
            cooling_fault: has(misc, 3),
            identifying: has(misc, 6).then_some(misc >> 4 & 0b11 != 0),
        })
    }
}

struct ChassisControl(PowerAction);
request!(ChassisControl, Chassis, 0x02, |it| vec![it.0.code()]);
plain_answer!(ChassisControl);

struct SetRestorePolicy(u8);
request!(SetRestorePolicy, Chassis, 0x06, |it| vec![it.0]);
plain_answer!(SetRestorePolicy);

struct ChassisIdentify(Identify);
request!(ChassisIdentify, Chassis, 0x04, |it| match it.0 {
    Identify::Off => vec![0],
    Identify::Seconds(seconds) => vec![seconds],
    Identify::On => vec![0, 1],
});
plain_answer!(ChassisIdentify);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_bit_by_bit() {
        let on = GetChassisStatus::parse_success_response(&[0x41, 0x00, 0x50]).unwrap();
        assert!(on.power_on && !on.overload && !on.drive_fault);
        assert_eq!((on.restore_policy, on.identifying), (RestorePolicy::TurnOn, Some(true)));
        let off = GetChassisStatus::parse_success_response(&[0x6a, 0x00, 0x0c, 0x00]).unwrap();
        assert!(!off.power_on && off.overload && off.power_fault && off.drive_fault && off.cooling_fault);
        assert_eq!((off.restore_policy, off.identifying), (RestorePolicy::Unknown, None));
        assert!(GetChassisStatus::parse_success_response(&[0x41, 0x00]).is_err());
    }

    #[test]
    fn only_what_leads_to_a_state_is_sent_again() {
        assert_eq!(PowerAction::Off.repeat(), Repeat::WhenSilent);
        assert_eq!(PowerAction::Cycle.repeat(), Repeat::Never);
        assert_eq!(PowerAction::Reset.repeat(), Repeat::Never);
    }
}
