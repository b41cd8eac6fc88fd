//! Power readings and limits of the Data Center Manageability Interface (DCMI 1.5, sections 6.6.1 to 6.6.4).

use std::time::Duration;

use ipmi_rs_core::connection::{IpmiCommand, Message, NetFn};

use crate::wire::{Reader, WireError};
use crate::{Error, Repeat, Session};

/// The network function of groups that extend IPMI, and DCMI's number among them.
const GROUP: NetFn = NetFn::Reserved(0x2c);
const DCMI: u8 = 0xdc;
const READING: u8 = 0x02;
const GET_LIMIT: u8 = 0x03;
const SET_LIMIT: u8 = 0x04;
const ACTIVATE_LIMIT: u8 = 0x05;
/// "No active set power limit": the answer has one all the same.
const NOT_ACTIVE: u8 = 0x80;
const READING_ACTIVE: u8 = 0x40;

/// What the node draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerReading {
    /// Now, in watts.
    pub current_w: u16,
    /// The least since [`Self::period`].
    pub minimum_w: u16,
    /// The most since then.
    pub maximum_w: u16,
    /// The average since then.
    pub average_w: u16,
    /// How long the statistics reach back.
    pub period: Duration,
    /// Whether it is being measured; otherwise the numbers mean nothing.
    pub active: bool,
}

/// What the node may draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLimit {
    /// Whether it is in force.
    pub active: bool,
    /// In watts.
    pub limit_w: u16,
    /// What is done when it cannot be kept: 0 nothing, 1 power off, 17 an entry in the log.
    pub action: u8,
    /// How long it may take to get below it.
    pub correction: Duration,
    /// The period over which it is judged.
    pub sampling: Duration,
}

impl Session {
    /// Asks what the node draws.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; 0xc1 from a BMC without DCMI.
    pub async fn power_reading(&self) -> Result<PowerReading, Error> {
        self.ask("get power reading", GetReading, Repeat::WhenSilent).await
    }

    /// Asks what the node may draw; none if no limit was ever set.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn power_limit(&self) -> Result<Option<PowerLimit>, Error> {
        match self.ask("get power limit", GetLimit, Repeat::WhenSilent).await {
            Ok(limit) => Ok(Some(limit)),
            Err(error) if error.completion() == Some(NOT_ACTIVE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets what the node may draw, and puts it in force or out of it.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; 0x84 for a limit out of the node's range.
    pub async fn set_power_limit(&self, limit: PowerLimit) -> Result<(), Error> {
        self.ask("set power limit", SetLimit(limit), Repeat::WhenSilent).await?;
        self.ask("activate power limit", Activate(limit.active), Repeat::WhenSilent).await
    }
}

fn group(command: u8, data: &[u8]) -> Message {
    Message::new_request(GROUP, command, [&[DCMI], data].concat())
}

/// What follows the group's number.
fn body(data: &[u8]) -> Result<Reader<'_>, WireError> {
    let mut reader = Reader::new(data);
    if reader.byte()? == DCMI { Ok(reader) } else { Err(WireError::Field("the group's number")) }
}

struct GetReading;

impl From<GetReading> for Message {
    fn from(_: GetReading) -> Self {
        group(READING, &[1, 0, 0]) // System power statistics.
    }
}

impl IpmiCommand for GetReading {
    type Output = PowerReading;
    type Error = WireError;

    fn parse_success_response(data: &[u8]) -> Result<PowerReading, WireError> {
        let mut reader = body(data)?;
        let (current_w, minimum_w) = (reader.word()?, reader.word()?);
        let (maximum_w, average_w) = (reader.word()?, reader.word()?);
        let (_time, period_ms) = (reader.long()?, reader.long()?);
        let (period, active) =
            (Duration::from_millis(period_ms.into()), reader.byte()? & READING_ACTIVE != 0);
        Ok(PowerReading { current_w, minimum_w, maximum_w, average_w, period, active })
    }
}

struct GetLimit;

impl From<GetLimit> for Message {
    fn from(_: GetLimit) -> Self {
        group(GET_LIMIT, &[0, 0])
    }
}

impl IpmiCommand for GetLimit {
    type Output = PowerLimit;
    type Error = WireError;

    fn parse_success_response(data: &[u8]) -> Result<PowerLimit, WireError> {
        let mut reader = body(data)?;
        let ([_, _, action], limit_w) = (reader.array()?, reader.word()?);
        let (correction_ms, _, sampling_s) = (reader.long()?, reader.word()?, reader.word()?);
        let correction = Duration::from_millis(correction_ms.into());
        Ok(PowerLimit {
            active: true,
            limit_w,
            action,
            correction,
            sampling: Duration::from_secs(sampling_s.into()),
        })
    }
}

struct SetLimit(PowerLimit);

impl From<SetLimit> for Message {
    fn from(SetLimit(it): SetLimit) -> Self {
        let correction_ms = u32::try_from(it.correction.as_millis()).unwrap_or(u32::MAX).to_le_bytes();
        let sampling_s = u16::try_from(it.sampling.as_secs()).unwrap_or(u16::MAX).to_le_bytes();
        let limit_w = it.limit_w.to_le_bytes();
        group(
            SET_LIMIT,
            &[&[0, 0, 0, it.action], &limit_w[..], &correction_ms, &[0, 0], &sampling_s].concat(),
        )
    }
}

impl IpmiCommand for SetLimit {
    type Output = ();
    type Error = WireError;

    fn parse_success_response(_data: &[u8]) -> Result<(), WireError> {
        Ok(())
    }
}

struct Activate(bool);

impl From<Activate> for Message {
    fn from(Activate(active): Activate) -> Self {
        group(ACTIVATE_LIMIT, &[u8::from(active), 0, 0])
    }
}

impl IpmiCommand for Activate {
    type Output = ();
    type Error = WireError;

    fn parse_success_response(_data: &[u8]) -> Result<(), WireError> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_read() {
        let data = [0xdc, 0x2c, 1, 10, 0, 0, 2, 0x40, 1, 0, 0, 0, 0x60, 0x88, 0x13, 0, 0, 0x40];
        let reading = GetReading::parse_success_response(&data).unwrap();
        assert_eq!((reading.current_w, reading.minimum_w, reading.maximum_w), (300, 10, 512));
        assert_eq!((reading.period, reading.active), (Duration::from_secs(5), true));
        assert!(GetReading::parse_success_response(&data[1..]).is_err());
    }

    #[test]
    fn a_limit_survives_the_way_there_and_back() {
        let (correction, sampling) = (Duration::from_secs(1), Duration::from_secs(2));
        let limit = PowerLimit { active: true, limit_w: 350, action: 17, correction, sampling };
        let sent = Message::from(SetLimit(limit));
        assert_eq!((sent.netfn_raw(), sent.data().len()), (0x2c, 15));
        // The answer has two reserved bytes where the request has three.
        let answer = [&[0xdc], &sent.data()[2..]].concat();
        assert_eq!(GetLimit::parse_success_response(&answer), Ok(limit));
    }
}
