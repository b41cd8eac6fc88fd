//! A log-in at a BMC in whichever protocol it speaks.

use ipmi::boot::{BootDevice, BootOverride};
use ipmi::chassis::{Identify, PowerAction};
use ipmi::core::connection::{IpmiCommand, Message, NetFn, NotEnoughData};
use ipmi::{Repeat, Session};
use redfish::{BootSource, Client, PowerState};

use super::Protocol;
use crate::model::{Boot, State};

/// Chassis Control (IPMI 2.0 section 28.3).
const CHASSIS_CONTROL: u8 = 0x02;

/// A log-in at a BMC.
pub(crate) enum Link {
    Ipmi(Session),
    Redfish { client: Box<Client>, path: String },
}

/// What a BMC says of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: State,
    /// Whether its light is on, if it says so.
    pub(crate) light: Option<bool>,
}

/// What a BMC did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Ipmi(Box<ipmi::Error>),
    #[error(transparent)]
    Redfish(Box<redfish::Error>),
    #[error("it does not say whether the power is on; look at the BMC's own log")]
    NoState,
}

impl From<ipmi::Error> for LinkError {
    fn from(error: ipmi::Error) -> Self {
        Self::Ipmi(Box::new(error))
    }
}

impl From<redfish::Error> for LinkError {
    fn from(error: redfish::Error) -> Self {
        Self::Redfish(Box::new(error))
    }
}

impl LinkError {
    /// Whether what was asked may have been carried out all the same.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Ipmi(error) => {
                use ipmi::Error::{Io, Protocol, Timeout};
                matches!(**error, Timeout { .. } | Io { .. } | Protocol { .. })
            }
            Self::Redfish(error) => error.is_lost(),
            Self::NoState => false,
        }
    }

    /// Whether the BMC has no such command: it did nothing.
    pub(crate) fn is_unsupported(&self) -> bool {
        match self {
            // Not this command, not this value, not in this state.
            Self::Ipmi(error) => matches!(error.completion(), Some(0xc1 | 0xcc | 0xd5)),
            Self::Redfish(error) => matches!(**error, redfish::Error::Unsupported { .. }),
            Self::NoState => false,
        }
    }
}

impl Link {
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::Ipmi(_) => Protocol::Ipmi,
            Self::Redfish { .. } => Protocol::Redfish,
        }
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::Ipmi(session) => session.address().to_string(),
            Self::Redfish { client, .. } => client.address(),
        }
    }

    pub(crate) async fn look(&self) -> Result<Seen, LinkError> {
        match self {
            Self::Ipmi(session) => {
                let status = session.chassis_status().await?;
                let state = if status.power_on { State::On } else { State::Off };
                Ok(Seen { state, light: status.identifying })
            }
            Self::Redfish { client, path } => {
                let resource = client.resource(path).await?;
                let state = match resource.power {
                    PowerState::On | PowerState::PoweringOff => State::On,
                    PowerState::Off | PowerState::PoweringOn => State::Off,
                    PowerState::Unknown => return Err(LinkError::NoState),
                };
                Ok(Seen { state, light: resource.identifying })
            }
        }
    }

    /// Tells it once. Where the answer is lost nobody asks again: whoever wants to know looks.
    pub(crate) async fn switch(&self, action: PowerAction) -> Result<(), LinkError> {
        match self {
            Self::Ipmi(session) => Ok(session.ask("chassis control", Control(action), Repeat::Never).await?),
            Self::Redfish { client, path } => {
                let resource = client.resource(path).await?;
                let kind = resource.choose(match action {
                    PowerAction::On => &["On", "ForceOn", "PushPowerButton"],
                    PowerAction::Off => &["ForceOff"],
                    PowerAction::Cycle => &["PowerCycle"],
                    PowerAction::Reset => &["ForceRestart"],
                    PowerAction::Soft => &["GracefulShutdown", "PushPowerButton"],
                })?;
                Ok(client.reset(&resource, kind).await?)
            }
        }
    }

    /// Says where the next boot comes from.
    pub(crate) async fn set_boot(&self, boot: Boot) -> Result<(), LinkError> {
        match self {
            Self::Ipmi(session) => {
                let boot = BootOverride { device: BootDevice::from(boot), persistent: false, efi: false };
                Ok(session.set_boot_device(boot).await?)
            }
            Self::Redfish { client, path } => {
                let source = match boot {
                    Boot::Pxe => BootSource::Pxe,
                    Boot::Disk => BootSource::Disk,
                    Boot::Cdrom => BootSource::Cd,
                    Boot::Bios => BootSource::Setup,
                };
                Ok(client.set_boot(&client.resource(path).await?, source).await?)
            }
        }
    }

    /// Switches its light.
    pub(crate) async fn set_light(&self, on: bool) -> Result<(), LinkError> {
        match self {
            Self::Ipmi(session) => {
                Ok(session.identify(if on { Identify::On } else { Identify::Off }).await?)
            }
            Self::Redfish { client, path } => Ok(client.set_light(&client.resource(path).await?, on).await?),
        }
    }

    /// Ends the log-in.
    pub(crate) async fn close(self) {
        let closed: Result<(), LinkError> = match self {
            Self::Ipmi(session) => session.close().await.map_err(Into::into),
            Self::Redfish { client, .. } => client.close().await.map_err(Into::into),
        };
        if let Err(error) = closed {
            tracing::debug!("a BMC did not confirm the end of the session: {error}");
        }
    }
}

/// Chassis Control that is sent once whatever it is: the library sends on and off again when nothing comes back, and
/// the second would meet whatever somebody else did in between.
struct Control(PowerAction);

impl From<Control> for Message {
    fn from(control: Control) -> Self {
        let code = match control.0 {
            PowerAction::Off => 0,
            PowerAction::On => 1,
            PowerAction::Cycle => 2,
            PowerAction::Reset => 3,
            PowerAction::Soft => 5,
        };
        Self::new_request(NetFn::Chassis, CHASSIS_CONTROL, vec![code])
    }
}

impl IpmiCommand for Control {
    type Output = ();
    type Error = NotEnoughData;

    fn parse_success_response(_data: &[u8]) -> Result<(), NotEnoughData> {
        Ok(())
    }
}
