//! Sensor data records: which sensors there are and how their numbers are meant (sections 33, 43).

use std::fmt;

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};
use ipmi_rs_core::storage::sdr::SensorType;

use super::request;
use super::text::decode_text;
use crate::wire::{Reader, WireError};
use crate::{Error, Repeat, Session};

const FIRST: u16 = 0;
const LAST: u16 = 0xffff;
const HEADER_BYTES: u8 = 5;
/// How much of a record is asked for at once; halved for a BMC that cannot return so much.
const CHUNK_BYTES: u8 = 32;
const CHUNK_BYTES_MIN: u8 = 4;
/// More records than any repository has; one that leads back to itself would never end.
const RECORDS_MAX: usize = 4096;
/// How often a reservation may be lost to somebody else within one record.
const RESERVATIONS_MAX: u32 = 8;
const RESERVATION_CANCELLED: u8 = 0xc5;
/// "Cannot return number of requested bytes", and the length codes that BMCs use instead of it.
const TOO_MUCH: [u8; 3] = [0xca, 0xc7, 0xc8];
const NOT_PRESENT: u8 = 0xcb;
const GET: &str = "get SDR";

const FULL: u8 = 0x01;
const COMPACT: u8 = 0x02;
const EVENT_ONLY: u8 = 0x03;
/// The event type of sensors that have thresholds.
pub(super) const THRESHOLD: u8 = 0x01;

/// A sensor, as its record describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorRecord {
    /// The record's number.
    pub id: u16,
    /// Whose sensor it is: the bus address of a controller, or an odd number for software.
    pub owner: u8,
    /// The logical unit there.
    pub unit: u8,
    /// The sensor's number, by which it is asked.
    pub number: u8,
    /// What it is called.
    pub name: String,
    /// The kind of sensor, table 42-3.
    pub kind: u8,
    /// What its states mean, table 42-1.
    pub event: u8,
    /// How a number is made of what it reads; none of a sensor that has states alone.
    pub conversion: Option<Conversion>,
    /// What the number counts.
    pub unit_name: String,
}

/// How a sensor's raw byte becomes a number (section 36.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// Unsigned, or a complement of one or two.
    format: Format,
    /// What the line's value goes through at last.
    linear: Linearization,
    m: f64,
    b: f64,
    /// The exponents of ten for B and for the result.
    exponents: (i8, i8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linearization {
    Linear,
    Ln,
    Log10,
    Log2,
    Exp,
    Exp10,
    Exp2,
    Inverse,
    Square,
    Cube,
    SquareRoot,
    CubeRoot,
}

impl Conversion {
    /// The number; none where the function has no value there.
    #[must_use]
    pub fn convert(&self, raw: u8) -> Option<f64> {
        let signed = raw.cast_signed();
        let value = match self.format {
            Format::Unsigned => f64::from(raw),
            // Minus zero is zero.
            Format::OnesComplement if signed < 0 => f64::from(signed) + 1.0,
            Format::OnesComplement | Format::TwosComplement => f64::from(signed),
        };
        let (b, result) = self.exponents;
        let line = (self.m * value + self.b * 10_f64.powi(b.into())) * 10_f64.powi(result.into());
        let value = match self.linear {
            Linearization::Linear => line,
            Linearization::Ln => line.ln(),
            Linearization::Log10 => line.log10(),
            Linearization::Log2 => line.log2(),
            Linearization::Exp => line.exp(),
            Linearization::Exp10 => 10_f64.powf(line),
            Linearization::Exp2 => line.exp2(),
            Linearization::Inverse => line.recip(),
            Linearization::Square => line.powi(2),
            Linearization::Cube => line.powi(3),
            Linearization::SquareRoot => line.sqrt(),
            Linearization::CubeRoot => line.cbrt(),
        };
        value.is_finite().then_some(value)
    }

    /// From the bytes `linearization`, M, M and tolerance, B, B and accuracy, accuracy, exponents. None of a
    /// sensor whose readings are not on a line or whose units say that it has no number.
    fn decode(units: u8, [linear, m, m_high, b, b_high, _, exponents]: [u8; 7]) -> Option<Self> {
        let format = match units >> 6 {
            0 => Format::Unsigned,
            1 => Format::OnesComplement,
            2 => Format::TwosComplement,
            _ => return None,
        };
        let linear = match linear & 0x7f {
            0 => Linearization::Linear,
            1 => Linearization::Ln,
            2 => Linearization::Log10,
            3 => Linearization::Log2,
            4 => Linearization::Exp,
            5 => Linearization::Exp10,
            6 => Linearization::Exp2,
            7 => Linearization::Inverse,
            8 => Linearization::Square,
            9 => Linearization::Cube,
            10 => Linearization::SquareRoot,
            11 => Linearization::CubeRoot,
            _ => return None,
        };
        // Ten bits, the upper two in bits 7 and 6 of the next byte; shifted up so that the sign comes along.
        let ten_bits = |low: u8, high: u8| {
            f64::from((u16::from(high >> 6) << 14 | u16::from(low) << 6).cast_signed() >> 6)
        };
        let nibble = |bits: u8| (bits << 4).cast_signed() >> 4;
        let exponents = (nibble(exponents & 0x0f), nibble(exponents >> 4));
        Some(Self { format, linear, m: ten_bits(m, m_high), b: ten_bits(b, b_high), exponents })
    }
}

impl SensorRecord {
    /// Reads a record; none if it is not of a sensor that can be read.
    ///
    /// # Errors
    ///
    /// Too short for its kind.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(bytes);
        let (id, [_version, record, length]) = (reader.word()?, reader.array()?);
        // Some name a length that is too great.
        let body = reader.rest();
        let mut reader = Reader::new(body.get(..usize::from(length)).unwrap_or(body));
        if !matches!(record, FULL | COMPACT | EVENT_ONLY) {
            return Ok(None);
        }
        let [owner, unit, number] = reader.array()?;
        if record == EVENT_ONLY {
            return Ok(None); // It sends events and cannot be asked.
        }
        let [_entity, _instance, _initialization, _capabilities, kind, event] = reader.array()?;
        let _masks: [u8; 6] = reader.array()?;
        let [units, base, modifier] = reader.array()?;
        let conversion = if record == FULL {
            let conversion = Conversion::decode(units, reader.array()?);
            let _limits: [u8; 16] = reader.array()?;
            let _oem = reader.byte()?;
            conversion
        } else {
            let _sharing_and_hysteresis: [u8; 7] = reader.array()?;
            let _oem = reader.byte()?;
            None
        };
        let head = reader.byte().unwrap_or(0);
        let rest = reader.rest();
        let name = decode_text(head, rest.get(..usize::from(head & 0x1f)).unwrap_or(rest));
        let unit_name = unit_name(units, base, modifier);
        Ok(Some(Self { id, owner, unit: unit & 0x03, number, name, kind, event, conversion, unit_name }))
    }

    /// Whether the sensor compares its number with thresholds.
    #[must_use]
    pub fn has_thresholds(&self) -> bool {
        self.event == THRESHOLD && self.conversion.is_some()
    }
}

