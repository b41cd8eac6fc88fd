#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;

/// A full record: temperature, degrees Celsius, unsigned, times one.
pub(crate) fn full(name: &[u8], units: u8, conversion: [u8; 7]) -> Vec<u8> {
    let mut body = vec![0x20, 0, 0x30, 3, 1, 0x7f, 0x68, 0x01, 0x01];
    body.extend([0; 6]);
    body.extend([units, 1, 0]);
    body.extend(conversion);
    body.extend([0; 17]);
    body.push(0xc0 | u8::try_from(name.len()).unwrap());
    body.extend(name);
    [&[7, 0, 0x51, FULL, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

fn conversion(units: u8, bytes: [u8; 7]) -> Conversion {
    Conversion::decode(units, bytes).unwrap()
}

#[test]
fn a_full_record_is_read() {
    let record = SensorRecord::decode(&full(b"CPU Temp", 0, [0, 1, 0, 0, 0, 0, 0])).unwrap().unwrap();
    assert_eq!((record.id, record.number, record.owner), (7, 0x30, 0x20));
    assert_eq!((record.name.as_str(), record.unit_name.as_str()), ("CPU Temp", "°C"));
    assert!(record.has_thresholds());
    assert_eq!(record.conversion.unwrap().convert(42), Some(42.0));
}

#[test]
fn a_compact_record_has_states_and_no_number() {
    let mut body = vec![0x20, 0, 0x31, 3, 1, 0x7f, 0x68, 0x08, 0x6f];
    body.extend([0; 9]);
    body.extend([0; 8]);
    body.extend([0xc3, b'P', b'S', b'1']);
    let bytes = [&[8, 0, 0x51, COMPACT, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
    let record = SensorRecord::decode(&bytes).unwrap().unwrap();
    assert_eq!((record.name.as_str(), record.conversion, record.event), ("PS1", None, 0x6f));
    assert!(SensorRecord::decode(&bytes[..20]).is_err());
    let locator = [9, 0, 0x51, 0x11, 0];
    assert_eq!(SensorRecord::decode(&locator), Ok(None));
}

#[test]
fn numbers_are_made_as_the_specification_says() {
    // M = 25, result exponent -2: a voltage of 0.25 steps per ten.
    assert_eq!(conversion(0, [0, 25, 0, 0, 0, 0, 0xe0]).convert(48), Some(12.0));
    // M = -1 has all ten bits set; B = 100.
    assert_eq!(conversion(0, [0, 0xff, 0xc0, 100, 0, 0, 0]).convert(30), Some(70.0));
    // B = 5 with exponent 2.
    assert_eq!(conversion(0, [0, 1, 0, 5, 0, 0, 0x02]).convert(1), Some(501.0));
    assert_eq!(conversion(0x80, [0, 1, 0, 0, 0, 0, 0]).convert(0xfe), Some(-2.0), "two's complement");
    assert_eq!(conversion(0x40, [0, 1, 0, 0, 0, 0, 0]).convert(0xfe), Some(-1.0), "one's complement");
    assert_eq!(conversion(0x40, [0, 1, 0, 0, 0, 0, 0]).convert(0xff), Some(0.0));
    assert_eq!(conversion(0, [8, 1, 0, 0, 0, 0, 0]).convert(7), Some(49.0), "squares");
    assert_eq!(conversion(0, [7, 1, 0, 0, 0, 0, 0]).convert(0), None, "nothing divided by zero");
    assert_eq!(Conversion::decode(0xc0, [0; 7]), None, "no number at all");
    assert_eq!(Conversion::decode(0, [0x70, 0, 0, 0, 0, 0, 0]), None, "not on a line");
}

#[test]
fn units_are_joined_as_the_record_says() {
    assert_eq!(unit_name(0, 18, 0), "rpm");
    assert_eq!(unit_name(1, 0, 0), "%");
    assert_eq!(unit_name(0b0000_0100, 6, 24), "W·h");
    assert_eq!(unit_name(0b0001_1000, 75, 0), "B/s");
    assert_eq!(unit_name(0, 200, 0), "");
}
