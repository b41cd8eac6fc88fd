//! Payloads (section 24), and the settings of LAN and console (sections 23 and 26).

use super::super::bmc::Bmc;
use super::super::line::CHARACTERS_MAX;
use super::{Answer, CHANNEL, INVALID_FIELD, NO_SUCH_COMMAND, OUT_OF_RANGE, WRONG_LENGTH};

const SOL: u8 = 1;
const INSTANCE: u8 = 1;
/// Activate Payload: another session has it, or this one.
const ALREADY_ACTIVE: u8 = 0x80;
/// Deactivate Payload: nobody has it.
const NOT_ACTIVE: u8 = 0x80;
/// "Parameter not supported".
const NO_SUCH_PARAMETER: u8 = 0x80;
/// No VLAN.
const NO_VLAN: u16 = 0xffff;
/// The revision of parameters.
const REVISION: u8 = 0x11;

pub(super) fn answer(bmc: &mut Bmc, at: usize, command: u8, data: &[u8]) -> Answer {
    match command {
        0x48 => activate(bmc, at, data),
        0x49 => {
            of_sol(data)?;
            if bmc.line.owner().is_none() {
                return Err(NOT_ACTIVE);
            }
            bmc.line.release();
            bmc.seen.deactivations += 1;
            Ok(Vec::new())
        }
        // Activation status: one instance is possible; which are active.
        0x4a => {
            let [kind, ..] = data else { return Err(WRONG_LENGTH) };
            let active = *kind == SOL && bmc.line.owner().is_some();
            Ok(vec![INSTANCE, u8::from(active), 0])
        }
        0x4b => {
            of_sol(data)?;
            let owner = bmc.line.owner().unwrap_or(0);
            Ok([owner.to_le_bytes().as_slice(), &[INSTANCE, 0, 0, 0, 0, 0, 0, 0]].concat())
        }
        0x4c => Ok(Vec::new()),
        // Every user may use SOL; IPMI messages, SOL and the handshake are the channel's payloads; all are version 1.0.
        0x4d => Ok(vec![1 << SOL, 0, 0, 0]),
        0x4e => Ok(vec![0x03, 0, 0x3f, 0, 0, 0, 0, 0]),
        0x4f => Ok(vec![0x10]),
        _ => Err(NO_SUCH_COMMAND),
    }
}

fn of_sol(data: &[u8]) -> Result<(), u8> {
    match data {
        [SOL, instance, ..] if instance & 0x0f == INSTANCE => Ok(()),
        [_, _, ..] => Err(INVALID_FIELD),
        _ => Err(WRONG_LENGTH),
    }
}

fn activate(bmc: &mut Bmc, at: usize, data: &[u8]) -> Answer {
    of_sol(data)?;
    if bmc.line.owner().is_some() {
        return Err(ALREADY_ACTIVE);
    }
    bmc.line.activate(bmc.sessions[at].bmc_id);
    bmc.seen.activations += 1;
    let size = (CHARACTERS_MAX + 4) as u16;
    // The defect: sizes that cannot be.
    let (inbound, outbound) = if bmc.faults.solpayloadsize { (0, 0x4000) } else { (size, size) };
    let words = [0, 0, inbound, outbound, bmc.address.port(), NO_VLAN];
    Ok(words.into_iter().flat_map(u16::to_le_bytes).collect())
}

/// LAN's settings, to be read, and the console's.
pub(super) fn configuration(bmc: &mut Bmc, command: u8, data: &[u8]) -> Answer {
    let value = match (command, data) {
        (0x02, [_, parameter, ..]) => lan(bmc, *parameter)?,
        (0x21, [_, parameter, value, ..]) => {
            match parameter {
                5 | 6 => bmc.store.bit_rate = *value,
                0..=4 => {}
                _ => return Err(NO_SUCH_PARAMETER),
            }
            return Ok(Vec::new());
        }
        (0x22, [_, parameter, ..]) => console(bmc, *parameter)?,
        (0x02 | 0x21 | 0x22, _) => return Err(WRONG_LENGTH),
        (0x01, _) => return Err(OUT_OF_RANGE),
        _ => return Err(NO_SUCH_COMMAND),
    };
    Ok([vec![REVISION], value].concat())
}

fn lan(bmc: &Bmc, parameter: u8) -> Answer {
    let [_, high, middle, low] = bmc.number().to_be_bytes();
    Ok(match parameter {
        0 => vec![0],
        1 => vec![0x04],
        2 => vec![0x04; 5],
        3 => bmc.address.ip().octets().to_vec(),
        // Static.
        4 => vec![1],
        5 => vec![0x02, 0xf1, 0xbc, high, middle, low],
        6 => vec![255, 255, 0, 0],
        12 => vec![0; 4],
        13 => vec![0; 6],
        // No VLAN.
        20 => vec![0, 0],
        _ => return Err(NO_SUCH_PARAMETER),
    })
}

fn console(bmc: &Bmc, parameter: u8) -> Answer {
    let port = bmc.address.port().to_le_bytes();
    Ok(match parameter {
        0 => vec![0],
        // Enabled; encrypted and authenticated, for users.
        1 => vec![1],
        2 => vec![0xc2],
        // 60 ms, or 96 characters.
        3 => vec![12, 96],
        4 => vec![7, 50],
        5 | 6 => vec![bmc.store.bit_rate],
        7 => vec![CHANNEL],
        8 => port.to_vec(),
        _ => return Err(NO_SUCH_PARAMETER),
    })
}
