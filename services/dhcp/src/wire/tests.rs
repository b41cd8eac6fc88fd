//! Messages as bytes, there and back.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use super::code::END;
use super::{Destination, Kind, Malformed, Options, Reply, Request, destination};

fn write(request: &Request, reply: &Reply) -> Option<Vec<u8>> {
    let mut packet = vec![9; 3];
    super::write(request, reply, &mut packet);
    Some(packet)
}

fn options(list: &[(u8, &[u8])]) -> Options {
    let mut options = Options::default();
    list.iter().for_each(|(code, value)| options.set(*code, value));
    options
}

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
    assert_eq!(request.kind, Kind::Discover);
    assert_eq!(request.mac.to_string(), "52:54:00:00:00:01");
    assert_eq!(request.architecture, Some(7));
    assert!(request.is_vendor("PXEClient") && !request.is_ipxe && !request.is_relayed());
    assert_eq!(request.options.get(82), Some([1, 2, 0, 9].as_slice()));
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
    assert_eq!(request.options.get(61), Some([1, 2, 3].as_slice()));
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
        (1, 6, Malformed::Hardware),
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
        kind: Kind::Offer,
        yiaddr: Ipv4Addr::new(10, 0, 0, 7),
        siaddr: Ipv4Addr::new(10, 0, 0, 254),
        server: Ipv4Addr::new(10, 0, 0, 254),
        file: Some("undionly.kpxe".into()),
        options: options(&[(1, &[255, 0, 0, 0]), (51, &[0, 0, 0, 60])]),
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
    let mut reply = Reply {
        kind: Kind::Ack,
        yiaddr: ip,
        siaddr: none,
        server: none,
        file: None,
        options: Options::default(),
    };
    assert_eq!(destination(&request, &reply), Destination::Link(request.mac, ip));
    request.broadcast = true;
    assert_eq!(destination(&request, &reply), Destination::Broadcast);
    request.ciaddr = ip;
    assert_eq!(destination(&request, &reply), Destination::Client(ip));
    reply.kind = Kind::Nak;
    assert_eq!(destination(&request, &reply), Destination::Broadcast);
}

#[test]
fn infiniband_is_known_by_its_ports_guid_and_answered_by_broadcast() {
    let guid = [0xec, 0x0d, 0x9a, 0x03, 0x00, 0xab, 0xcd, 0xef];
    let id = [&[255, 0, 0, 0, 0, 0, 2, 0, 0, 2, 0xc9, 0][..], &guid].concat();
    let mut bytes = packet(&[(53, &[1]), (61, &id)]);
    (bytes[1], bytes[2]) = (32, 0);
    bytes[28..44].fill(0);
    let request = Request::read(&bytes).unwrap();
    assert_eq!(request.mac.to_string(), "ec:0d:9a:ab:cd:ef");
    assert!(request.broadcast);
    let ip = Ipv4Addr::new(10, 0, 0, 7);
    let reply =
        Reply { kind: Kind::Offer, yiaddr: ip, siaddr: ip, server: ip, file: None, options: options(&[]) };
    assert_eq!(destination(&request, &reply), Destination::Broadcast);
    let written = write(&request, &reply).unwrap();
    assert_eq!((&written[..3], &written[28..44]), ([2, 32, 0].as_slice(), [0; 16].as_slice()));
    let echoed = [&[61, id.len() as u8][..], &id].concat();
    assert!(written.windows(echoed.len()).any(|it| it == echoed), "RFC 6842");
    assert_eq!((request.guid, request.holder()), (Some(guid), request.mac));
    // As clients say it that write the port's address alone, and iPXE's older way.
    let short = [&[32][..], &guid].concat();
    let mut bytes = packet(&[(53, &[1]), (61, &short)]);
    (bytes[1], bytes[2]) = (32, 0);
    assert_eq!(Request::read(&bytes).unwrap().guid, Some(guid));
    let mut bytes = packet(&[(53, &[1])]);
    (bytes[1], bytes[2]) = (32, 8);
    bytes[28..36].copy_from_slice(&guid);
    let request = Request::read(&bytes).unwrap();
    assert_eq!((request.guid, request.mac.to_string().as_str()), (Some(guid), "ec:0d:9a:ab:cd:ef"));
    // Without an identifier nobody knows who it is; iPXE gives its MAC itself.
    let mut bytes = packet(&[(53, &[1])]);
    (bytes[1], bytes[2]) = (32, 0);
    assert_eq!(Request::read(&bytes), Err(Malformed::Hardware));
    bytes[2] = 6;
    assert_eq!(Request::read(&bytes).unwrap().mac.to_string(), "52:54:00:00:00:01");
}

