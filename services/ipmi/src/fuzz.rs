//! What fuzzers and the replay of their corpora call: each takes any bytes, and what comes of them holds.

use std::time::Duration;

use tokio::time::Instant;

use crate::commands::text::decode_text;
use crate::crypto::SessionKeys;
use crate::fru::Fru;
use crate::sdr::SensorRecord;
use crate::sel::SelEntry;
use crate::sol::{Machine, Rules};
use crate::wire::{
    Capabilities, Datagram, Frame, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, Rakp3, Rakp4,
    SolPacket, SolView, decode_pong,
};
use crate::{CipherSuite, RECORD_BYTES, SessionRecord};

/// A datagram, as anybody may send one: outside of a session, forged, or sealed by who knows the keys.
///
/// # Panics
///
/// If a payload leaves its datagram, or what was sealed cannot be opened.
pub fn datagram(bytes: &[u8]) {
    let pong = decode_pong(bytes);
    match Datagram::decode(bytes) {
        Ok(Datagram::V15(message)) => {
            assert!(message.len() < bytes.len() && pong.is_err());
            if Capabilities::decode(message).is_ok() {
                assert!(Frame::decode(message).is_ok());
            }
        }
        Ok(Datagram::Plus(packet)) => {
            assert_eq!(bytes.get(packet.payload_range()), Some(packet.payload));
            assert!(packet.missing == 0 || packet.session_id == 0);
            for suite in [CipherSuite::Three, CipherSuite::Seventeen] {
                let keys = SessionKeys::derive(suite, &[0x5a; 20]);
                let proven = keys.verify(&packet).is_ok();
                // The session itself decrypts only what is proven.
                let plain = keys.decrypt(packet.payload);
                if let (true, Ok(plain)) = (proven, plain) {
                    sealed(&keys, &packet, &plain);
                }
            }
        }
        Err(error) => assert!(!error.reason().is_empty()),
    }
}

fn sealed(keys: &SessionKeys, packet: &crate::wire::PlusPacket<'_>, plain: &[u8]) {
    let again = keys.seal(packet.payload_type, packet.session_id, packet.sequence, plain, [3; 16]);
    let Ok(Datagram::Plus(again)) = Datagram::decode(&again) else { panic!("what was sealed is no packet") };
    assert!(keys.verify(&again).is_ok());
    assert_eq!(keys.decrypt(again.payload).as_deref(), Ok(plain));
}

/// The messages of the handshake, and an IPMI message.
///
/// # Panics
///
/// If one that was read is another when it is written and read again.
pub fn handshake(bytes: &[u8]) {
    macro_rules! there_and_back {
        ($($type:ty),*) => {
            $(if let Ok(message) = <$type>::decode(bytes) {
                // Refusals may be written shorter than they came.
                if let Ok(again) = <$type>::decode(&message.encode()) {
                    assert_eq!(again.tag, message.tag);
                }
            })*
        };
    }
    there_and_back!(OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, Rakp3, Rakp4);
    if let Ok(frame) = Frame::decode(bytes) {
        assert_eq!(Frame::decode_unchecked(bytes).as_ref(), Ok(&frame));
    }
}

/// Packets of a line, each after a byte with its length, while something is being written to it.
///
/// # Panics
///
/// If more is acknowledged than was there, or more delivered than is acknowledged.
pub fn line(bytes: &[u8]) {
    let rules = Rules { characters_max: 4, retry_wait: Duration::from_millis(1), renumber: false };
    let (mut machine, now) = (Machine::new(rules, 0, (0, 0)), Instant::now());
    machine.begin(b"characters on their way".to_vec(), 0, now);
    let mut rest = bytes;
    while let Some((&length, after)) = rest.split_first() {
        let (packet, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let Ok(packet) = SolView::decode(packet) else { continue };
        let outcome = machine.receive(packet, length & 0x80 == 0, now);
        assert!(outcome.data.len() <= packet.data.len().min(255));
        if let Some((number, count)) = outcome.acknowledge {
            assert_eq!(number, packet.sequence);
            assert!(usize::from(count) >= outcome.data.len());
        }
        if let Some(next) = outcome.next {
            assert!((1..=15).contains(&next.sequence) && next.data.len() <= 4);
        }
        if length & 0x40 != 0 {
            assert!(machine.tick(now).is_none_or(|it| (1..=15).contains(&it.sequence)));
        }
    }
    if let Ok(packet) = SolPacket::decode(bytes) {
        assert_eq!(SolPacket::decode(&packet.encode()), Ok(packet));
    }
}

/// What a BMC tells of itself: records of sensors and of its log, inventories, texts.
///
/// # Panics
///
/// If a text has control characters, which would reach a terminal.
pub fn data(bytes: &[u8]) {
    let clean = |text: &str| assert!(!text.chars().any(char::is_control), "{text:?}");
    if let Ok(Some(sensor)) = SensorRecord::decode(bytes) {
        clean(&sensor.name);
        clean(&sensor.to_string());
        for raw in [0, 1, 127, 128, 255] {
            let value = sensor.conversion.and_then(|it| it.convert(raw));
            assert!(value.is_none_or(f64::is_finite));
        }
    }
    if let Ok(entry) = SelEntry::decode(bytes) {
        clean(&entry.to_string());
    }
    if let Ok(fru) = Fru::decode(bytes) {
        for board in fru.board.into_iter() {
            clean(&board.name);
            clean(&board.serial);
        }
    }
    if let Some((&head, text)) = bytes.split_first() {
        clean(&decode_text(head, text));
    }
}

/// A session's record, as it was found.
///
/// # Panics
///
/// If one that was read is another when it is written again.
pub fn record(bytes: &[u8]) {
    match SessionRecord::from_bytes(bytes) {
        Ok(record) => assert_eq!(Some(&record.to_bytes()[..]), bytes.get(..RECORD_BYTES)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
