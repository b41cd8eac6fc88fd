//! Accounts (sections 22.26 to 22.30).

use super::super::bmc::Bmc;
use super::{Answer, INVALID_FIELD, OUT_OF_RANGE, WRONG_LENGTH};

const NAME_BYTES: usize = 16;
/// Set User Password: what to do.
const DISABLE: u8 = 0;
const ENABLE: u8 = 1;
const SET: u8 = 2;
const TEST: u8 = 3;
/// A test that fails: another password, or one of another length.
const OTHER_PASSWORD: u8 = 0x80;
const OTHER_LENGTH: u8 = 0x81;
/// The account may open sessions by LAN.
const LAN_ACCESS: u8 = 0x30;

pub(super) fn answer(bmc: &mut Bmc, command: u8, data: &[u8]) -> Answer {
    match (command, data) {
        // Access: channel, user, limit.
        (0x43, [_, user, limit, ..]) => {
            find(bmc, *user)?.privilege = limit & 0x0f;
            Ok(Vec::new())
        }
        (0x44, [_, user, ..]) => {
            let (count, enabled) =
                (bmc.users.len() as u8, bmc.users.iter().filter(|it| it.enabled).count() as u8);
            let user = find(bmc, *user)?;
            let access = if user.enabled { LAN_ACCESS | user.privilege } else { 0x0f };
            let status = if user.enabled { 0x40 } else { 0x80 };
            Ok(vec![count, status | enabled, 0, access])
        }
        (0x45, [user, name @ ..]) => {
            let name = name.get(..NAME_BYTES).ok_or(WRONG_LENGTH)?;
            find(bmc, *user)?.name = name.iter().copied().take_while(|it| *it != 0).collect();
            Ok(Vec::new())
        }
        (0x46, [user, ..]) => {
            let mut name = find(bmc, *user)?.name.clone();
            name.resize(NAME_BYTES, 0);
            Ok(name)
        }
        (0x47, [user, what, password @ ..]) => change_password(bmc, *user, *what, password),
        _ => Err(WRONG_LENGTH),
    }
}

fn change_password(bmc: &mut Bmc, user: u8, what: u8, password: &[u8]) -> Answer {
    let length = if user & 0x80 == 0 { 16 } else { 20 };
    let user = find(bmc, user)?;
    let given = password.get(..length).map(|it| it.split(|it| *it == 0).next().unwrap_or_default().to_vec());
    match what & 0x03 {
        DISABLE => user.enabled = false,
        ENABLE => user.enabled = true,
        SET => user.password = given.ok_or(WRONG_LENGTH)?,
        TEST => {
            let given = given.ok_or(WRONG_LENGTH)?;
            if user.password.len() > length {
                return Err(OTHER_LENGTH);
            }
            if user.password != given {
                return Err(OTHER_PASSWORD);
            }
        }
        _ => return Err(INVALID_FIELD),
    }
    Ok(Vec::new())
}

fn find(bmc: &mut Bmc, number: u8) -> Result<&mut super::super::bmc::User, u8> {
    let at = usize::from(number & 0x3f).checked_sub(1).ok_or(INVALID_FIELD)?;
    bmc.users.get_mut(at).ok_or(OUT_OF_RANGE)
}
