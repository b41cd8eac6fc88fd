//! DHCP messages as bytes (RFC 2131, RFC 2132, RFC 3396). Pure, and safe for any input.
//!
//! dhcproto holds `debug_assert!`s on option lengths and reads some malformed options as something else, so that it
//! is only given the options that count here, joined and with their lengths checked.

pub(crate) mod frame;
#[cfg(test)]
mod mutations;
pub(crate) mod tftp;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{
    Architecture, DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode, UnknownOption,
};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use domain::MacAddr;

/// The fixed part with its magic cookie.
const HEADER: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// BOOTP's length: some clients drop what is shorter (RFC 1542 section 2.1).
const REPLY_MIN: usize = 300;
/// `file` holds a name and a NUL.
const FILE_MAX: usize = 127;

const PAD: u8 = 0;
const END: u8 = 255;
const OVERLOAD: u8 = 52;
const RELAY: u8 = 82;
const IPXE: u8 = 175;
/// Code, shortest and longest value of every option that is read.
const READ: [(u8, usize, usize); 9] = [
    (50, 4, 4),
    (53, 1, 1),
    (54, 4, 4),
    (60, 0, 255),
    (61, 0, 255),
    (77, 0, 255),
    (93, 2, 254),
    (RELAY, 0, 255),
    (IPXE, 0, 4096),
];

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) kind: MessageType,
    pub(crate) xid: u32,
    pub(crate) hops: u8,
    pub(crate) broadcast: bool,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) mac: MacAddr,
    /// Option 50.
    pub(crate) requested: Option<Ipv4Addr>,
    /// Option 54.
    pub(crate) server: Option<Ipv4Addr>,
    /// Option 60.
    pub(crate) vendor_class: Option<Vec<u8>>,
    /// Option 61; echoed (RFC 6842), never looked at: boot loader, initrd and system each send another.
    pub(crate) client_id: Option<Vec<u8>>,
    /// Option 82 as it came.
    pub(crate) relay: Option<Vec<u8>>,
    /// Option 93, the first of several.
    pub(crate) architecture: Option<u16>,
    /// Whether the client is iPXE (options 77 and 175).
    pub(crate) is_ipxe: bool,
}

/// A packet that is no request of a client we could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it is shorter than a DHCP message")]
    Short,
    #[error("it is a reply, not a request")]
    Reply,
    #[error("its hardware address is no Ethernet address of one machine")]
    Hardware,
    #[error("it has no DHCP magic cookie")]
    Magic,
    #[error("option {0} is cut off or has the wrong length")]
    Option(u8),
    #[error("it has no message type")]
    Kind,
    #[error("it does not decode")]
    Codec,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: MessageType,
    pub(crate) yiaddr: Ipv4Addr,
    /// The boot server; unspecified if the client boots nothing.
    pub(crate) siaddr: Ipv4Addr,
    /// Option 54.
    pub(crate) server: Ipv4Addr,
    /// The boot file, for the field `file`.
    pub(crate) file: Option<String>,
    /// Options after 53 and 54.
    pub(crate) options: Vec<DhcpOption>,
}

/// Where a reply goes (RFC 2131 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To the relay, port 67.
    Relay(Ipv4Addr),
    /// To a client that has its address, port 68.
    Client(Ipv4Addr),
    /// To all on the wire.
    Broadcast,
    /// To a client that has no address yet, by its hardware address.
    Link(MacAddr, Ipv4Addr),
}