#[test]
fn what_was_asked_for_comes_first_and_what_does_not_fit_is_left_out() {
    let ip = Ipv4Addr::new(10, 0, 0, 7);
    let long = [7; 300];
    let given =
        options(&[(1, &[255; 4]), (3, &[1; 4]), (6, &[2; 4]), (51, &[3; 4]), (43, &long), (12, b"n")]);
    let reply = Reply { kind: Kind::Ack, yiaddr: ip, siaddr: ip, server: ip, file: None, options: given };
    let codes = |request: &Request| {
        let packet = write(request, &reply).unwrap();
        let (mut rest, mut codes) = (&packet[240..], Vec::new());
        while let [code, length, tail @ ..] = rest {
            if *code == END {
                break;
            }
            codes.push(*code);
            rest = &tail[usize::from(*length)..];
        }
        (packet.len(), codes)
    };
    let small = read(&[(53, &[3]), (55, &[12, 6, 99]), (61, &[1, 2])]).unwrap();
    assert_eq!(codes(&small), (300, vec![53, 54, 51, 12, 6, 1, 3, 61]), "43 does not fit 576 bytes");
    let large = read(&[(53, &[3]), (57, &1400u16.to_be_bytes())]).unwrap();
    assert_eq!(codes(&large).1, [53, 54, 51, 1, 3, 6, 43, 43, 12], "in two parts (RFC 3396)");
}

#[test]
fn type_server_and_lease_stay_whatever_else_has_to_yield() {
    let ip = Ipv4Addr::new(10, 0, 0, 7);
    let given = options(&[(51, &[3; 4]), (1, &[255; 4]), (12, b"n")]);
    let reply = Reply { kind: Kind::Offer, yiaddr: ip, siaddr: ip, server: ip, file: None, options: given };
    let codes = |identifier: usize, relay: usize| {
        let (identifier, relay) = (vec![1; identifier], vec![9; relay]);
        let mut bytes = packet(&[(53, &[1]), (55, &[1])]);
        bytes.pop();
        for (code, value) in [(61, &identifier), (82, &relay)] {
            for part in value.chunks(255) {
                bytes.extend([code, u8::try_from(part.len()).unwrap()]);
                bytes.extend(part);
            }
        }
        bytes.push(END);
        let request = Request::read(&bytes).unwrap();
        let written = write(&request, &reply).unwrap();
        assert!(written.len() <= request.size_max().max(300), "{}", written.len());
        let (mut rest, mut codes) = (&written[240..], Vec::new());
        while let [code, length, tail @ ..] = rest {
            if *code == END {
                break;
            }
            codes.push(*code);
            rest = &tail[usize::from(*length)..];
        }
        codes
    };
    // 576 bytes are 548 of DHCP: 292 beside header, the first three and the end.
    assert_eq!(codes(7, 9), [53, 54, 51, 1, 12, 61, 82]);
    assert_eq!(codes(255, 27), [53, 54, 51, 1, 61, 82], "what it asked for goes before what it did not");
    assert_eq!(codes(255, 30), [53, 54, 51, 12, 61, 82], "what still fits is not kept back");
    assert_eq!(codes(255, 33), [53, 54, 51, 61, 82]);
    assert_eq!(codes(255, 100), [53, 54, 51, 1, 12, 82], "its identifier yields to the relay's word");
    assert_eq!(codes(200, 400), [53, 54, 51, 1, 12, 61], "which is longer than all there is");
}
