//! What a BMC holds beside power and console: event log, sensors' records, inventory data. Small, and true to the
//! specification: IPMI 2.0 sections 32 and 43, and "Platform Management FRU Information Storage Definition" 1.3.

use std::time::{SystemTime, UNIX_EPOCH};

/// The BMC's own address.
const BMC: u8 = 0x20;
/// Text of eight bits: the type in the two upper bits, the length below.
const TEXT: u8 = 0xc0;
/// The end of an area's fields.
const END: u8 = 0xc1;
/// English.
const LANGUAGE: u8 = 25;
/// The event log's entries are that much older than the swarm.
const LOG_AGE_S: u32 = 3600;

/// A record of the event log or of the sensors, header included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: u16,
    pub(super) bytes: Vec<u8>,
}

/// One BMC's.
#[derive(Debug)]
pub(super) struct Store {
    number: u32,
    /// The clock of its event log.
    pub(super) time_s: u32,
    pub(super) reservation: u16,
    pub(super) sel_cleared: bool,
    /// The console's, as section 26 numbers them: 115,200.
    pub(super) bit_rate: u8,
    /// DCMI's power limit as it was set.
    pub(super) limit: [u8; 11],
    pub(super) limit_active: bool,
}

/// An analogue sensor: number, type, base unit, factor, exponent of ten, upper non-critical and critical, name.
type Sensor = (u8, u8, u8, u8, i8, [u8; 2], &'static str);
const SENSORS: [Sensor; 3] = [
    (1, 0x01, 1, 1, 0, [85, 95], "CPU Temp"),
    (2, 0x04, 18, 100, 0, [180, 200], "Fan 1"),
    (3, 0x02, 4, 6, -2, [210, 220], "12V"),
];
/// A power supply that is there.
const SUPPLY: u8 = 4;

impl Store {
    pub(super) fn new(number: u32) -> Self {
        let time_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs() as u32);
        let (reservation, sel_cleared, bit_rate) = (0, false, 0x0a);
        Self { number, time_s, reservation, sel_cleared, bit_rate, limit: [0; 11], limit_active: false }
    }

    pub(super) fn reserve(&mut self) -> u16 {
        self.reservation = self.reservation.wrapping_add(1).max(1);
        self.reservation
    }

    /// Table 32-1: the log was cleared; the node was switched on; it was too hot.
    pub(super) fn sel(&self) -> Vec<Record> {
        let cleared = (0x10, 0x00, 0x6f, [0x02, 0xff, 0xff]);
        let entries = [cleared, (0x09, 0x00, 0x6f, [0x00, 0xff, 0xff]), (0x01, 0x01, 0x01, [0x57, 86, 85])];
        let count = if self.sel_cleared { 1 } else { entries.len() };
        let record = |(id, (kind, sensor, event, data)): (u16, (u8, u8, u8, [u8; 3]))| {
            let time = self.time_s.saturating_sub(LOG_AGE_S) + u32::from(id);
            let bytes: [&[u8]; 5] = [
                &id.to_le_bytes(),
                &[0x02],
                &time.to_le_bytes(),
                &[BMC, 0x00, 0x04, kind, sensor, event],
                &data,
            ];
            Record { id, bytes: bytes.concat() }
        };
        (1..).zip(entries).take(count).map(record).collect()
    }

    pub(super) fn sdr(&self) -> Vec<Record> {
        let bodies = SENSORS.iter().map(|it| (0x01, full(it)));
        let others = [(0x02, compact()), (0x11, fru_locator()), (0x12, controller_locator())];
        let record = |(id, (kind, body)): (u16, (u8, Vec<u8>))| {
            let header = [id.to_le_bytes().as_slice(), &[0x51, kind, body.len() as u8]].concat();
            Record { id, bytes: [header, body].concat() }
        };
        (1..).zip(bodies.chain(others)).map(record).collect()
    }

    /// A sensor's reading and states.
    pub(super) fn reading(&self, sensor: u8, on: bool) -> Option<(u8, u8)> {
        match sensor {
            1 => Some(((if on { 40 } else { 22 }) + (self.number % 20) as u8, 0)),
            2 => Some((if on { 52 } else { 0 }, 0)),
            3 => Some((if on { 201 } else { 0 }, 0)),
            SUPPLY => Some((0, 0x01)),
            _ => None,
        }
    }

    /// Which are readable, and the six; unused ones are 0 (section 35.9).
    pub(super) fn thresholds(&self, sensor: u8) -> Option<[u8; 7]> {
        let (.., [warning, critical], _) = SENSORS.iter().find(|it| it.0 == sensor)?;
        Some([0x18, 0, 0, 0, *warning, *critical, 0])
    }

    /// Header, board and product.
    pub(super) fn fru(&self) -> Vec<u8> {
        let serial = format!("SW{:06}", self.number);
        // Minutes since 1996, 24 bits.
        let board = area(&[LANGUAGE, 0x80, 0x5c, 0xed], &["Pilothouse", "Swarm board", &serial, "PH-B1", ""]);
        let product = area(&[LANGUAGE], &["Pilothouse", "Swarm node", "PH-N1", "1.0", &serial, "", ""]);
        let at = 1 + (board.len() / 8) as u8;
        let mut header = vec![1, 0, 0, 1, at, 0, 0];
        header.push(checksum(&header));
        [header, board, product].concat()
    }
}

