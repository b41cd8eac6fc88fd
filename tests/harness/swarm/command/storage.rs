//! Event log, sensors' records and readings, inventory data (sections 31, 33 to 35).

use super::super::bmc::Bmc;
use super::super::store::Record;
use super::{Answer, NO_SUCH_COMMAND, NOT_THERE, OUT_OF_RANGE, SENSOR, STORAGE, WRONG_LENGTH};

/// The version of both repositories, as BCD backwards.
const VERSION: u8 = 0x51;
/// "Reservation cancelled or invalid".
const NO_RESERVATION: u8 = 0xc5;
const LAST: u16 = 0xffff;
/// Clear SEL: the word that confirms it, and what it answers when it is done.
const CONFIRMED: &[u8] = b"CLR";
const ERASED: u8 = 0x01;

pub(super) fn answer(bmc: &mut Bmc, netfn: u8, command: u8, data: &[u8]) -> Answer {
    match (netfn, command) {
        (SENSOR, 0x2d) => reading(bmc, data),
        (SENSOR, 0x27) => thresholds(bmc, data),
        (STORAGE, 0x10) => {
            of_fru(data)?;
            let size = bmc.store.fru().len() as u16;
            Ok([size.to_le_bytes().as_slice(), &[0]].concat())
        }
        (STORAGE, 0x11) => read_fru(bmc, data),
        (STORAGE, 0x20) => {
            let count = bmc.store.sdr().len() as u16;
            let [low, high] = count.to_le_bytes();
            Ok(vec![VERSION, low, high, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02])
        }
        (STORAGE, 0x22 | 0x42) => Ok(bmc.store.reserve().to_le_bytes().to_vec()),
        (STORAGE, 0x23) => {
            let records = bmc.store.sdr();
            read_record(&records, data, bmc.store.reservation)
        }
        (STORAGE, 0x40) => {
            let count = bmc.store.sel().len() as u16;
            let [low, high] = count.to_le_bytes();
            let time = bmc.store.time_s.to_le_bytes();
            Ok([[VERSION, low, high, 0x00, 0x20].as_slice(), &time, &time, &[0x02]].concat())
        }
        (STORAGE, 0x43) => {
            let records = bmc.store.sel();
            read_record(&records, data, bmc.store.reservation)
        }
        (STORAGE, 0x47) => clear(bmc, data),
        (STORAGE, 0x48) => Ok(bmc.store.time_s.to_le_bytes().to_vec()),
        (STORAGE, 0x49) => {
            bmc.store.time_s = data.first_chunk().map(|it| u32::from_le_bytes(*it)).ok_or(WRONG_LENGTH)?;
            Ok(Vec::new())
        }
        _ => Err(NO_SUCH_COMMAND),
    }
}

/// Reservation, record, offset, count: the next record's number, and as much as was asked for.
fn read_record(records: &[Record], data: &[u8], reserved: u16) -> Answer {
    let [r0, r1, i0, i1, offset, count] = *data else { return Err(WRONG_LENGTH) };
    let (reservation, id) = (u16::from_le_bytes([r0, r1]), u16::from_le_bytes([i0, i1]));
    if offset != 0 && reservation != reserved {
        return Err(NO_RESERVATION);
    }
    let at = match id {
        0 => 0,
        LAST => records.len().checked_sub(1).ok_or(NOT_THERE)?,
        id => records.iter().position(|it| it.id == id).ok_or(NOT_THERE)?,
    };
    let record = records.get(at).ok_or(NOT_THERE)?;
    let next = records.get(at + 1).map_or(LAST, |it| it.id);
    let rest = record.bytes.get(usize::from(offset)..).ok_or(OUT_OF_RANGE)?;
    let part = &rest[..rest.len().min(usize::from(count))];
    Ok([next.to_le_bytes().as_slice(), part].concat())
}

fn clear(bmc: &mut Bmc, data: &[u8]) -> Answer {
    let [r0, r1, word @ .., what] = data else { return Err(WRONG_LENGTH) };
    if word != CONFIRMED {
        return Err(super::INVALID_FIELD);
    }
    if u16::from_le_bytes([*r0, *r1]) != bmc.store.reservation {
        return Err(NO_RESERVATION);
    }
    // 0 asks how far it is.
    if *what == 0xaa {
        bmc.store.sel_cleared = true;
    }
    Ok(vec![ERASED])
}

fn of_fru(data: &[u8]) -> Result<(), u8> {
    match data {
        [0, ..] => Ok(()),
        [_, ..] => Err(NOT_THERE),
        [] => Err(WRONG_LENGTH),
    }
}

fn read_fru(bmc: &Bmc, data: &[u8]) -> Answer {
    of_fru(data)?;
    let [_, low, high, count] = *data else { return Err(WRONG_LENGTH) };
    let fru = bmc.store.fru();
    let rest = fru.get(usize::from(u16::from_le_bytes([low, high]))..).ok_or(OUT_OF_RANGE)?;
    let part = &rest[..rest.len().min(usize::from(count))];
    Ok([&[part.len() as u8], part].concat())
}

/// Reading, scanning and events enabled, states.
fn reading(bmc: &Bmc, data: &[u8]) -> Answer {
    let [number, ..] = data else { return Err(WRONG_LENGTH) };
    let (reading, states) = bmc.store.reading(*number, bmc.chassis.is_on()).ok_or(NOT_THERE)?;
    Ok(vec![reading, 0xc0, states, 0x80])
}

fn thresholds(bmc: &Bmc, data: &[u8]) -> Answer {
    let [number, ..] = data else { return Err(WRONG_LENGTH) };
    bmc.store.thresholds(*number).map(|it| it.to_vec()).ok_or(NOT_THERE)
}
