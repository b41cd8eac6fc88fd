//! Malformed RMCP+: what a hostile or broken BMC might send.

use ipmi::wire::{Frame, OpenSessionResponse, PayloadType, Rakp2, Rakp4, SolPacket, encode_plus, encode_v15};
use ipmi::{CipherSuite, RakpStatus, core};

use super::dice::Dice;
use super::session::Session;

/// The longest datagram of nonsense.
const BYTES_MAX: u32 = 1400;
const KINDS: u32 = 12;

/// One packet; some of them are properly sealed and nonsense inside.
pub(super) fn nonsense(dice: &mut Dice, session: Option<&mut Session>) -> Vec<u8> {
    let console_id = session.as_ref().map_or(0, |it| it.console_id);
    let kind = dice.below(KINDS);
    match (kind, session) {
        (0, _) => some(dice),
        (1, _) => [&[0x06, 0x00, 0xff, 0x07], some(dice).as_slice()].concat(),
        (2, _) => plus(dice, console_id, 0xc0),
        (3, _) => plus(dice, console_id, 0x00),
        (4, _) => too_long(dice, console_id),
        (5, _) => refusal(dice, console_id),
        (6, _) => {
            let message = core::connection::Message::new_raw(0x07, dice.byte(), some(dice));
            encode_v15(&Frame { to: 0x81, from: 0x20, sequence: dice.byte() & 0x3f, message }.encode())
        }
        // The fifth kind of what follows is cut short.
        (_, Some(session)) => sealed(dice, session, kind),
        (_, None) => [&[0x06, 0x00, 0xff, 0x07, 0x06], some(dice).as_slice()].concat(),
    }
}

fn some(dice: &mut Dice) -> Vec<u8> {
    let count = dice.below(BYTES_MAX);
    // Short ones find other mistakes than long ones.
    let count = if dice.below(2) == 0 { count % 40 } else { count };
    dice.some(count as usize)
}

/// A header that fits the session, and anything behind it.
fn plus(dice: &mut Dice, console_id: u32, flags: u8) -> Vec<u8> {
    let payload = some(dice);
    let kind = PayloadType::from(dice.byte());
    let mut bytes = encode_plus(kind, console_id, dice.roll() as u32, &payload, None);
    bytes[5] |= flags;
    let tail = dice.below(40) as usize;
    bytes.extend(dice.some(tail));
    bytes
}

/// It says that it is longer than it is.
fn too_long(dice: &mut Dice, console_id: u32) -> Vec<u8> {
    let mut bytes = plus(dice, console_id, 0xc0);
    if let Some(length) = bytes.get_mut(14..16) {
        length.copy_from_slice(&u16::MAX.to_le_bytes());
    }
    bytes
}

/// An answer of the handshake that nobody waits for, or not this one.
fn refusal(dice: &mut Dice, console_id: u32) -> Vec<u8> {
    let (tag, status) = (dice.byte() % 8, RakpStatus(dice.byte() % 0x14));
    let (kind, payload) = match dice.below(3) {
        0 => {
            let accepted = Some((dice.roll() as u32, CipherSuite::Three.algorithms()));
            let answer = OpenSessionResponse { tag, status, console_id, accepted };
            (PayloadType::OpenSessionResponse, answer.encode())
        }
        1 => {
            let accepted = Some((dice.bytes(), dice.bytes(), some(dice)));
            (PayloadType::Rakp2, Rakp2 { tag, status, console_id, accepted }.encode())
        }
        _ => (PayloadType::Rakp4, Rakp4 { tag, status, console_id, code: some(dice) }.encode()),
    };
    encode_plus(kind, 0, 0, &payload, None)
}

/// Signed and encrypted as it should be.
fn sealed(dice: &mut Dice, session: &mut Session, kind: u32) -> Vec<u8> {
    let payload = match kind {
        7 => some(dice),
        8 => SolPacket { flags: 0x40, acknowledges: dice.byte(), ..SolPacket::default() }.encode(),
        9 => {
            let message = core::connection::Message::new_raw(dice.byte() & 0x3f, dice.byte(), some(dice));
            Frame { to: 0x81, from: 0x20, sequence: dice.byte() & 0x3f, message }.encode()
        }
        _ => some(dice),
    };
    let payload_type = match kind {
        8 => PayloadType::Sol,
        10 => PayloadType::Other(dice.byte()),
        _ => PayloadType::Ipmi,
    };
    let mut bytes = session.seal(payload_type, &payload, dice.bytes()).unwrap_or_default();
    if kind == 11 {
        bytes.truncate(dice.below(bytes.len() as u32 + 1) as usize);
    }
    bytes
}