/// Its name, or its kind and number.
impl fmt::Display for SensorRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(f, "{} #{:#04x}", SensorType::from(self.kind), self.number)
        } else {
            f.write_str(&self.name)
        }
    }
}

/// What a number counts (table 43-15): the shortest usual sign, or a word.
fn base_name(code: u8) -> &'static str {
    const NAMES: [&str; 35] = [
        "", "°C", "°F", "K", "V", "A", "W", "J", "C", "VA", "nt", "lm", "lx", "cd", "kPa", "psi", "N", "cfm",
        "rpm", "Hz", "µs", "ms", "s", "min", "h", "d", "weeks", "mil", "in", "ft", "in³", "ft³", "mm", "cm",
        "m",
    ];
    const MORE: [(u8, &str); 22] = [
        (40, "l"),
        (42, "rad"),
        (43, "sr"),
        (44, "revolutions"),
        (45, "cycles"),
        (46, "gravities"),
        (55, "H"),
        (56, "mH"),
        (58, "µF"),
        (59, "Ω"),
        (65, "dB"),
        (66, "dBA"),
        (67, "dBC"),
        (68, "Gy"),
        (69, "Sv"),
        (70, "color temp °K"),
        (71, "bit"),
        (72, "kbit"),
        (73, "Mbit"),
        (74, "Gbit"),
        (75, "B"),
        (76, "kB"),
    ];
    let more = || MORE.iter().find(|(it, _)| *it == code).map_or("", |(_, name)| name);
    NAMES.get(usize::from(code)).copied().unwrap_or_else(more)
}

fn unit_name(units: u8, base: u8, modifier: u8) -> String {
    let percent = if units & 1 != 0 { "%" } else { "" };
    let rate = match units >> 3 & 0x07 {
        1 => "/µs",
        2 => "/ms",
        3 => "/s",
        4 => "/min",
        5 => "/h",
        6 => "/d",
        _ => "",
    };
    let (base, second) = (base_name(base), base_name(modifier));
    let joined = match units >> 1 & 0x03 {
        1 => format!("{base}/{second}"),
        2 => format!("{base}·{second}"),
        _ => base.to_owned(),
    };
    format!("{percent}{joined}{rate}")
}

