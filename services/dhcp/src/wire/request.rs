//! What clients and relays send.

use std::net::Ipv4Addr;

use domain::MacAddr;

use super::{HEADER, Kind, MAGIC, Options, code};

/// Ethernet, and InfiniBand (RFC 4390), in the field `htype`.
const ETHERNET: u8 = 1;
const INFINIBAND: u8 = 32;

/// Code, shortest and longest value of every option that is read.
const READ: [(u8, usize, usize); 14] = [
    (code::REQUESTED, 4, 4),
    (code::KIND, 1, 1),
    (code::SERVER, 4, 4),
    (code::PARAMETERS, 0, 1024),
    (code::MAX_SIZE, 2, 2),
    (code::CLASS, 0, 255),
    (code::CLIENT_ID, 0, 255),
    (code::USER_CLASS, 0, 255),
    (code::ARCHITECTURE, 2, 254),
    (code::MACHINE, 0, 255),
    (code::SUBNET, 4, 4),
    (code::RELAY, 0, 1024),
    (code::IPXE, 0, 4096),
    (code::OVERLOAD, 0, 255),
];

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) xid: u32,
    pub(crate) hops: u8,
    /// How long the client has been at it, in seconds.
    pub(crate) secs: u16,
    pub(crate) broadcast: bool,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    /// Fields `htype`, `hlen` and `chaddr`, which come back as they were.
    pub(crate) hardware: (u8, u8, [u8; 16]),
    /// Who asks: of InfiniBand, what is made from the port's GUID as iPXE makes it, until the inventory or the
    /// settings know the port by its own address (`model::identify`).
    pub(crate) mac: MacAddr,
    /// The GUID of an InfiniBand port, if it says which it is.
    pub(crate) guid: Option<[u8; 8]>,
    /// Option 50.
    pub(crate) requested: Option<Ipv4Addr>,
    /// Option 54.
    pub(crate) server: Option<Ipv4Addr>,
    /// Option 93, the first of several.
    pub(crate) architecture: Option<u16>,
    /// Whether the client is iPXE (options 77 and 175).
    pub(crate) is_ipxe: bool,
    /// The options that are read.
    pub(crate) options: Options,
}

/// A packet that is no request of a client we could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it is shorter than a DHCP message")]
    Short,
    #[error("it is a reply, not a request")]
    Reply,
    #[error("its hardware address is no Ethernet or InfiniBand address of one machine")]
    Hardware,
    #[error("it has no DHCP magic cookie")]
    Magic,
    #[error("option {0} is cut off or has the wrong length")]
    Option(u8),
    #[error("it has no message type")]
    Kind,
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
        if header[236..] != MAGIC {
            return Err(Malformed::Magic);
        }
        let options = read_options(header, rest)?;
        let mut chaddr = [0; 16];
        chaddr.copy_from_slice(&header[28..44]);
        let hardware = (header[1], header[2], chaddr);
        let guid = guid_of(&hardware, options.get(code::CLIENT_ID));
        let mac = mac_of(&hardware, guid).ok_or(Malformed::Hardware)?;
        let kind = options.get(code::KIND).ok_or(Malformed::Kind)?[0];
        let ip = |code| options.get(code).and_then(|it| ip_of(it, 0));
        let class = options.get(code::USER_CLASS).is_some_and(is_ipxe_class);
        Ok(Self {
            kind: kind.into(),
            xid: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            hops: header[3],
            secs: u16::from_be_bytes([header[8], header[9]]),
            // An InfiniBand client can be reached no other way (RFC 4390 section 2.1).
            broadcast: header[10] & 0x80 != 0 || hardware.0 == INFINIBAND,
            ciaddr: ip_of(header, 12).unwrap_or(Ipv4Addr::UNSPECIFIED),
            giaddr: ip_of(header, 24).unwrap_or(Ipv4Addr::UNSPECIFIED),
            hardware,
            mac,
            guid,
            requested: ip(code::REQUESTED),
            server: ip(code::SERVER),
            architecture: options.get(code::ARCHITECTURE).map(|it| u16::from_be_bytes([it[0], it[1]])),
            is_ipxe: class || options.get(code::IPXE).is_some(),
            options,
        })
    }

    /// Under which name leases of the pool are held, always of six octets.
    pub(crate) fn holder(&self) -> MacAddr {
        self.guid.map_or(self.mac, ethernet_of)
    }

    /// Whether a relay passed it on.
    pub(crate) fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// Option 60.
    pub(crate) fn vendor_class(&self) -> Option<&[u8]> {
        self.options.get(code::CLASS)
    }

    /// Whether the vendor class begins so.
    pub(crate) fn is_vendor(&self, prefix: &str) -> bool {
        self.vendor_class().is_some_and(|it| it.starts_with(prefix.as_bytes()))
    }

    /// The subnet that the relay says the client is on (RFC 3527), or that the client asks for (RFC 3011).
    pub(crate) fn selected_subnet(&self) -> Option<Ipv4Addr> {
        let link = self.options.get(code::RELAY).and_then(|it| sub_option(it, 5));
        link.or(self.options.get(code::SUBNET)).and_then(|it| ip_of(it, 0))
    }

    /// The longest message the client takes (option 57), without IP's and UDP's own bytes.
    pub(crate) fn size_max(&self) -> usize {
        let told = self.options.get(code::MAX_SIZE).map_or(576, |it| u16::from_be_bytes([it[0], it[1]]));
        usize::from(told.clamp(576, 1500)) - 28
    }
}

