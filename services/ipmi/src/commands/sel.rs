//! The system event log (sections 31.2 to 31.9, 32).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};
use ipmi_rs_core::storage::sdr::{SensorType, decode_event};
use ipmi_rs_core::storage::sel::{ClearSel, ErasureProgress, ReserveSel};
use tokio::time::sleep;

use super::request;
use crate::wire::{Reader, WireError};
use crate::{Error, Repeat, Session};

const FIRST: u16 = 0;
const LAST: u16 = 0xffff;
/// "Requested sensor, data or record not present": what a BMC says of the first entry of an empty log.
const NOT_PRESENT: u8 = 0xcb;
const RESERVATION_CANCELLED: u8 = 0xc5;
/// Times up to this are seconds since the BMC's start, not since 1970 (section 37.1).
const PRE_INIT_MAX: u32 = 0x2000_0000;
const UNSPECIFIED: u32 = u32::MAX;
/// How often it is asked whether the log is erased, and how long between.
const ERASE_ASKED_MAX: u32 = 100;
const ERASE_WAIT: Duration = Duration::from_millis(100);
/// Bit 7 of the direction marks the end of a condition.
const DEASSERTED: u8 = 0x80;
const CLEAR: &str = "clear SEL";
const GET: &str = "get SEL entry";

/// What there is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelInfo {
    /// How many entries.
    pub entries: u16,
    /// How many bytes are free; 0xffff for that or more.
    pub free_bytes: u16,
    /// When the last entry was added.
    pub added: SelTime,
    /// When it was last erased, in whole or in part.
    pub erased: SelTime,
    /// Whether entries were dropped for lack of space.
    pub overflow: bool,
}

/// When something was, by the BMC's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelTime {
    /// As a wall clock tells it.
    At(SystemTime),
    /// So long after the BMC's start, when it did not know the time.
    AfterStart(Duration),
    /// The BMC does not tell.
    Unknown,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelEntry {
    /// Its number; not always in order.
    pub id: u16,
    /// When it was added.
    pub time: SelTime,
    /// What it tells.
    pub event: SelEvent,
}

/// What an entry tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelEvent {
    /// Something that a sensor noticed.
    Sensor {
        /// Who noted it: a bus address, or an odd number for software.
        generator: u8,
        /// The kind of sensor, table 42-3.
        kind: u8,
        /// The sensor's number.
        number: u8,
        /// What kind of event it is, table 42-1.
        event: u8,
        /// Whether it has begun; otherwise it is over.
        asserted: bool,
        /// The event and two bytes that belong to it.
        data: [u8; 3],
    },
    /// A maker's own.
    Oem {
        /// The record's type.
        record: u8,
        /// The bytes after the record's type and, if there is one, its time.
        data: Vec<u8>,
    },
}

impl SelTime {
    fn from_raw(raw: u32) -> Self {
        let seconds = Duration::from_secs(u64::from(raw));
        match raw {
            0 | UNSPECIFIED => Self::Unknown,
            1..=PRE_INIT_MAX => Self::AfterStart(seconds),
            _ => UNIX_EPOCH.checked_add(seconds).map_or(Self::Unknown, Self::At),
        }
    }
}

impl SelEntry {
    /// Reads the 16 bytes of an entry.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (id, record) = (reader.word()?, reader.byte()?);
        let rest: [u8; 13] = reader.array()?;
        let mut reader = Reader::new(&rest);
        let oem = |data: &[u8]| SelEvent::Oem { record, data: data.to_vec() };
        let (time, event) = match record {
            0xe0..=0xff => (SelTime::Unknown, oem(&rest)),
            0xc0..=0xdf => (SelTime::from_raw(reader.long()?), oem(reader.rest())),
            _ => {
                let time = SelTime::from_raw(reader.long()?);
                let [generator, _channel, _revision, kind, number, direction] = reader.array()?;
                let (event, asserted) = (direction & !DEASSERTED, direction & DEASSERTED == 0);
                let data = reader.array()?;
                (time, SelEvent::Sensor { generator, kind, number, event, asserted, data })
            }
        };
        Ok(Self { id, time, event })
    }
}

/// What happened, in the words of the specification.
impl fmt::Display for SelEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event {
            SelEvent::Sensor { kind, number, event, asserted, data: [offset, ..], .. } => {
                let kind = SensorType::from(*kind);
                write!(f, "{kind} #{number:#04x}: ")?;
                decode_event(f, *event, kind, offset & 0x0f)?;
                f.write_str(if *asserted { " (begins)" } else { " (over)" })
            }
            SelEvent::Oem { record, data } => {
                write!(f, "a record of the maker's own ({record:#04x}):")?;
                data.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
        }
    }
}

