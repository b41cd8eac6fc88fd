//! How a BMC's LAN channel is set up (sections 23.1, 23.2, table 23-4).

use std::net::Ipv4Addr;

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};

use super::request;
use crate::{Error, Repeat, Session};

/// The channel that a request comes by.
const THIS_CHANNEL: u8 = 0x0e;
const ADDRESS: u8 = 3;
const SOURCE: u8 = 4;
const MAC: u8 = 5;
const MASK: u8 = 6;
const GATEWAY: u8 = 12;
const GATEWAY_MAC: u8 = 13;
const VLAN: u8 = 20;
/// "Parameter not supported", and the codes that BMCs use instead of it.
const NOT_SUPPORTED: [u8; 4] = [0x80, 0xc9, 0xcb, 0xcc];

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// It was set by hand.
    Static,
    /// DHCP.
    Dhcp,
    /// The firmware or the operating system of the node.
    System,
    /// Anything else.
    Other,
}

/// How a BMC's LAN channel is set up. What it does not tell is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanSettings {
    /// The MAC address.
    pub mac: [u8; 6],
    /// The IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Where it comes from.
    pub source: Option<AddressSource>,
    /// The network's mask.
    pub mask: Option<Ipv4Addr>,
    /// The router; none is 0.0.0.0.
    pub gateway: Option<Ipv4Addr>,
    /// The router's MAC address, where the BMC keeps one.
    pub gateway_mac: Option<[u8; 6]>,
    /// The VLAN, if it is in one.
    pub vlan: Option<u16>,
}

impl Session {
    /// Asks how the LAN channel that the session runs over is set up.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn lan_settings(&self) -> Result<LanSettings, Error> {
        let (step, address) = ("get LAN configuration", self.address());
        let mac = self.ask(step, GetParameter(MAC), Repeat::WhenSilent).await?;
        let short = || Error::Protocol { step, address, reason: "it has no whole MAC address" };
        Ok(LanSettings {
            mac: *mac.first_chunk().ok_or_else(short)?,
            address: self.lan_address(ADDRESS).await?,
            source: self.lan_parameter(SOURCE).await?.and_then(|it| it.first().copied()).map(source),
            mask: self.lan_address(MASK).await?,
            gateway: self.lan_address(GATEWAY).await?.filter(|it| !it.is_unspecified()),
            gateway_mac: self.lan_parameter(GATEWAY_MAC).await?.and_then(|it| it.first_chunk().copied()),
            vlan: self.lan_parameter(VLAN).await?.and_then(|it| vlan(&it)),
        })
    }

    async fn lan_address(&self, parameter: u8) -> Result<Option<Ipv4Addr>, Error> {
        let data = self.lan_parameter(parameter).await?;
        Ok(data.and_then(|it| it.first_chunk::<4>().copied()).map(Ipv4Addr::from))
    }

    async fn lan_parameter(&self, parameter: u8) -> Result<Option<Vec<u8>>, Error> {
        match self.ask("get LAN configuration", GetParameter(parameter), Repeat::WhenSilent).await {
            Err(error) if error.completion().is_some_and(|it| NOT_SUPPORTED.contains(&it)) => Ok(None),
            other => other.map(Some),
        }
    }
}

fn source(raw: u8) -> AddressSource {
    match raw & 0x0f {
        1 => AddressSource::Static,
        2 => AddressSource::Dhcp,
        3 => AddressSource::System,
        _ => AddressSource::Other,
    }
}

/// Bit 15 says whether there is one.
fn vlan(data: &[u8]) -> Option<u16> {
    let raw = u16::from_le_bytes(*data.first_chunk()?);
    (raw & 0x8000 != 0).then_some(raw & 0x0fff)
}

struct GetParameter(u8);
request!(GetParameter, Transport, 0x02, |it| vec![THIS_CHANNEL, it.0, 0, 0]);

impl IpmiCommand for GetParameter {
    type Output = Vec<u8>;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<Vec<u8>, NotEnoughData> {
        data.get(1..).map(<[u8]>::to_vec).ok_or(NotEnoughData) // After the parameter's revision.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        assert_eq!(GetParameter::parse_success_response(&[0x11, 10, 0, 0, 1]), Ok(vec![10, 0, 0, 1]));
        assert!(GetParameter::parse_success_response(&[]).is_err());
        assert_eq!(vlan(&[0x2a, 0x80]), Some(42));
        assert_eq!(vlan(&[0x2a, 0x00]), None);
        assert_eq!(vlan(&[0x2a]), None);
        assert_eq!([1, 2, 3, 0xf4].map(source)[3], AddressSource::Other);
    }
}