impl Request {
    /// Reads a packet.
    pub(crate) fn read(packet: &[u8]) -> Result<Self, Malformed> {
        if packet.len() <= HEADER {
            return Err(Malformed::Short);
        }
        let (header, rest) = packet.split_at(HEADER);
        if header[0] != 1 {
            return Err(Malformed::Reply);
        }
        // htype 1, hlen 6: Ethernet. A multicast or zero address belongs to no machine.
        if header[1] != 1 || header[2] != 6 || header[28] & 1 != 0 || header[28..34] == [0; 6] {
            return Err(Malformed::Hardware);
        }
        if header[236..] != MAGIC {
            return Err(Malformed::Magic);
        }
        let mut options = read_options(header, rest)?;
        let clean = clean_packet(header, &options);
        let message = Message::decode(&mut Decoder::new(&clean)).map_err(|_| Malformed::Codec)?;
        let mut octets = [0; 6];
        octets.copy_from_slice(&header[28..34]);
        let value = |code| message.opts().get(code);
        let ip = |code| match value(code) {
            Some(DhcpOption::RequestedIpAddress(ip) | DhcpOption::ServerIdentifier(ip)) => Some(*ip),
            _ => None,
        };
        let architecture = match value(OptionCode::ClientSystemArchitecture) {
            Some(DhcpOption::ClientSystemArchitecture(Architecture(number))) => Some(*number),
            _ => None,
        };
        let is_ipxe = options.contains_key(&IPXE) || options.get(&77).is_some_and(|it| is_ipxe_class(it));
        Ok(Self {
            kind: message.opts().msg_type().ok_or(Malformed::Kind)?,
            xid: message.xid(),
            hops: message.hops(),
            broadcast: message.flags().broadcast(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            mac: MacAddr::new(octets),
            requested: ip(OptionCode::RequestedIpAddress),
            server: ip(OptionCode::ServerIdentifier),
            architecture,
            is_ipxe,
            vendor_class: options.remove(&60),
            client_id: options.remove(&61),
            relay: options.remove(&RELAY),
        })
    }

    /// Whether a relay passed it on.
    pub(crate) fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// Whether the vendor class begins so.
    pub(crate) fn is_vendor(&self, prefix: &str) -> bool {
        self.vendor_class.as_ref().is_some_and(|it| it.starts_with(prefix.as_bytes()))
    }
}

/// The options that count, those of one code joined (RFC 3396), those in `file` and `sname` too (RFC 2132 9.3).
fn read_options(header: &[u8], rest: &[u8]) -> Result<BTreeMap<u8, Vec<u8>>, Malformed> {
    let mut options = BTreeMap::new();
    let overload = walk(rest, &mut options)?;
    if overload & 1 != 0 {
        walk(&header[108..236], &mut options)?;
    }
    if overload & 2 != 0 {
        walk(&header[44..108], &mut options)?;
    }
    for (code, value) in &options {
        let fits =
            |(known, min, max): &(u8, usize, usize)| known == code && (*min..=*max).contains(&value.len());
        if !READ.iter().any(fits) {
            return Err(Malformed::Option(*code));
        }
    }
    Ok(options)
}

/// Walks one area; gives back option 52's value, 0 if there is none.
fn walk(mut area: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) -> Result<u8, Malformed> {
    let mut overload = 0;
    while let [code, tail @ ..] = area {
        match *code {
            PAD => area = tail,
            END => break,
            code => {
                let [length, tail @ ..] = tail else { return Err(Malformed::Option(code)) };
                let (value, tail) =
                    tail.split_at_checked(usize::from(*length)).ok_or(Malformed::Option(code))?;
                if code == OVERLOAD {
                    overload = value.first().copied().filter(|it| value.len() == 1 && *it <= 3).unwrap_or(0);
                } else if READ.iter().any(|it| it.0 == code) {
                    options.entry(code).or_default().extend_from_slice(value);
                }
                area = tail;
            }
        }
    }
    Ok(overload)
}

/// The message with checked options alone, as dhcproto is given it.
fn clean_packet(header: &[u8], options: &BTreeMap<u8, Vec<u8>>) -> Vec<u8> {
    let mut clean = header.to_vec();
    clean[44..236].fill(0);
    for (code, value) in options.iter().filter(|(code, _)| ![RELAY, IPXE].contains(code)) {
        if let Ok(length) = u8::try_from(value.len()) {
            clean.extend([*code, length]);
            clean.extend(value);
        }
    }
    clean.push(END);
    clean
}

/// User class `iPXE`, bare as iPXE sends it or as a list of classes with lengths (RFC 3004 section 4).
fn is_ipxe_class(value: &[u8]) -> bool {
    let mut rest = value;
    while let [length, tail @ ..] = rest {
        let Some((class, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
        if class == b"iPXE" {
            return true;
        }
        rest = tail;
    }
    value == b"iPXE"
}

/// Writes a reply: 53 and 54 first, as some old PXE loaders want it, and 82 last (RFC 3046 section 2.1).
pub(crate) fn write(request: &Request, reply: &Reply) -> Option<Vec<u8>> {
    let mut message = Message::new_with_id(
        request.xid,
        if reply.kind == MessageType::Nak { Ipv4Addr::UNSPECIFIED } else { request.ciaddr },
        reply.yiaddr,
        reply.siaddr,
        request.giaddr,
        &request.mac.octets(),
    );
    // A relay has to broadcast a NAK: its client may have no usable address (RFC 2131 section 4.3.2).
    let broadcast = request.broadcast || (reply.kind == MessageType::Nak && request.is_relayed());
    let flags = if broadcast { Flags::default().set_broadcast() } else { Flags::default() };
    message.set_opcode(Opcode::BootReply).set_htype(HType::Eth).set_hops(request.hops).set_flags(flags);
    if let Some(file) = reply.file.as_ref().filter(|it| it.len() <= FILE_MAX) {
        message.set_fname_str(file);
    }
    let first = [DhcpOption::MessageType(reply.kind), DhcpOption::ServerIdentifier(reply.server)];
    let client_id = request.client_id.clone().map(DhcpOption::ClientIdentifier);
    let relay = request.relay.clone().map(|it| unknown(RELAY, it));
    let mut packet = Vec::with_capacity(REPLY_MIN * 2);
    let mut encoder = Encoder::new(&mut packet);
    message.encode(&mut encoder).ok()?;
    for option in first.iter().chain(&reply.options).chain(&client_id).chain(&relay) {
        option.encode(&mut encoder).ok()?;
    }
    packet.push(END);
    packet.resize(packet.len().max(REPLY_MIN), PAD);
    Some(packet)
}

/// An option that dhcproto has no type for, or whose bytes are kept as they are.
pub(crate) fn unknown(code: u8, value: Vec<u8>) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value))
}

/// Where the reply to a request goes.
pub(crate) fn destination(request: &Request, reply: &Reply) -> Destination {
    if request.is_relayed() {
        return Destination::Relay(request.giaddr);
    }
    if reply.kind == MessageType::Nak {
        return Destination::Broadcast;
    }
    if !request.ciaddr.is_unspecified() {
        return Destination::Client(request.ciaddr);
    }
    if request.broadcast { Destination::Broadcast } else { Destination::Link(request.mac, reply.yiaddr) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
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
            options: vec![
                DhcpOption::AddressLeaseTime(60),
                DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 0, 0)),
            ],
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
            kind: MessageType::Ack,
            yiaddr: ip,
            siaddr: none,
            server: none,
            file: None,
            options: vec![],
        };
        assert_eq!(destination(&request, &reply), Destination::Link(request.mac, ip));
        request.broadcast = true;
        assert_eq!(destination(&request, &reply), Destination::Broadcast);
        request.ciaddr = ip;
        assert_eq!(destination(&request, &reply), Destination::Client(ip));
        reply.kind = MessageType::Nak;
        assert_eq!(destination(&request, &reply), Destination::Broadcast);
    }
}
