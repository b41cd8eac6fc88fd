//! Random damage to good packets: whatever comes, the decoders come back.

use super::tests::packet;
use super::{Request, tftp};

/// So many damaged packets go through each decoder.
const COUNT: u64 = 200_000;

/// A generator of its own, so that a failure can be repeated: splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut it = *state;
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

fn damage(state: &mut u64, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=next(state) % 6 {
        let at = (next(state) as usize) % bytes.len().max(1);
        match next(state) % 5 {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = next(state) as u8,
            2 if at < bytes.len() => bytes[at] ^= 1 << (next(state) % 8),
            3 => bytes.insert(at, next(state) as u8),
            _ => bytes.extend([next(state) as u8, next(state) as u8 % 8, next(state) as u8]),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn a_damaged_dhcp_packet_never_panics() {
    let vendor = b"PXEClient:Arch:00007:UNDI:003016";
    let options: &[(u8, &[u8])] = &[
        (53, &[1]),
        (57, &[5, 192]),
        (60, vendor),
        (61, &[1, 2, 3, 4, 5, 6, 7]),
        (77, b"\x04iPXE"),
        (81, &[0, 0, 0, 1, 65]),
        (82, &[1, 4, 0, 0, 0, 1, 5, 4, 10, 0, 0, 0]),
        (93, &[0, 7]),
        (94, &[1, 3, 16]),
        (97, &[0; 17]),
        (175, &[177, 1, 2]),
        (121, &[24, 10, 0, 0, 10, 0, 0, 1]),
        (12, b"nid001"),
        (50, &[10, 0, 0, 1]),
        (54, &[10, 0, 0, 2]),
        (52, &[3]),
    ];
    let good = packet(options);
    let (mut state, mut read) = (1, 0u32);
    for _ in 0..COUNT {
        let bytes = damage(&mut state, &good);
        if let Ok(request) = Request::read(&bytes) {
            read += 1;
            let _written = crate::model::tests::answer_any(&request);
        }
    }
    assert!(read > 1000, "only {read} were still good: the test tests too little");
}

#[test]
fn a_damaged_tftp_packet_never_panics() {
    let good = b"\0\x01snponly.efi\0octet\0blksize\x001468\0tsize\x000\0windowsize\x008\0timeout\x002\0";
    let (mut state, mut read) = (2, 0u32);
    for _ in 0..COUNT {
        read += u32::from(matches!(tftp::read(&damage(&mut state, good)), tftp::Packet::Read(_)));
    }
    assert!(read > 1000, "only {read} were still good: the test tests too little");
}
