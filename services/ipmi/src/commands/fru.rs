//! What a field-replaceable unit says it is (section 34; Platform Management FRU Information Storage 1.0).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};

use super::request;
use super::text::decode_text;
use crate::wire::{Reader, WireError};
use crate::{Error, Repeat, Session};

/// Sizes and offsets are counted in these.
const UNIT_BYTES: usize = 8;
/// A byte with this value ends an area's fields.
const END_OF_FIELDS: u8 = 0xc1;
/// Most that is read; real inventories have some hundred bytes.
const INVENTORY_BYTES_MAX: u16 = 8192;
/// What every BMC returns at once.
const READ_BYTES: u8 = 16;
/// 1996-01-01 00:00 UTC, from which board dates are counted in minutes.
const BOARD_EPOCH: Duration = Duration::from_secs(820_454_400);
/// More fields than any area has.
const FIELDS_MAX: usize = 64;

/// The inventory of one unit. What it does not hold, or holds damaged, is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fru {
    /// The housing.
    pub chassis: Option<ChassisArea>,
    /// The board.
    pub board: Option<BoardArea>,
    /// What it was sold as.
    pub product: Option<ProductArea>,
}

/// The housing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChassisArea {
    /// The kind, by SMBIOS's numbers.
    pub kind: u8,
    /// The part's number.
    pub part: String,
    /// The serial number.
    pub serial: String,
    /// Fields of the maker's own.
    pub more: Vec<String>,
}

/// The board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoardArea {
    /// When it was made, if it says so.
    pub made: Option<SystemTime>,
    /// Who made it.
    pub maker: String,
    /// Its name.
    pub name: String,
    /// The serial number.
    pub serial: String,
    /// The part's number.
    pub part: String,
    /// Fields of the maker's own.
    pub more: Vec<String>,
}

/// What it was sold as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductArea {
    /// Who made it.
    pub maker: String,
    /// Its name.
    pub name: String,
    /// The part or model number.
    pub part: String,
    /// The version.
    pub version: String,
    /// The serial number.
    pub serial: String,
    /// The owner's number.
    pub asset: String,
    /// Fields of the maker's own.
    pub more: Vec<String>,
}

impl Fru {
    /// Reads an inventory.
    ///
    /// # Errors
    ///
    /// Its header is too short, of another version, or its check sum is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let header: &[u8; UNIT_BYTES] = bytes.first_chunk().ok_or(WireError::Short)?;
        check(header)?;
        let [version, _internal, chassis, board, product, ..] = *header;
        if version & 0x0f != 1 {
            return Err(WireError::Field("the inventory's version"));
        }
        let area = |offset: u8| area(bytes, offset).ok();
        Ok(Self {
            chassis: area(chassis).and_then(decode_chassis),
            board: area(board).and_then(decode_board),
            product: area(product).and_then(decode_product),
        })
    }
}

/// An area after its version and length, its check sum found right.
fn area(bytes: &[u8], offset: u8) -> Result<&[u8], WireError> {
    if offset == 0 {
        return Err(WireError::Field("the area's offset"));
    }
    let from = bytes.get(usize::from(offset) * UNIT_BYTES..).ok_or(WireError::Short)?;
    let units = *from.get(1).ok_or(WireError::Short)?;
    let area = from.get(..usize::from(units) * UNIT_BYTES).ok_or(WireError::Short)?;
    check(area)?;
    area.get(2..).ok_or(WireError::Short)
}

fn check(bytes: &[u8]) -> Result<(), WireError> {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if sum == 0 { Ok(()) } else { Err(WireError::Checksum) }
}

/// The fields from here on, up to their end or the area's.
fn fields(mut reader: Reader<'_>) -> Vec<String> {
    let mut fields = Vec::new();
    while let Ok(head) = reader.byte()
        && head != END_OF_FIELDS
        && fields.len() < FIELDS_MAX
        && let Ok(bytes) = reader.take(usize::from(head & 0x3f))
    {
        fields.push(decode_text(head, bytes));
    }
    fields
}

fn decode_chassis(area: &[u8]) -> Option<ChassisArea> {
    let mut reader = Reader::new(area);
    let kind = reader.byte().ok()?;
    let mut fields = fields(reader).into_iter();
    let mut next = || fields.next().unwrap_or_default();
    Some(ChassisArea { kind, part: next(), serial: next(), more: fields.collect() })
}

fn decode_board(area: &[u8]) -> Option<BoardArea> {
    let mut reader = Reader::new(area);
    let [_language, low, middle, high] = reader.array().ok()?;
    let minutes = u32::from_le_bytes([low, middle, high, 0]);
    let since = BOARD_EPOCH + Duration::from_secs(u64::from(minutes) * 60);
    let made = if minutes == 0 { None } else { UNIX_EPOCH.checked_add(since) };
    let mut fields = fields(reader).into_iter();
    let mut next = || fields.next().unwrap_or_default();
    let (maker, name, serial, part, _file) = (next(), next(), next(), next(), next());
    Some(BoardArea { made, maker, name, serial, part, more: fields.collect() })
}

