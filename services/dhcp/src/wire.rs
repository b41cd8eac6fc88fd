//! DHCP messages as bytes (RFC 2131, RFC 2132, RFC 3396). Pure, and safe for any input.
//!
//! dhcproto holds `debug_assert!`s on option lengths and reads some malformed options as something else, so
//! that it is only given the options that count here, joined and with their lengths checked.

pub(crate) mod frame;
#[cfg(test)]
mod mutations;
#[cfg(test)]
pub(crate) mod tests;
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

/// The options that count, those of one code joined (RFC 3396), those in `file` and `sname` too (RFC 2132
/// 9.3).
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
        request.mac.octets(),
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