/// A full sensor record (table 43-1).
fn full((number, kind, unit, factor, exponent, upper, name): &Sensor) -> Vec<u8> {
    let [warning, critical] = *upper;
    let exponents = (*exponent as u8) << 4;
    let head = [BMC, 0, *number, 0x03, 1, 0x7f, 0x68, *kind, 0x01];
    // Upper non-critical and critical, going high: asserted, deasserted, readable.
    let masks = [0x80, 0x02, 0x80, 0x02, 0x18, 0x18];
    let units = [0x00, *unit, 0x00, 0x00];
    let formula = [*factor, 0, 0, 0, 0, exponents];
    let figures = [0x00, 0, 0, 0, 0xff, 0, 0, critical, warning, 0, 0, 0, 2, 2, 0, 0, 0];
    [&head[..], &masks, &units, &formula, &figures, &text(name)].concat()
}

/// A compact record (table 43-2) of a power supply's presence.
fn compact() -> Vec<u8> {
    let head = [BMC, 0, SUPPLY, 0x0a, 1, 0x67, 0x40, 0x08, 0x6f];
    let rest = [0xff, 0x07, 0xff, 0x07, 0xff, 0x07, 0xc0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    [&head[..], &rest, &text("PSU 1")].concat()
}

/// Where inventory data are (table 43-7): logical, the BMC's own, of the system board.
fn fru_locator() -> Vec<u8> {
    [&[BMC, 0x00, 0x80, 0x00, 0x00, 0x10, 0x00, 0x07, 0x01, 0x00][..], &text("Board")].concat()
}

/// Who the BMC is (table 43-8): it has sensors, records, log and inventory data.
fn controller_locator() -> Vec<u8> {
    [&[BMC, 0x00, 0x00, 0x8f, 0x00, 0x00, 0x00, 0x06, 0x01, 0x00][..], &text("BMC")].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[TEXT | text.len() as u8], text.as_bytes()].concat()
}

/// An area of inventory data: version, length in eights, what begins it, fields, check sum.
fn area(begin: &[u8], fields: &[&str]) -> Vec<u8> {
    let mut bytes = [&[1, 0][..], begin].concat();
    bytes.extend(fields.iter().flat_map(|it| text(it)));
    bytes.push(END);
    while !(bytes.len() + 1).is_multiple_of(8) {
        bytes.push(0);
    }
    bytes[1] = ((bytes.len() + 1) / 8) as u8;
    bytes.push(checksum(&bytes));
    bytes
}

/// With it all bytes add up to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, it| sum.wrapping_add(*it)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::{Store, checksum};

    #[test]
    fn records_have_the_lengths_of_their_tables() {
        let store = Store::new(7);
        for record in store.sdr() {
            assert_eq!(usize::from(record.bytes[4]) + 5, record.bytes.len());
        }
        let names = [(0, 48, "CPU Temp"), (3, 32, "PSU 1"), (4, 16, "Board"), (5, 16, "BMC")];
        for (at, before, name) in names {
            let bytes = &store.sdr()[at].bytes;
            assert_eq!(&bytes[before..], name.as_bytes(), "record {at}");
        }
        assert!(store.sel().iter().all(|it| it.bytes.len() == 16));
    }

    #[test]
    fn inventory_data_add_up() {
        let fru = Store::new(7).fru();
        assert_eq!(checksum(&fru[..8]), 0);
        let board = usize::from(fru[3]) * 8;
        let product = usize::from(fru[4]) * 8;
        assert_eq!((checksum(&fru[board..product]), checksum(&fru[product..])), (0, 0));
        assert!(fru.windows(8).any(|it| it == b"SW000007"));
    }
}
