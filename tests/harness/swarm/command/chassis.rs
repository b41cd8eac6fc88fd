//! Power, boot device, identification (section 28), and DCMI's power reading and limit (DCMI 1.5 section 6.6).

use std::time::Instant;

use super::super::bmc::Bmc;
use super::{Answer, DCMI, INVALID_FIELD, NO_SUCH_COMMAND, WRONG_LENGTH};

/// Boot parameters (table 28-14).
const BOOT_FLAGS: u8 = 5;
/// "Parameter not supported" (sections 28.12, 28.13); "no active set power limit" (DCMI, table 6-17).
const NO_SUCH_PARAMETER: u8 = 0x80;
const NO_LIMIT: u8 = 0x80;
/// What a node draws, W.
const WATTS_ON: u16 = 310;
const WATTS_OFF: u16 = 12;

pub(super) fn answer(bmc: &mut Bmc, command: u8, data: &[u8], now: Instant) -> Answer {
    match command {
        0x00 => Ok(vec![0x00, 0x20, 0x20, 0x20, 0x20]),
        0x01 => {
            bmc.seen.asked += 1;
            let on = bmc.chassis.is_on() || bmc.faults.says_on;
            Ok(bmc.chassis.status(on, now).to_vec())
        }
        0x02 => control(bmc, data, now),
        0x04 => {
            bmc.chassis.identify(data, now);
            Ok(Vec::new())
        }
        // Power restore policy: what is possible, all three.
        0x06 => match data {
            [policy @ 0..=2, ..] => {
                bmc.chassis.restore_policy = *policy;
                Ok(vec![0x07])
            }
            [3, ..] => Ok(vec![0x07]),
            [_, ..] => Err(INVALID_FIELD),
            [] => Err(WRONG_LENGTH),
        },
        // Restarted by a Chassis Control command.
        0x07 => Ok(vec![0x01, 0x01]),
        0x08 => set_boot_option(bmc, data),
        0x09 => boot_option(bmc, data),
        _ => Err(NO_SUCH_COMMAND),
    }
}

fn control(bmc: &mut Bmc, data: &[u8], now: Instant) -> Answer {
    let [operation, ..] = *data else { return Err(WRONG_LENGTH) };
    let count = match operation & 0x0f {
        0 => &mut bmc.seen.off,
        1 => &mut bmc.seen.on,
        2 => &mut bmc.seen.cycle,
        3 => &mut bmc.seen.reset,
        5 => &mut bmc.seen.soft,
        _ => return Err(INVALID_FIELD),
    };
    *count += 1;
    if bmc.faults.ignores_power {
        return Ok(Vec::new());
    }
    match bmc.chassis.control(operation, now) {
        0 => Ok(Vec::new()),
        code => Err(code),
    }
}

fn set_boot_option(bmc: &mut Bmc, data: &[u8]) -> Answer {
    let [parameter, value @ ..] = data else { return Err(WRONG_LENGTH) };
    match parameter & 0x7f {
        BOOT_FLAGS => {
            bmc.chassis.boot_flags = *value.first_chunk().ok_or(WRONG_LENGTH)?;
            Ok(Vec::new())
        }
        0..=4 => Ok(Vec::new()),
        _ => Err(NO_SUCH_PARAMETER),
    }
}

fn boot_option(bmc: &Bmc, data: &[u8]) -> Answer {
    let [parameter, ..] = data else { return Err(WRONG_LENGTH) };
    let value = match parameter & 0x7f {
        0 => vec![0],
        BOOT_FLAGS => bmc.chassis.boot_flags.to_vec(),
        _ => return Err(NO_SUCH_PARAMETER),
    };
    Ok([vec![0x01, *parameter], value].concat())
}

pub(super) fn answer_dcmi(bmc: &mut Bmc, command: u8, data: &[u8]) -> Answer {
    let [DCMI, rest @ ..] = data else { return Err(INVALID_FIELD) };
    let mut answer = match command {
        // Capabilities: DCMI 1.5; power management is there.
        0x01 => vec![0x01, 0x05, 0x02, 0x00, 0x01, 0x00],
        0x02 => reading(bmc),
        0x03 if !bmc.store.limit_active => return Err(NO_LIMIT),
        0x03 => [[0; 2].as_slice(), &bmc.store.limit[..]].concat(),
        0x04 => {
            let limit: &[u8; 14] = rest.first_chunk().ok_or(WRONG_LENGTH)?;
            bmc.store.limit.copy_from_slice(&limit[3..]);
            Vec::new()
        }
        0x05 => {
            let [active, ..] = rest else { return Err(WRONG_LENGTH) };
            bmc.store.limit_active = *active == 1;
            Vec::new()
        }
        _ => return Err(NO_SUCH_COMMAND),
    };
    answer.insert(0, DCMI);
    Ok(answer)
}

/// Current, least, most, average; time stamp and period of 1 s in ms; measured.
fn reading(bmc: &Bmc) -> Vec<u8> {
    let watts = if bmc.chassis.is_on() { WATTS_ON + (bmc.number() % 20) as u16 } else { WATTS_OFF };
    let figures = [watts, WATTS_OFF, WATTS_ON + 25, watts].into_iter().flat_map(u16::to_le_bytes);
    figures.chain([0; 4]).chain(1000_u32.to_le_bytes()).chain([0x40]).collect()
}