/// Four bytes as an address.
fn ip_of(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(bytes.into())
}

/// A sub-option of option 82 (RFC 3046 section 2.0).
fn sub_option(mut rest: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [code, length, tail @ ..] = rest {
        let (value, tail) = tail.split_at_checked(usize::from(*length))?;
        if *code == wanted {
            return Some(value);
        }
        rest = tail;
    }
    None
}

/// The GUID of an InfiniBand port: the end of the client identifier, which is an interface's number with a DUID or the
/// port's address (RFC 4390 section 2.1, RFC 4361); else `chaddr`, where iPXE writes it although it may be empty.
fn guid_of((kind, length, chaddr): &(u8, u8, [u8; 16]), client_id: Option<&[u8]>) -> Option<[u8; 8]> {
    if *kind != INFINIBAND {
        return None;
    }
    let told = client_id.filter(|it| it.len() > 8).and_then(<[u8]>::last_chunk);
    told.or_else(|| chaddr.first_chunk().filter(|_| *length == 8)).copied()
}

/// The Ethernet address that is made of a port's GUID where one is needed, as iPXE makes it.
pub(crate) fn ethernet_of(guid: [u8; 8]) -> MacAddr {
    MacAddr::new([guid[0], guid[1], guid[2], guid[5], guid[6], guid[7]])
}

/// The MAC: `chaddr`, or of InfiniBand what the port's GUID makes.
fn mac_of((kind, length, chaddr): &(u8, u8, [u8; 16]), guid: Option<[u8; 8]>) -> Option<MacAddr> {
    let mac = match (*kind, *length) {
        (ETHERNET | INFINIBAND, 6) => MacAddr::new(*chaddr.first_chunk()?),
        (INFINIBAND, _) => ethernet_of(guid?),
        _ => return None,
    };
    // A multicast or zero address belongs to no machine.
    let octets = mac.octets();
    (octets[0] & 1 == 0 && octets != [0; 6]).then_some(mac)
}

/// The options that count, those of one code joined (RFC 3396), those in `file` and `sname` too (RFC 2132
/// 9.3).
fn read_options(header: &[u8], rest: &[u8]) -> Result<Options, Malformed> {
    let mut options = Options::with_room();
    walk(rest, &mut options)?;
    let overload = options.get(code::OVERLOAD).filter(|it| it.len() == 1 && it[0] <= 3).map_or(0, |it| it[0]);
    if overload & 1 != 0 {
        walk(&header[108..236], &mut options)?;
    }
    if overload & 2 != 0 {
        walk(&header[44..108], &mut options)?;
    }
    for (code, value) in options.iter() {
        let fits =
            |(known, min, max): &(u8, usize, usize)| *known == code && (*min..=*max).contains(&value.len());
        if !READ.iter().any(fits) {
            return Err(Malformed::Option(code));
        }
    }
    Ok(options)
}

/// Walks one area.
fn walk(mut area: &[u8], options: &mut Options) -> Result<(), Malformed> {
    while let [code, tail @ ..] = area {
        match *code {
            code::PAD => area = tail,
            code::END => break,
            code => {
                let [length, tail @ ..] = tail else { return Err(Malformed::Option(code)) };
                let (value, tail) =
                    tail.split_at_checked(usize::from(*length)).ok_or(Malformed::Option(code))?;
                if READ.iter().any(|it| it.0 == code) {
                    options.append(code, value);
                }
                area = tail;
            }
        }
    }
    Ok(())
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
