//! DHCP messages as bytes (RFC 2131, RFC 2132, RFC 3396). Pure, and safe for any input.

pub(crate) mod frame;
#[cfg(test)]
mod mutations;
mod options;
mod reply;
mod request;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tftp;

pub(crate) use self::options::Options;
pub(crate) use self::reply::{Destination, Reply, destination, read_server, write};
pub(crate) use self::request::{Malformed, Request, ethernet_of};

/// The fixed part with its magic cookie.
const HEADER: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

/// The codes of options (RFC 2132 and what its readers name).
pub(crate) mod code {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const MASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN: u8 = 15;
    pub(crate) const MTU: u8 = 26;
    pub(crate) const BROADCAST: u8 = 28;
    pub(crate) const NTP: u8 = 42;
    pub(crate) const VENDOR: u8 = 43;
    pub(crate) const REQUESTED: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const KIND: u8 = 53;
    pub(crate) const SERVER: u8 = 54;
    pub(crate) const PARAMETERS: u8 = 55;
    pub(crate) const MESSAGE: u8 = 56;
    pub(crate) const MAX_SIZE: u8 = 57;
    pub(crate) const RENEWAL: u8 = 58;
    pub(crate) const REBINDING: u8 = 59;
    pub(crate) const CLASS: u8 = 60;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const TFTP_SERVER: u8 = 66;
    pub(crate) const BOOT_FILE: u8 = 67;
    pub(crate) const USER_CLASS: u8 = 77;
    pub(crate) const RELAY: u8 = 82;
    pub(crate) const ARCHITECTURE: u8 = 93;
    pub(crate) const MACHINE: u8 = 97;
    pub(crate) const SUBNET: u8 = 118;
    pub(crate) const ROUTES: u8 = 121;
    pub(crate) const IPXE: u8 = 175;
    pub(crate) const END: u8 = 255;
}

/// Option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
    Other(u8),
}

impl From<u8> for Kind {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            other => Self::Other(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Discover => 1,
            Kind::Offer => 2,
            Kind::Request => 3,
            Kind::Decline => 4,
            Kind::Ack => 5,
            Kind::Nak => 6,
            Kind::Release => 7,
            Kind::Inform => 8,
            Kind::Other(other) => other,
        }
    }
}
