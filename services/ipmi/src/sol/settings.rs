//! How a BMC's serial over LAN is set up (sections 26.2, 26.3, table 26-5).

use std::time::Duration;

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};

use crate::commands::{plain_answer, request};
use crate::{Error, Repeat, Session};

/// The channel that a request comes by.
const THIS_CHANNEL: u8 = 0x0e;
const ENABLE: u8 = 1;
const RETRY: u8 = 4;
const BIT_RATE: u8 = 5;
const VOLATILE_BIT_RATE: u8 = 6;
/// The unit of retry intervals.
const INTERVAL: Duration = Duration::from_millis(10);
const SET: &str = "set SOL configuration";
const GET: &str = "get SOL configuration";

/// A bit rate of the serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitRate {
    /// As the node's own side is set up.
    AsSerial,
    /// 9,600 bit/s.
    B9600,
    /// 19,200 bit/s.
    B19200,
    /// 38,400 bit/s.
    B38400,
    /// 57,600 bit/s.
    B57600,
    /// 115,200 bit/s.
    B115200,
}

const RATES: [(BitRate, u8); 6] = [
    (BitRate::AsSerial, 0),
    (BitRate::B9600, 6),
    (BitRate::B19200, 7),
    (BitRate::B38400, 8),
    (BitRate::B57600, 9),
    (BitRate::B115200, 10),
];

impl BitRate {
    /// Bits a second; none for [`Self::AsSerial`].
    #[must_use]
    pub fn bits(self) -> Option<u32> {
        match self {
            Self::AsSerial => None,
            Self::B9600 => Some(9_600),
            Self::B19200 => Some(19_200),
            Self::B38400 => Some(38_400),
            Self::B57600 => Some(57_600),
            Self::B115200 => Some(115_200),
        }
    }

    fn code(self) -> u8 {
        RATES.iter().find(|(rate, _)| *rate == self).map_or(0, |(_, code)| *code)
    }

    fn from_code(code: u8) -> Option<Self> {
        RATES.iter().find(|(_, it)| *it == code & 0x0f).map(|(rate, _)| *rate)
    }
}

/// How a BMC's serial over LAN is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SolSettings {
    /// Whether it is enabled at all.
    pub enabled: bool,
    /// How often a packet that is not acknowledged is sent again before it is dropped, if the BMC tells.
    pub retries: Option<u8>,
    /// How long it waits before that.
    pub retry_interval: Option<Duration>,
    /// The bit rate after a restart of the BMC, if it is one of ours.
    pub bit_rate: Option<BitRate>,
    /// The bit rate now.
    pub volatile_bit_rate: Option<BitRate>,
}

impl Session {
    /// Asks how serial over LAN is set up. What a BMC does not tell beyond whether it is enabled is left out.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn sol_settings(&self) -> Result<SolSettings, Error> {
        let enabled = self.sol_parameter(ENABLE).await?;
        let retry = self.optional(RETRY).await?;
        let at = |data: &Option<Vec<u8>>, at: usize| data.as_ref().and_then(|it| it.get(at).copied());
        Ok(SolSettings {
            enabled: enabled.first().is_some_and(|flags| flags & 1 != 0),
            retries: at(&retry, 0).map(|it| it & 0x07),
            retry_interval: at(&retry, 1).map(|it| INTERVAL * u32::from(it)),
            bit_rate: at(&self.optional(BIT_RATE).await?, 0).and_then(BitRate::from_code),
            volatile_bit_rate: at(&self.optional(VOLATILE_BIT_RATE).await?, 0).and_then(BitRate::from_code),
        })
    }

    /// Sets the line's bit rate until the BMC restarts.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn set_sol_bit_rate(&self, rate: BitRate) -> Result<(), Error> {
        self.set_sol_parameter(VOLATILE_BIT_RATE, vec![rate.code()]).await
    }

    /// Sets how often and how soon the BMC sends again what is not acknowledged: at most 7 times, after at
    /// most 2.55 s.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn set_sol_retries(&self, retries: u8, interval: Duration) -> Result<(), Error> {
        let interval = u8::try_from(interval.as_millis() / INTERVAL.as_millis()).unwrap_or(u8::MAX);
        self.set_sol_parameter(RETRY, vec![retries.min(7), interval]).await
    }

    /// Switches serial over LAN on or off for the BMC.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn set_sol_enabled(&self, enabled: bool) -> Result<(), Error> {
        self.set_sol_parameter(ENABLE, vec![u8::from(enabled)]).await
    }

    async fn set_sol_parameter(&self, parameter: u8, data: Vec<u8>) -> Result<(), Error> {
        self.ask(SET, SetParameter { parameter, data }, Repeat::WhenSilent).await
    }

    async fn sol_parameter(&self, parameter: u8) -> Result<Vec<u8>, Error> {
        self.ask(GET, GetParameter(parameter), Repeat::WhenSilent).await
    }

    async fn optional(&self, parameter: u8) -> Result<Option<Vec<u8>>, Error> {
        match self.sol_parameter(parameter).await {
            Err(Error::Completion { .. }) => Ok(None),
            other => other.map(Some),
        }
    }
}

struct SetParameter {
    parameter: u8,
    data: Vec<u8>,
}
request!(SetParameter, Transport, 0x21, |it| [vec![THIS_CHANNEL, it.parameter], it.data].concat());
plain_answer!(SetParameter);

struct GetParameter(u8);
request!(GetParameter, Transport, 0x22, |it| vec![THIS_CHANNEL, it.0, 0, 0]);

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
    fn bit_rates_have_the_codes_of_the_specification() {
        for (rate, code) in RATES {
            assert_eq!((rate.code(), BitRate::from_code(code | 0xf0)), (code, Some(rate)));
        }
        assert_eq!(BitRate::from_code(3), None);
        assert_eq!(BitRate::B115200.bits(), Some(115_200));
        assert_eq!(GetParameter::parse_success_response(&[0x11, 0x0a]), Ok(vec![0x0a]));
        assert!(GetParameter::parse_success_response(&[]).is_err());
    }
}