fn decode_product(area: &[u8]) -> Option<ProductArea> {
    let mut reader = Reader::new(area);
    reader.byte().ok()?; // The language.
    let mut fields = fields(reader).into_iter();
    let mut next = || fields.next().unwrap_or_default();
    let (maker, name, part, version) = (next(), next(), next(), next());
    let (serial, asset, _file) = (next(), next(), next());
    Some(ProductArea { maker, name, part, version, serial, asset, more: fields.collect() })
}

impl Session {
    /// Reads a unit's inventory; unit 0 is the system that the BMC belongs to.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; 0xcb where there is no such unit.
    pub async fn fru(&self, unit: u8) -> Result<Fru, Error> {
        let bytes = self.fru_bytes(unit).await?;
        let (step, address) = ("read FRU", self.address());
        Fru::decode(&bytes).map_err(|it| Error::Protocol { step, address, reason: it.reason() })
    }

    /// The same as bytes.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn fru_bytes(&self, unit: u8) -> Result<Vec<u8>, Error> {
        let (size, by_words) = self.ask("get FRU size", GetSize(unit), Repeat::WhenSilent).await?;
        let (size, mut bytes) = (usize::from(size.min(INVENTORY_BYTES_MAX)), Vec::new());
        while bytes.len() < size {
            let left = u8::try_from(size - bytes.len()).unwrap_or(u8::MAX).min(READ_BYTES);
            let at = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            let read = if by_words {
                Read { unit, offset: at / 2, count: left.div_ceil(2) }
            } else {
                Read { unit, offset: at, count: left }
            };
            let part = self.ask("read FRU", read, Repeat::WhenSilent).await?;
            if part.is_empty() {
                break; // Less than it said.
            }
            bytes.extend(part);
        }
        bytes.truncate(size);
        Ok(bytes)
    }
}

struct GetSize(u8);
request!(GetSize, Storage, 0x10, |it| vec![it.0]);

impl IpmiCommand for GetSize {
    type Output = (u16, bool);
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<(u16, bool), NotEnoughData> {
        let ([low, high, access], _) = data.split_first_chunk().ok_or(NotEnoughData)?;
        Ok((u16::from_le_bytes([*low, *high]), access & 1 != 0))
    }
}

struct Read {
    unit: u8,
    offset: u16,
    count: u8,
}
request!(Read, Storage, 0x11, |it| {
    let [low, high] = it.offset.to_le_bytes();
    vec![it.unit, low, high, it.count]
});

impl IpmiCommand for Read {
    type Output = Vec<u8>;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<Vec<u8>, NotEnoughData> {
        data.split_first().map(|(_count, bytes)| bytes.to_vec()).ok_or(NotEnoughData)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
pub(crate) mod tests {
    use super::*;

    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.push(sum.wrapping_neg());
        bytes
    }

    fn an_area(head: &[u8], texts: &[&str]) -> Vec<u8> {
        let mut bytes = [&[1, 0], head].concat();
        for text in texts {
            bytes.push(0xc0 | u8::try_from(text.len()).unwrap());
            bytes.extend(text.bytes());
        }
        bytes.push(END_OF_FIELDS);
        bytes.resize((bytes.len() + 1).next_multiple_of(UNIT_BYTES) - 1, 0);
        bytes[1] = u8::try_from((bytes.len() + 1) / UNIT_BYTES).unwrap();
        sealed(bytes)
    }

    pub(crate) fn inventory() -> Vec<u8> {
        let chassis = an_area(&[23], &["CH-1", "S1"]);
        let board = an_area(&[25, 1, 0, 0], &["Maker", "Board", "S2", "P2", "", "more"]);
        let product = an_area(&[25], &["Maker", "Node 9", "M9", "v1", "S3", "rack 7"]);
        let at = |bytes: usize| u8::try_from(bytes / UNIT_BYTES).unwrap();
        let (second, third) = (1 + at(chassis.len()), 1 + at(chassis.len() + board.len()));
        [sealed(vec![1, 0, 1, second, third, 0, 0]), chassis, board, product].concat()
    }

    #[test]
    fn an_inventory_is_read() {
        let fru = Fru::decode(&inventory()).unwrap();
        let chassis = fru.chassis.unwrap();
        assert_eq!((chassis.kind, chassis.part.as_str(), chassis.serial.as_str()), (23, "CH-1", "S1"));
        let board = fru.board.unwrap();
        assert_eq!(
            (board.name.as_str(), board.part.as_str(), board.more),
            ("Board", "P2", vec!["more".into()])
        );
        assert_eq!(board.made, UNIX_EPOCH.checked_add(BOARD_EPOCH + Duration::from_secs(60)));
        let product = fru.product.unwrap();
        assert_eq!((product.name.as_str(), product.serial.as_str()), ("Node 9", "S3"));
        assert_eq!(product.asset, "rack 7");
    }

    #[test]
    fn a_damaged_area_does_not_take_the_others_with_it() {
        let mut bytes = inventory();
        bytes[12] ^= 1;
        let fru = Fru::decode(&bytes).unwrap();
        assert!(fru.chassis.is_none() && fru.board.is_some() && fru.product.is_some());
        bytes.truncate(40);
        assert!(Fru::decode(&bytes).unwrap().product.is_none());
        bytes[0] ^= 2;
        assert_eq!(Fru::decode(&bytes), Err(WireError::Checksum));
        assert_eq!(Fru::decode(&bytes[..7]), Err(WireError::Short));
    }
}
