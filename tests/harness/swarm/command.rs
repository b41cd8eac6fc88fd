//! IPMI commands: which there are, who may use them, and those about the BMC itself and its sessions.

mod chassis;
mod payload;
mod storage;
mod users;

use std::time::Instant;

use ipmi::wire::Frame;

use super::bmc::Bmc;

/// Network functions (table 5-1).
const CHASSIS: u8 = 0x00;
const SENSOR: u8 = 0x04;
const APP: u8 = 0x06;
const STORAGE: u8 = 0x0a;
const TRANSPORT: u8 = 0x0c;
/// Extensions; DCMI's have its number before their data.
const GROUP: u8 = 0x2c;
const DCMI: u8 = 0xdc;
const CAPABILITIES: u8 = 0x38;
const CIPHER_SUITES: u8 = 0x54;
const CLOSE_SESSION: u8 = 0x3c;
/// The LAN channel.
const CHANNEL: u8 = 1;
const USER: u8 = 2;
const OPERATOR: u8 = 3;
const ADMINISTRATOR: u8 = 4;

/// Completion codes (table 5-2).
const NO_SUCH_COMMAND: u8 = 0xc1;
const WRONG_LENGTH: u8 = 0xc7;
const OUT_OF_RANGE: u8 = 0xc9;
const NOT_THERE: u8 = 0xcb;
const INVALID_FIELD: u8 = 0xcc;
const TOO_LITTLE_PRIVILEGE: u8 = 0xd4;

/// The data of an answer, or a completion code other than success.
type Answer = Result<Vec<u8>, u8>;

/// Answers what may be asked outside of a session.
pub(super) fn answer_outside(bmc: &Bmc, request: &Frame) -> Option<Vec<u8>> {
    let (netfn, command, data) = (request.message.netfn_raw(), request.message.cmd(), request.message.data());
    match (netfn, command) {
        (APP, CAPABILITIES) => Some(finish(capabilities(bmc, data))),
        (APP, CIPHER_SUITES) => Some(finish(cipher_suites(bmc, data))),
        (APP, 0x37) => Some(finish(Ok(bmc.guid.to_vec()))),
        _ => None,
    }
}

/// Answers a request of session `at`, completion code first.
pub(super) fn answer(bmc: &mut Bmc, at: usize, request: &Frame, now: Instant) -> Vec<u8> {
    let (netfn, command, data) = (request.message.netfn_raw(), request.message.cmd(), request.message.data());
    if bmc.sessions[at].privilege < privilege(netfn, command) {
        return vec![TOO_LITTLE_PRIVILEGE];
    }
    let answer = match netfn {
        CHASSIS => chassis::answer(bmc, command, data, now),
        APP => match command {
            0x43..=0x47 => users::answer(bmc, command, data),
            0x48..=0x4f => payload::answer(bmc, at, command, data),
            _ => about_itself(bmc, at, command, data),
        },
        SENSOR | STORAGE => storage::answer(bmc, netfn, command, data),
        TRANSPORT => payload::configuration(bmc, command, data),
        GROUP => chassis::answer_dcmi(bmc, command, data),
        _ => Err(NO_SUCH_COMMAND),
    };
    finish(answer)
}

/// What is done when the answer has left.
pub(super) fn after(bmc: &mut Bmc, id: u32, request: &Frame) {
    let is_close = (request.message.netfn_raw(), request.message.cmd()) == (APP, CLOSE_SESSION);
    let named = request.message.data().first_chunk().map(|it| u32::from_le_bytes(*it));
    if is_close
        && let Some(named) = named
        && (named == id || named == 0)
    {
        bmc.sessions.retain(|it| it.bmc_id != id);
        bmc.seen.closed += 1;
        bmc.forget(id);
    }
}

fn finish(answer: Answer) -> Vec<u8> {
    match answer {
        Ok(mut data) => {
            data.insert(0, 0);
            data
        }
        Err(code) => vec![code],
    }
}

