//! Readings and thresholds of sensors (sections 35.9, 35.14).

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};

use super::request;
use super::sdr::{SensorRecord, THRESHOLD};
use crate::wire::{Reader, WireError};
use crate::{Error, Repeat, Session, Workarounds};

const BMC_ADDRESS: u8 = 0x20;
const SCANNING: u8 = 0x40;
const UNAVAILABLE: u8 = 0x20;

/// What a sensor reads now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SensorReading {
    /// The number, if it has one and is on.
    pub value: Option<f64>,
    /// Its states, a bit for each of table 42-2's or 42-3's; of thresholds, see [`Self::health`].
    pub states: u16,
    /// How it stands to its thresholds; none if it has none.
    pub health: Option<Health>,
}

/// How a number stands to its thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Within all.
    Ok,
    /// Beyond a non-critical one.
    NonCritical,
    /// Beyond a critical one.
    Critical,
    /// Beyond a non-recoverable one.
    NonRecoverable,
}

/// A sensor's thresholds; those that it does not have are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// Too low, and to be looked at.
    pub lower_non_critical: Option<f64>,
    /// Far too low.
    pub lower_critical: Option<f64>,
    /// So low that damage is likely.
    pub lower_non_recoverable: Option<f64>,
    /// Too high, and to be looked at.
    pub upper_non_critical: Option<f64>,
    /// Far too high.
    pub upper_critical: Option<f64>,
    /// So high that damage is likely.
    pub upper_non_recoverable: Option<f64>,
}

impl Session {
    /// Reads a sensor; none if it is switched off or of another controller than the BMC.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; 0xcb where the sensor's device is not there.
    pub async fn sensor_reading(&self, sensor: &SensorRecord) -> Result<Option<SensorReading>, Error> {
        let workarounds = self.link().workarounds();
        let ours = sensor.owner == BMC_ADDRESS && sensor.unit == 0;
        if !ours && !workarounds.has(Workarounds::ASSUME_BMC_OWNER) {
            return Ok(None);
        }
        let raw = self.ask("get sensor reading", GetReading(sensor.number), Repeat::WhenSilent).await?;
        Ok(raw.judge(sensor, workarounds))
    }

    /// Reads a sensor's thresholds.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn sensor_thresholds(&self, sensor: &SensorRecord) -> Result<Thresholds, Error> {
        if !sensor.has_thresholds() {
            return Ok(Thresholds::default());
        }
        let raw = self.ask("get sensor thresholds", GetThresholds(sensor.number), Repeat::WhenSilent).await?;
        let value = |bit: usize, raw_value: u8| {
            let readable = raw.readable & (1 << bit) != 0;
            sensor.conversion.filter(|_| readable).and_then(|it| it.convert(raw_value))
        };
        let [low, low_critical, low_damage, high, high_critical, high_damage] = raw.values;
        Ok(Thresholds {
            lower_non_critical: value(0, low),
            lower_critical: value(1, low_critical),
            lower_non_recoverable: value(2, low_damage),
            upper_non_critical: value(3, high),
            upper_critical: value(4, high_critical),
            upper_non_recoverable: value(5, high_damage),
        })
    }
}

/// A reading as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raw {
    value: u8,
    flags: u8,
    states: u16,
}

impl Raw {
    fn judge(self, sensor: &SensorRecord, workarounds: Workarounds) -> Option<SensorReading> {
        let off = self.flags & SCANNING == 0 && !workarounds.has(Workarounds::IGNORE_SCANNING_DISABLED);
        if off || self.flags & UNAVAILABLE != 0 {
            return None;
        }
        let counts = sensor.event == THRESHOLD || workarounds.has(Workarounds::DISCRETE_READING);
        let value = sensor.conversion.filter(|_| counts).and_then(|it| it.convert(self.value));
        let health = sensor.has_thresholds().then_some(match self.states & 0x3f {
            0 => Health::Ok,
            beyond if beyond & 0b10_0100 != 0 => Health::NonRecoverable,
            beyond if beyond & 0b01_0010 != 0 => Health::Critical,
            _ => Health::NonCritical,
        });
        // Bit 15 is reserved, and set by many.
        Some(SensorReading { value, states: self.states & 0x7fff, health })
    }
}

struct GetReading(u8);
request!(GetReading, SensorEvent, 0x2d, |it| vec![it.0]);

impl IpmiCommand for GetReading {
    type Output = Raw;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<Raw, NotEnoughData> {
        let ([value, flags], states) = data.split_first_chunk().ok_or(NotEnoughData)?;
        let state = |at: usize| states.get(at).copied().unwrap_or(0);
        Ok(Raw { value: *value, flags: *flags, states: u16::from_le_bytes([state(0), state(1)]) })
    }
}

struct GetThresholds(u8);
request!(GetThresholds, SensorEvent, 0x27, |it| vec![it.0]);

/// Which can be read, and the values in the order of their bits.
struct RawThresholds {
    readable: u8,
    values: [u8; 6],
}

impl IpmiCommand for GetThresholds {
    type Output = RawThresholds;
    type Error = WireError;

    fn parse_success_response(data: &[u8]) -> Result<RawThresholds, WireError> {
        let mut reader = Reader::new(data);
        Ok(RawThresholds { readable: reader.byte()?, values: reader.array()? })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn sensor(event: u8) -> SensorRecord {
        let mut bytes = super::super::sdr::tests::full(b"Fan", 0, [0, 100, 0, 0, 0, 0, 0]);
        bytes[13] = event;
        SensorRecord::decode(&bytes).unwrap().unwrap()
    }

    fn reading(data: &[u8], event: u8, workarounds: Workarounds) -> Option<SensorReading> {
        GetReading::parse_success_response(data).unwrap().judge(&sensor(event), workarounds)
    }

    #[test]
    fn a_number_and_its_health_are_told() {
        let none = Workarounds::NONE;
        let ok = reading(&[33, 0xc0, 0xc0], THRESHOLD, none).unwrap();
        assert_eq!((ok.value, ok.health), (Some(3300.0), Some(Health::Ok)));
        for (states, health) in
            [(0x01, Health::NonCritical), (0x03, Health::Critical), (0x38, Health::NonRecoverable)]
        {
            assert_eq!(reading(&[1, 0xc0, states], THRESHOLD, none).unwrap().health, Some(health));
        }
    }

    #[test]
    fn a_sensor_that_is_off_has_no_reading() {
        let none = Workarounds::NONE;
        assert_eq!(reading(&[33, 0x80, 0], THRESHOLD, none), None, "scanning is disabled");
        assert_eq!(reading(&[33, 0xe0, 0], THRESHOLD, none), None, "the reading is not available");
        assert!(reading(&[33, 0x80, 0], THRESHOLD, Workarounds::IGNORE_SCANNING_DISABLED).is_some());
    }

    #[test]
    fn states_are_given_as_bits_and_numbers_only_where_asked_for() {
        let states = reading(&[0, 0xc0, 0x02, 0x80], 0x6f, Workarounds::NONE).unwrap();
        assert_eq!((states.states, states.value, states.health), (2, None, None));
        let number = reading(&[2, 0xc0, 0x02], 0x6f, Workarounds::DISCRETE_READING).unwrap();
        assert_eq!(number.value, Some(200.0));
    }
}
