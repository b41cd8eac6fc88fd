//! Every decoder against a great many damaged packets: none may panic, whatever it makes of them.

use ipmi_rs_core::connection::{Message, NetFn};

use super::*;
use crate::crypto::SessionKeys;
use crate::{CipherSuite, RakpStatus};

const ROUNDS: u32 = 200_000;

/// Marsaglia's xorshift: the same damage at every run.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        usize::try_from(self.0).unwrap_or(0) % sides.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap_or(0)
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            match self.roll(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), self.byte()),
                2 => bytes.extend(vec![self.byte(); self.roll(40)]),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    let new = self.byte();
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = new;
                    }
                }
            }
        }
    }
}

fn keys(suite: CipherSuite) -> SessionKeys {
    SessionKeys::derive(suite, &[0x5a; 20])
}

/// One valid packet of every kind.
fn seeds() -> Vec<Vec<u8>> {
    let ok = RakpStatus::OK;
    let frame = Frame::request(1, Message::new_request(NetFn::App, 0x38, vec![0x8e, 4])).encode();
    let algorithms = CipherSuite::Three.algorithms();
    let open = OpenSessionRequest { tag: 1, privilege: 4, console_id: 2, algorithms }.encode();
    let accepted = Some((3, algorithms));
    let opened = OpenSessionResponse { tag: 1, status: ok, console_id: 2, accepted }.encode();
    let (bmc_id, user) = (3, b"admin".to_vec());
    let first = Rakp1 { tag: 1, bmc_id, console_random: [4; 16], role: 0x14, user }.encode();
    let accepted = Some(([5; 16], [6; 16], vec![7; 20]));
    let second = Rakp2 { tag: 1, status: ok, console_id: 2, accepted }.encode();
    let third = Rakp3 { tag: 1, status: ok, bmc_id, code: vec![8; 20] }.encode();
    let sol = SolPacket { sequence: 1, acknowledges: 2, accepted: 3, flags: 0, data: vec![9; 30] }.encode();
    let mut seeds: Vec<_> =
        [&opened, &second, &frame].map(|payload| encode_plus(PayloadType::Rakp2, 0, 0, payload, None)).into();
    seeds.push(encode_v15(&frame));
    for suite in [CipherSuite::Three, CipherSuite::Seventeen] {
        seeds.push(keys(suite).seal(PayloadType::Ipmi, 2, 1, &frame, [1; 16]));
        seeds.push(keys(suite).seal(PayloadType::Sol, 2, 2, &sol, [2; 16]));
    }
    seeds.extend([frame, open, opened, first, second, third, sol]);
    seeds
}

fn feed(bytes: &[u8], keys: &[SessionKeys]) -> usize {
    let mut read = 0;
    if let Ok(Datagram::Plus(packet)) = Datagram::decode(bytes) {
        read += 1;
        for keys in keys {
            let proven = keys.verify(&packet).is_ok();
            // Decryption is fed unproven bytes as well, which the session itself never does.
            let plain = keys.decrypt(packet.payload);
            read += usize::from(proven && plain.is_ok_and(|plain| Frame::decode(&plain).is_ok()));
        }
    }
    read += usize::from(Frame::decode(bytes).is_ok());
    read += usize::from(OpenSessionRequest::decode(bytes).is_ok());
    read += usize::from(OpenSessionResponse::decode(bytes).is_ok());
    read += usize::from(Rakp1::decode(bytes).is_ok());
    read += usize::from(Rakp2::decode(bytes).is_ok());
    read += usize::from(Rakp3::decode(bytes).is_ok());
    read += usize::from(Rakp4::decode(bytes).is_ok());
    read + usize::from(SolPacket::decode(bytes).is_ok())
}

#[test]
fn no_damage_to_any_packet_makes_a_decoder_panic() {
    let seeds = seeds();
    let keys = [keys(CipherSuite::Three), keys(CipherSuite::Seventeen)];
    let mut dice = Dice(0x2026_1122);
    let mut read = 0;
    for _ in 0..ROUNDS {
        let mut bytes = seeds.get(dice.roll(seeds.len())).cloned().unwrap_or_default();
        dice.damage(&mut bytes);
        read += feed(&bytes, &keys);
    }
    assert!(
        read > 200_000,
        "the damage leaves some packets readable, so that the paths behind are taken too"
    );
}
