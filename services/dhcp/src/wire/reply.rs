//! What is answered.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};
use domain::MacAddr;

use super::{HEADER, Kind, MAGIC, Options, Request, code};

/// BOOTP's length: some clients drop what is shorter (RFC 1542 section 2.1).
const REPLY_MIN: usize = 300;
/// `file` holds a name and a NUL.
const FILE_MAX: usize = 127;

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    pub(crate) yiaddr: Ipv4Addr,
    /// The boot server; unspecified if the client boots nothing.
    pub(crate) siaddr: Ipv4Addr,
    /// Option 54.
    pub(crate) server: Ipv4Addr,
    /// The boot file, for the field `file`.
    pub(crate) file: Option<String>,
    /// Options but 53, 54, 61 and 82; what comes first is what counts most where room is short.
    pub(crate) options: Options,
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

/// Writes a reply into a buffer: 53, 54 and 51 first, as some old PXE loaders want it, then what the client
/// asked for in its order (RFC 2132 section 9.8), the rest, and 82 last (RFC 3046 section 2.1). Where the client
/// does not take that much, this is left out first: what it did not ask for, what it asked for, from the end; then its
/// own identifier (61), then its relay's word (82). The first three always stay.
pub(crate) fn write(request: &Request, reply: &Reply, packet: &mut Vec<u8>) {
    write_header(request, reply, packet);
    write_option(code::KIND, &[reply.kind.into()], packet);
    write_option(code::SERVER, &reply.server.octets(), packet);
    if let Some(value) = reply.options.get(code::LEASE_TIME) {
        write_option(code::LEASE_TIME, value, packet);
    }
    let mut left = request.size_max().saturating_sub(packet.len() + 1);
    let mut reserve = |code| {
        let value = request.options.get(code)?;
        left = left.checked_sub(option_length(value))?;
        Some((code, value))
    };
    let (relay, identifier) = (reserve(code::RELAY), reserve(code::CLIENT_ID));
    let mut put = |code: u8, value: &[u8]| {
        if let Some(rest) = left.checked_sub(option_length(value)) {
            left = rest;
            write_option(code, value, packet);
        }
    };
    let wanted = request.options.get(code::PARAMETERS).unwrap_or_default();
    let mut written = [false; 256];
    written[usize::from(code::LEASE_TIME)] = true;
    for code in wanted {
        if !std::mem::replace(&mut written[usize::from(*code)], true)
            && let Some(value) = reply.options.get(*code)
        {
            put(*code, value);
        }
    }
    for (code, value) in reply.options.iter().filter(|it| !written[usize::from(it.0)]) {
        put(code, value);
    }
    for (code, value) in [identifier, relay].into_iter().flatten() {
        write_option(code, value, packet);
    }
    packet.push(code::END);
    packet.resize(packet.len().max(REPLY_MIN), code::PAD);
}

fn write_header(request: &Request, reply: &Reply, packet: &mut Vec<u8>) {
    let (kind, length, chaddr) = &request.hardware;
    // A relay has to broadcast a NAK: its client may have no usable address (RFC 2131 section 4.3.2).
    let broadcast = request.broadcast || (reply.kind == Kind::Nak && request.is_relayed());
    let ciaddr = if reply.kind == Kind::Nak { Ipv4Addr::UNSPECIFIED } else { request.ciaddr };
    packet.clear();
    packet.extend_from_slice(&[2, *kind, *length, request.hops]);
    packet.extend_from_slice(&request.xid.to_be_bytes());
    packet.extend_from_slice(&[0, 0, if broadcast { 0x80 } else { 0 }, 0]);
    for ip in [ciaddr, reply.yiaddr, reply.siaddr, request.giaddr] {
        packet.extend_from_slice(&ip.octets());
    }
    packet.extend_from_slice(chaddr);
    packet.resize(108, 0);
    if let Some(file) = reply.file.as_ref().filter(|it| it.len() <= FILE_MAX) {
        packet.extend_from_slice(file.as_bytes());
    }
    packet.resize(HEADER - MAGIC.len(), 0);
    packet.extend_from_slice(&MAGIC);
}

/// How many bytes a value takes with its codes and lengths.
fn option_length(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(255).max(1)
}

/// Writes an option; a long one in parts (RFC 3396).
fn write_option(code: u8, value: &[u8], packet: &mut Vec<u8>) {
    if value.is_empty() {
        packet.extend_from_slice(&[code, 0]);
    }
    for part in value.chunks(255) {
        packet.extend_from_slice(&[code, part.len() as u8]);
        packet.extend_from_slice(part);
    }
}

/// Where the reply to a request goes.
pub(crate) fn destination(request: &Request, reply: &Reply) -> Destination {
    if request.is_relayed() {
        return Destination::Relay(request.giaddr);
    }
    if reply.kind == Kind::Nak {
        return Destination::Broadcast;
    }
    if !request.ciaddr.is_unspecified() {
        return Destination::Client(request.ciaddr);
    }
    // Without an address to send to, as a proxy has none, it has to be a broadcast.
    if request.broadcast || reply.yiaddr.is_unspecified() {
        return Destination::Broadcast;
    }
    Destination::Link(request.mac, reply.yiaddr)
}

/// The server that made an OFFER or ACK, by option 54. dhcproto asserts lengths of options that it knows, so that it is
/// only given the two that count, with theirs checked.
pub(crate) fn read_server(packet: &[u8]) -> Option<Ipv4Addr> {
    let (header, mut rest) = packet.split_at_checked(HEADER)?;
    let mut clean = header.to_vec();
    while let [code, tail @ ..] = rest {
        match *code {
            code::PAD => rest = tail,
            code::END => break,
            code => {
                let (length, tail) = tail.split_first()?;
                let (value, tail) = tail.split_at_checked(usize::from(*length))?;
                if matches!((code, value.len()), (code::KIND, 1) | (code::SERVER, 4)) {
                    clean.extend([code, *length]);
                    clean.extend(value);
                }
                rest = tail;
            }
        }
    }
    clean.push(code::END);
    let message = Message::decode(&mut Decoder::new(&clean)).ok()?;
    let options = message.opts();
    let lends = matches!(options.msg_type(), Some(MessageType::Offer | MessageType::Ack));
    match options.get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) if lends && message.opcode() == Opcode::BootReply => {
            Some(*server)
        }
        _ => None,
    }
}