impl Session {
    /// Asks how full the log is.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn sel_info(&self) -> Result<SelInfo, Error> {
        self.ask("get SEL info", GetInfo, Repeat::WhenSilent).await
    }

    /// Reads the log, from the oldest entry on; at most so many entries.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn sel_entries(&self, most: usize) -> Result<Vec<SelEntry>, Error> {
        let (mut entries, mut id) = (Vec::new(), FIRST);
        while id != LAST && entries.len() < most {
            let (next, entry) = match self.ask(GET, GetEntry(id), Repeat::WhenSilent).await {
                Err(error) if error.completion() == Some(NOT_PRESENT) && id == FIRST => break,
                other => other?,
            };
            entries.push(entry);
            // A log that leads back to itself would never end.
            if next == id || next == FIRST {
                break;
            }
            id = next;
        }
        Ok(entries)
    }

    /// Erases the log, and waits until that is done.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; a timeout if the BMC erases for more than some ten seconds.
    pub async fn clear_sel(&self) -> Result<(), Error> {
        let mut reservation = self.reserve_sel().await?;
        let mut progress = self.ask(CLEAR, ClearSel::initiate(reservation), Repeat::Never).await;
        if progress.as_ref().is_err_and(|it| it.completion() == Some(RESERVATION_CANCELLED)) {
            reservation = self.reserve_sel().await?;
            progress = self.ask(CLEAR, ClearSel::initiate(reservation), Repeat::Never).await;
        }
        let mut progress = progress?;
        for _ in 0..ERASE_ASKED_MAX {
            if progress == ErasureProgress::Completed {
                return Ok(());
            }
            sleep(ERASE_WAIT).await;
            progress = self.ask(CLEAR, ClearSel::get_status(reservation), Repeat::WhenSilent).await?;
        }
        let waited = ERASE_WAIT * ERASE_ASKED_MAX;
        Err(Error::Timeout { step: CLEAR, address: self.address(), waited })
    }

    /// A BMC without reservations takes 0 for one.
    async fn reserve_sel(&self) -> Result<Option<std::num::NonZeroU16>, Error> {
        match self.ask("reserve SEL", ReserveSel, Repeat::WhenSilent).await {
            Ok(reservation) => Ok(Some(reservation)),
            Err(error) if error.cause() == crate::Cause::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct GetInfo;
request!(GetInfo, Storage, 0x40, |_it| Vec::new());

impl IpmiCommand for GetInfo {
    type Output = SelInfo;
    type Error = WireError;

    fn parse_success_response(data: &[u8]) -> Result<SelInfo, WireError> {
        let mut reader = Reader::new(data);
        let _version = reader.byte()?;
        let (entries, free_bytes) = (reader.word()?, reader.word()?);
        let (added, erased) = (SelTime::from_raw(reader.long()?), SelTime::from_raw(reader.long()?));
        Ok(SelInfo { entries, free_bytes, added, erased, overflow: reader.byte()? & 0x80 != 0 })
    }
}

/// The whole entry: offset 0, all bytes.
struct GetEntry(u16);
request!(GetEntry, Storage, 0x43, |it| {
    let [low, high] = it.0.to_le_bytes();
    vec![0, 0, low, high, 0, 0xff]
});

impl IpmiCommand for GetEntry {
    type Output = (u16, SelEntry);
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<(u16, SelEntry), NotEnoughData> {
        let (next, entry) = data.split_first_chunk().ok_or(NotEnoughData)?;
        Ok((u16::from_le_bytes(*next), SelEntry::decode(entry).map_err(|_| NotEnoughData)?))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    const HOT: [u8; 16] = [3, 0, 2, 0, 0, 0, 0x60, 0x20, 0, 4, 1, 0x30, 0x01, 0x59, 0x62, 0x60];

    #[test]
    fn an_event_is_read_and_told() {
        let entry = SelEntry::decode(&HOT).unwrap();
        let expected = SelEvent::Sensor {
            generator: 0x20,
            kind: 1,
            number: 0x30,
            event: 1,
            asserted: true,
            data: [0x59, 0x62, 0x60],
        };
        assert_eq!((entry.id, &entry.event), (3, &expected));
        assert!(matches!(entry.time, SelTime::At(_)));
        let text = entry.to_string();
        assert!(text.starts_with("Temperature #0x30: ") && text.ends_with(" (begins)"), "{text}");
        assert_eq!(SelEntry::decode(&HOT[..15]), Err(WireError::Short));
    }

    #[test]
    fn records_of_the_maker_are_kept_as_they_are() {
        let mut timed = HOT;
        (timed[2], timed[5], timed[6]) = (0xc1, 0, 0);
        let entry = SelEntry::decode(&timed).unwrap();
        assert_eq!(entry.time, SelTime::Unknown);
        assert!(matches!(&entry.event, SelEvent::Oem { record: 0xc1, data } if data.len() == 9), "{entry:?}");
        timed[2] = 0xe0;
        let entry = SelEntry::decode(&timed).unwrap();
        assert!(matches!(&entry.event, SelEvent::Oem { data, .. } if data.len() == 13), "{entry:?}");
        assert!(entry.to_string().contains("0xe0"));
    }

    #[test]
    fn times_before_the_clock_was_set_are_since_the_start() {
        assert_eq!(SelTime::from_raw(90), SelTime::AfterStart(Duration::from_secs(90)));
        assert_eq!(SelTime::from_raw(u32::MAX), SelTime::Unknown);
    }

    #[test]
    fn the_information_is_read_also_with_bytes_after_it() {
        let data = [0x51, 2, 0, 0x10, 0x27, 0, 0, 0, 0x60, 0xff, 0xff, 0xff, 0xff, 0x82, 0];
        let info = GetInfo::parse_success_response(&data).unwrap();
        assert_eq!((info.entries, info.free_bytes, info.overflow), (2, 10_000, true));
        assert_eq!(info.erased, SelTime::Unknown);
        assert!(GetInfo::parse_success_response(&data[..13]).is_err());
    }
}
