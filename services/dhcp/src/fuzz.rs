//! What fuzzers and the replay of their corpora call (`tests/fuzz`): each takes any bytes, and what comes of them holds.

use std::net::Ipv4Addr;

use crate::wire::{Kind, Options, Reply, Request, code, destination, read_server, tftp, write};

/// A DHCP message with its options and the relay's, and an answer to it.
///
/// # Panics
///
/// If the answer is none that its client and its relay could read.
pub fn dhcp(bytes: &[u8]) {
    let other = read_server(bytes);
    let Ok(request) = Request::read(bytes) else { return };
    assert_eq!(other, None, "a request is no server's answer");
    let relay = request.options.get(code::RELAY);
    // 0 says that the relay names none.
    let _subnet: Option<Ipv4Addr> = request.selected_subnet();
    let address = Ipv4Addr::new(10, 0, 0, 7);
    let mut options = Options::with_room();
    options.set(code::MASK, &[255, 0, 0, 0]);
    options.set(code::LEASE_TIME, &[0, 1, 81, 128]);
    options.set(code::HOST_NAME, &[b'n'; 63]);
    options.set_ips(code::DNS, &[address; 8]);
    let server = Ipv4Addr::new(10, 0, 0, 1);
    let file = Some("snponly.efi".to_owned());
    let reply = Reply { kind: Kind::Offer, yiaddr: address, siaddr: server, server, file, options };
    let mut packet = Vec::new();
    write(&request, &reply, &mut packet);
    let _to = destination(&request, &reply);
    assert!(packet.len() >= 300 && packet[0] == 2, "{packet:02x?}");
    assert_eq!(packet[4..8], request.xid.to_be_bytes());
    assert_eq!(packet[16..20], address.octets());
    // Where a relay and a client's own name take all the room, it is theirs.
    let echoed =
        relay.unwrap_or_default().len() + request.options.get(code::CLIENT_ID).unwrap_or_default().len();
    if echoed <= 255 {
        assert_eq!(read_server(&packet), Some(server), "{packet:02x?}");
        assert!(packet.len() <= request.size_max().max(300), "{} bytes", packet.len());
    }
    if let Some(relay) = relay.filter(|it| (1..=255).contains(&it.len())) {
        assert!(packet.windows(relay.len()).any(|it| it == relay), "the relay's option comes back");
    }
}

/// A TFTP packet.
///
/// # Panics
///
/// If more was read than is there.
pub fn tftp(bytes: &[u8]) {
    match tftp::read(bytes) {
        tftp::Packet::Read(request) => {
            assert!(!request.name.is_empty() && request.name.len() <= bytes.len());
            assert!(request.block.is_none_or(|it| it >= 8), "a block of no size would never end");
            assert!(request.window.is_none_or(|it| it > 0) && request.timeout.is_none_or(|it| it > 0));
        }
        tftp::Packet::Error(_, text) => assert!(text.len() <= 3 * bytes.len()),
        tftp::Packet::Write | tftp::Packet::Ack(_) | tftp::Packet::Other => {}
    }
}
