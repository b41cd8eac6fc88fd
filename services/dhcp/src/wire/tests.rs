//! Messages as bytes, there and back.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};

use super::{Destination, END, Malformed, Reply, Request, destination, write};

/// A request of 52:54:00:00:00:01 with these options.
pub(crate) fn packet(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut packet = vec![0; 240];
    packet[..4].copy_from_slice(&[1, 1, 6, 0]);
    packet[4..8].copy_from_slice(&[1, 2, 3, 4]);
    packet[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    packet[236..].copy_from_slice(&super::MAGIC);
    for (code, value) in options {
        packet.extend([*code, u8::try_from(value.len()).unwrap()]);
        packet.extend(*value);
    }
    packet.push(END);
    packet
}

fn read(options: &[(u8, &[u8])]) -> Result<Request, Malformed> {
    Request::read(&packet(options))
}

#[test]
fn a_pxe_discover_is_read_whole() {
    let vendor = b"PXEClient:Arch:00007:UNDI:003016";
    let request =
        read(&[(53, &[1]), (93, &[0, 7, 0, 9]), (60, vendor), (82, &[1, 2, 0, 9]), (81, &[1])]).unwrap();
    assert_eq!(request.kind, MessageType::Discover);
    assert_eq!(request.mac.to_string(), "52:54:00:00:00:01");
    assert_eq!(request.architecture, Some(7));
    assert!(request.is_vendor("PXEClient") && !request.is_ipxe && !request.is_relayed());
    assert_eq!(request.relay.as_deref(), Some([1, 2, 0, 9].as_slice()));
}

#[test]
fn ipxe_is_recognised_bare_as_a_list_and_by_its_option() {
    for class in [b"iPXE".as_slice(), b"\x04iPXE", b"\x01x\x04iPXE"] {
        assert!(read(&[(53, &[1]), (77, class)]).unwrap().is_ipxe, "{class:?}");
    }
    assert!(read(&[(53, &[1]), (175, &[])]).unwrap().is_ipxe);
    for class in [b"iPXEx".as_slice(), b"\x05iPXE", b"\xff"] {
        assert!(!read(&[(53, &[1]), (77, class)]).unwrap().is_ipxe, "{class:?}");
    }
}

#[test]
fn parts_of_an_option_are_joined_and_overloaded_fields_are_read() {
    let request = read(&[(53, &[3]), (61, &[1, 2]), (61, &[3])]).unwrap();
    assert_eq!(request.client_id.as_deref(), Some([1, 2, 3].as_slice()));
    let mut overloaded = packet(&[(52, &[3]), (53, &[1])]);
    overloaded[108..115].copy_from_slice(&[50, 4, 10, 0, 0, 1, END]);
    overloaded[44..49].copy_from_slice(&[93, 2, 0, 11, END]);
    let request = Request::read(&overloaded).unwrap();
    assert_eq!(request.requested, Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(request.architecture, Some(11));
}

#[test]
fn what_is_malformed_is_refused_with_its_reason() {
    assert_eq!(Request::read(&[0; 100]), Err(Malformed::Short));
    assert_eq!(read(&[]), Err(Malformed::Kind));
    assert_eq!(read(&[(53, &[1, 1])]), Err(Malformed::Option(53)));
    assert_eq!(read(&[(53, &[1]), (50, &[1, 2, 3])]), Err(Malformed::Option(50)));
    assert_eq!(read(&[(53, &[1]), (93, &[7])]), Err(Malformed::Option(93)));
    for (at, byte, reason) in [
        (0, 2, Malformed::Reply),
        (1, 32, Malformed::Hardware),
        (2, 16, Malformed::Hardware),
        (28, 0xff, Malformed::Hardware),
        (236, 0, Malformed::Magic),
    ] {
        let mut bytes = packet(&[(53, &[1])]);
        bytes[at] = byte;
        assert_eq!(Request::read(&bytes), Err(reason));
    }
    let mut cut = packet(&[(53, &[1]), (12, b"name")]);
    cut.truncate(cut.len() - 3);
    assert_eq!(Request::read(&cut), Err(Malformed::Option(12)));
}

#[test]
fn a_reply_begins_with_its_type_and_ends_with_the_relay_option() {
    let relay: &[u8] = &[1, 3, 9, 9, 9, 151, 0];
    let mut bytes = packet(&[(53, &[1]), (61, &[1, 2, 3]), (82, relay)]);
    bytes[24..28].copy_from_slice(&[10, 0, 0, 1]);
    let request = Request::read(&bytes).unwrap();
    let reply = Reply {
        kind: MessageType::Offer,
        yiaddr: Ipv4Addr::new(10, 0, 0, 7),
        siaddr: Ipv4Addr::new(10, 0, 0, 254),
        server: Ipv4Addr::new(10, 0, 0, 254),
        file: Some("undionly.kpxe".into()),
        options: vec![DhcpOption::AddressLeaseTime(60), DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 0, 0))],
    };
    let written = write(&request, &reply).unwrap();
    assert!(written.len() >= 300);
    assert_eq!(written[0], 2);
    assert_eq!(written[4..8], [1, 2, 3, 4]);
    assert_eq!(written[16..20], [10, 0, 0, 7]);
    assert_eq!(&written[108..122], b"undionly.kpxe\0");
    let expected = [
        [53, 1, 2].as_slice(),
        &[54, 4, 10, 0, 0, 254],
        &[51, 4, 0, 0, 0, 60],
        &[1, 4, 255, 0, 0, 0],
        &[61, 3, 1, 2, 3],
        &[82, 7],
        relay,
        &[END, 0],
    ]
    .concat();
    assert_eq!(written[240..240 + expected.len()], expected);
    assert_eq!(destination(&request, &reply), Destination::Relay(Ipv4Addr::new(10, 0, 0, 1)));
}

#[test]
fn a_reply_goes_where_rfc_2131_says() {
    let mut request = read(&[(53, &[3])]).unwrap();
    let ip = Ipv4Addr::new(10, 0, 0, 7);
    let none = Ipv4Addr::UNSPECIFIED;
    let mut reply =
        Reply { kind: MessageType::Ack, yiaddr: ip, siaddr: none, server: none, file: None, options: vec![] };
    assert_eq!(destination(&request, &reply), Destination::Link(request.mac, ip));
    request.broadcast = true;
    assert_eq!(destination(&request, &reply), Destination::Broadcast);
    request.ciaddr = ip;
    assert_eq!(destination(&request, &reply), Destination::Client(ip));
    reply.kind = MessageType::Nak;
    assert_eq!(destination(&request, &reply), Destination::Broadcast);
}