/// What a session must have (appendix G).
fn privilege(netfn: u8, command: u8) -> u8 {
    match (netfn, command) {
        (APP, 0x43 | 0x45 | 0x47 | 0x40 | 0x4c) | (TRANSPORT, 0x01 | 0x21) => ADMINISTRATOR,
        (CHASSIS, 0x02 | 0x04 | 0x06 | 0x08) | (STORAGE, 0x44 | 0x47 | 0x49 | 0x12) => OPERATOR,
        (APP, 0x44 | 0x46) | (TRANSPORT, 0x02) | (GROUP, 0x04 | 0x05) => OPERATOR,
        _ => USER,
    }
}

fn about_itself(bmc: &mut Bmc, at: usize, command: u8, data: &[u8]) -> Answer {
    match command {
        // Device 0x20, firmware 2.15, IPMI 2.0; sensors, records, log and inventory data are here (section 20.1).
        0x01 => Ok(vec![0x20, 0x81, 0x02, 0x15, 0x02, 0x8f, 0x57, 0x01, 0x00, 0x5a, 0x31, 0, 0, 0, 0]),
        // All well (section 20.4).
        0x04 => Ok(vec![0x55, 0x00]),
        0x08 | 0x37 => Ok(bmc.guid.to_vec()),
        CAPABILITIES => capabilities(bmc, data),
        0x3b => {
            let session = &mut bmc.sessions[at];
            let [asked, ..] = data else { return Err(WRONG_LENGTH) };
            match asked & 0x0f {
                0 => {}
                level @ USER..=ADMINISTRATOR if level <= session.privilege_max => session.privilege = level,
                USER..=ADMINISTRATOR => return Err(0x81),
                _ => return Err(INVALID_FIELD),
            }
            Ok(vec![session.privilege])
        }
        CLOSE_SESSION => {
            let id = data.first_chunk().map(|it| u32::from_le_bytes(*it)).ok_or(WRONG_LENGTH)?;
            let known = id == bmc.sessions[at].bmc_id || id == 0;
            // "Invalid session id in request" (section 22.19); another's session is not ours to close.
            if known { Ok(Vec::new()) } else { Err(0x87) }
        }
        // Session info (section 22.20): handle, possible, active, user, privilege, channel.
        0x3d => {
            let (count, privilege) = (bmc.sessions.len() as u8, bmc.sessions[at].privilege);
            let possible = bmc.settings.sessions_max as u8;
            Ok(vec![at as u8 + 1, possible & 0x3f, count & 0x3f, 2, privilege, 0x10 | CHANNEL])
        }
        // Channel access: always available, administrators; channel info: 802.3 LAN, IPMB, multi-session.
        0x41 => Ok(vec![0x02, ADMINISTRATOR]),
        0x42 => Ok(vec![CHANNEL, 0x04, 0x01, 0x80 | (bmc.sessions.len() as u8 & 0x3f), 0xf2, 0x1b, 0, 0, 0]),
        CIPHER_SUITES => cipher_suites(bmc, data),
        _ => Err(NO_SUCH_COMMAND),
    }
}

/// Section 22.13. Sessions of IPMI 2.0 alone, of users with names.
fn capabilities(bmc: &Bmc, data: &[u8]) -> Answer {
    let [channel, _level, ..] = data else { return Err(WRONG_LENGTH) };
    let extended = if channel & 0x80 == 0 { 0x00 } else { 0x80 };
    let kg = if bmc.settings.kg.is_some() { 0x20 } else { 0x00 };
    // The defect: a key Kg, and none but the anonymous user.
    let status = if bmc.faults.authcap { 0x21 } else { 0x04 | kg };
    Ok(vec![CHANNEL, extended, status, 0x02, 0, 0, 0, 0])
}

/// Section 22.15: the records of our suites, 16 bytes an answer.
fn cipher_suites(bmc: &Bmc, data: &[u8]) -> Answer {
    let [_channel, _payload, index, ..] = data else { return Err(WRONG_LENGTH) };
    let record = |it: &ipmi::CipherSuite| {
        let [authentication, integrity, confidentiality] = it.algorithms();
        [0xc0, it.id(), authentication, 0x40 | integrity, 0x80 | confidentiality]
    };
    let records: Vec<u8> = bmc.settings.suites.iter().flat_map(record).collect();
    let mut answer = vec![CHANNEL];
    answer.extend(records.iter().skip(usize::from(index & 0x3f) * 16).take(16));
    Ok(answer)
}
