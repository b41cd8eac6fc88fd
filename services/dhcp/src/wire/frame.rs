//! Ethernet frames with a DHCP reply for a client that has no address yet and so answers no ARP.

use std::net::Ipv4Addr;

use domain::MacAddr;

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
const TTL: u8 = 64;
const PROTOCOL_UDP: u8 = 17;

/// Ethernet, IPv4 (RFC 791) and UDP (RFC 768) around a payload, from port 67 to 68; none if it is too long.
pub(crate) fn frame(
    source: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP + payload.len()).ok()?;
    let ip_length = udp_length.checked_add(IP as u16)?;
    let mut frame = Vec::with_capacity(ETHERNET + IP + UDP + payload.len());
    frame.extend(target.0.octets());
    frame.extend(source.0.octets());
    frame.extend([0x08, 0x00]);
    frame.extend([0x45, 0x10]);
    frame.extend(ip_length.to_be_bytes());
    // No identification, never fragmented.
    frame.extend([0, 0, 0x40, 0]);
    frame.extend([TTL, PROTOCOL_UDP, 0, 0]);
    frame.extend(source.1.octets());
    frame.extend(target.1.octets());
    let ip_sum = checksum(0, &frame[ETHERNET..]);
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&ip_sum.to_be_bytes());
    frame.extend(67u16.to_be_bytes());
    frame.extend(68u16.to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    // The pseudo header: both addresses, the protocol, the length.
    let pseudo = u32::from(PROTOCOL_UDP) + u32::from(udp_length) + sum(&frame[ETHERNET + 12..ETHERNET + IP]);
    let udp_sum = match checksum(pseudo, &frame[ETHERNET + IP..]) {
        0 => 0xffff, // 0 would say that there is none.
        it => it,
    };
    frame[ETHERNET + IP + 6..ETHERNET + IP + UDP].copy_from_slice(&udp_sum.to_be_bytes());
    Some(frame)
}

fn sum(bytes: &[u8]) -> u32 {
    let word = |it: &[u8]| u32::from(it[0]) << 8 | u32::from(it.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut total = start + sum(bytes);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use domain::MacAddr;

    use super::{checksum, frame, sum};

    #[test]
    fn the_checksums_of_a_frame_add_up() {
        let head = (MacAddr::new([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(172, 16, 0, 254));
        let node = (MacAddr::new([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(172, 16, 0, 1));
        for payload in [b"".as_slice(), b"x", b"odd", b"even"] {
            let frame = frame(head, node, payload).unwrap();
            assert_eq!(frame.len(), 42 + payload.len());
            assert_eq!(checksum(0, &frame[14..34]), 0, "a header with its sum in it sums to nothing");
            let length = u32::try_from(8 + payload.len()).unwrap();
            assert_eq!(checksum(17 + length + sum(&frame[26..34]), &frame[34..]), 0);
        }
        assert_eq!(frame(head, node, &[0; 65_536]), None);
    }
}
