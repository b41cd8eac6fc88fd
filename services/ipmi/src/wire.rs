//! The packets as bytes: pure functions that end in a value or a [`WireError`] on any input.
//!
//! Both directions are here because a simulated BMC needs the other half.

pub use capabilities::Capabilities;
pub use message::Frame;
pub use packet::{Code, Datagram, PayloadType, PlusPacket, encode_plus, encode_v15};
pub(crate) use packet::{begin_plus, end_plus};
pub use ping::{decode_pong, encode_ping, encode_pong};
pub use rakp::{OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, Rakp3, Rakp4};
pub(crate) use reader::Reader;
pub(crate) use sol::{HEADER_BYTES as SOL_HEADER_BYTES, SolView};
pub use sol::{SolControl, SolPacket, SolStatus};

mod capabilities;
mod message;
mod packet;
mod ping;
mod rakp;
mod reader;
mod sol;

#[cfg(test)]
mod mutations;

/// Why bytes are not the packet they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// A field has a value that it cannot have.
    #[error("{0} is not valid")]
    Field(&'static str),
    /// A check sum over part of it is wrong.
    #[error("a check sum is wrong")]
    Checksum,
    /// The code that proves its origin is wrong or missing.
    #[error("its integrity code is wrong")]
    Integrity,
    /// What was decrypted does not end as it must.
    #[error("its padding is wrong")]
    Padding,
}

impl WireError {
    /// The same without allocation, for [`crate::Error::Protocol`].
    pub fn reason(self) -> &'static str {
        match self {
            Self::Short => "it ends too early",
            Self::Field(_) => "a field has a value it cannot have",
            Self::Checksum => "a check sum is wrong",
            Self::Integrity => "its integrity code is wrong",
            Self::Padding => "its padding is wrong",
        }
    }
}