impl Session {
    /// Reads the records of all sensors that can be asked. A big BMC has some hundred, of three requests
    /// each.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn sensors(&self) -> Result<Vec<SensorRecord>, Error> {
        let mut reading = Reading { reservation: 0, chunk: CHUNK_BYTES };
        let (mut sensors, mut id) = (Vec::new(), FIRST);
        for _ in 0..RECORDS_MAX {
            let (next, bytes) = match self.record_bytes(&mut reading, id).await {
                Err(error) if error.completion() == Some(NOT_PRESENT) && id == FIRST => break,
                other => other?,
            };
            match SensorRecord::decode(&bytes) {
                Ok(sensor) => sensors.extend(sensor),
                Err(error) => {
                    tracing::debug!(address = %self.address(), id, %error, "a sensor's record is left out")
                }
            }
            if next == LAST || next == id {
                break;
            }
            id = next;
        }
        Ok(sensors)
    }

    /// Reads a record in pieces, under a reservation; if that is lost, once more from the record's begin.
    async fn record_bytes(&self, reading: &mut Reading, id: u16) -> Result<(u16, Vec<u8>), Error> {
        let mut lost = 0;
        loop {
            match self.record_pieces(reading, id).await {
                Err(error)
                    if error.completion() == Some(RESERVATION_CANCELLED) && lost < RESERVATIONS_MAX =>
                {
                    lost += 1;
                    reading.reservation = self.reserve_sdr().await?;
                }
                other => return other,
            }
        }
    }

    async fn record_pieces(&self, reading: &mut Reading, id: u16) -> Result<(u16, Vec<u8>), Error> {
        // The first one needs no reservation; a BMC that wants it all the same says that it was lost.
        let (next, mut bytes) = self.record_piece(reading, id, 0, HEADER_BYTES).await?;
        let length = usize::from(bytes.get(4).copied().unwrap_or(0)) + usize::from(HEADER_BYTES);
        if length > bytes.len() && reading.reservation == 0 {
            reading.reservation = self.reserve_sdr().await?;
        }
        while bytes.len() < length {
            let left = u8::try_from(length - bytes.len()).unwrap_or(u8::MAX);
            let at = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
            match self.record_piece(reading, id, at, left.min(reading.chunk)).await {
                Err(error)
                    if reading.chunk > CHUNK_BYTES_MIN
                        && error.completion().is_some_and(|it| TOO_MUCH.contains(&it)) =>
                {
                    reading.chunk /= 2;
                }
                Err(error) => return Err(error),
                Ok((_, piece)) if piece.is_empty() => break, // Less than it said.
                Ok((_, piece)) => bytes.extend(piece),
            }
        }
        bytes.truncate(length);
        Ok((next, bytes))
    }

    async fn record_piece(
        &self,
        reading: &Reading,
        id: u16,
        at: u8,
        count: u8,
    ) -> Result<(u16, Vec<u8>), Error> {
        let command = GetPiece { reservation: reading.reservation, id, at, count };
        self.ask(GET, command, Repeat::WhenSilent).await
    }

    /// A BMC without reservations takes 0 for one.
    async fn reserve_sdr(&self) -> Result<u16, Error> {
        match self.ask("reserve SDR repository", Reserve, Repeat::WhenSilent).await {
            Err(error) if error.cause() == crate::Cause::Unsupported => Ok(0),
            other => other,
        }
    }
}

/// What is learned of a BMC while its records are read.
struct Reading {
    reservation: u16,
    chunk: u8,
}

struct Reserve;
request!(Reserve, Storage, 0x22, |_it| Vec::new());

impl IpmiCommand for Reserve {
    type Output = u16;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<u16, NotEnoughData> {
        data.first_chunk().map(|it| u16::from_le_bytes(*it)).ok_or(NotEnoughData)
    }
}

struct GetPiece {
    reservation: u16,
    id: u16,
    at: u8,
    count: u8,
}
request!(GetPiece, Storage, 0x23, |it| {
    [&it.reservation.to_le_bytes()[..], &it.id.to_le_bytes(), &[it.at, it.count]].concat()
});

impl IpmiCommand for GetPiece {
    type Output = (u16, Vec<u8>);
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<(u16, Vec<u8>), NotEnoughData> {
        let (next, bytes) = data.split_first_chunk().ok_or(NotEnoughData)?;
        Ok((u16::from_le_bytes(*next), bytes.to_vec()))
    }
}

#[cfg(test)]
pub(super) mod tests;
