//! Serial over LAN's payload (section 15.9, tables 15-2 and 15-3).

use super::WireError;
use super::reader::Reader;

/// The bytes before the characters.
pub(crate) const HEADER_BYTES: usize = 4;

/// A packet of either direction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SolPacket {
    /// The packet's number, 1 to 15; 0 if it only acknowledges and wants no acknowledgement.
    pub sequence: u8,
    /// The number of the packet that it acknowledges; 0 for none.
    pub acknowledges: u8,
    /// How many characters of that packet were taken.
    pub accepted: u8,
    /// [`SolControl`] to the BMC, [`SolStatus`] from it.
    pub flags: u8,
    /// The characters.
    pub data: Vec<u8>,
}

/// A packet whose characters are still where they arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SolView<'a> {
    pub(crate) sequence: u8,
    pub(crate) acknowledges: u8,
    pub(crate) accepted: u8,
    pub(crate) flags: u8,
    pub(crate) data: &'a [u8],
}

impl<'a> SolView<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let [sequence, acknowledges, accepted, flags] = reader.array::<HEADER_BYTES>()?;
        let (sequence, acknowledges) = (sequence & 0x0f, acknowledges & 0x0f);
        Ok(Self { sequence, acknowledges, accepted, flags, data: reader.rest() })
    }

    /// What it says of packets the other way, and no more.
    pub(crate) fn acknowledgement(self) -> Self {
        let flags = self.flags & !(SolStatus::BREAK | SolStatus::OVERRUN);
        Self { sequence: 0, flags, data: &[], ..self }
    }
}

/// What a console asks of the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SolControl(
    /// The flags as sent.
    pub u8,
);

impl SolControl {
    /// Not taken; the BMC shall wait.
    pub const NACK: u8 = 0x40;
    /// Send a serial break.
    pub const BREAK: u8 = 0x10;
    /// Show the node a ring.
    pub const RING: u8 = 0x20;
    /// Hold the CTS line back.
    pub const CTS_PAUSE: u8 = 0x08;
    /// Hold the lines DCD and DSR back.
    pub const DCD_DSR_DROP: u8 = 0x04;
    /// Drop what the BMC holds for us.
    pub const FLUSH_INBOUND: u8 = 0x02;
    /// Drop what the BMC holds for the node.
    pub const FLUSH_OUTBOUND: u8 = 0x01;
}

/// What a BMC reports to the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SolStatus(
    /// The flags as sent.
    pub u8,
);

impl SolStatus {
    /// Not taken, or not all of it.
    pub const NACK: u8 = 0x40;
    /// The node cannot be reached now (it is off, or the line is in other hands).
    pub const UNAVAILABLE: u8 = 0x20;
    /// Serial over LAN has been or is being deactivated.
    pub const DEACTIVATED: u8 = 0x10;
    /// Characters from the node were lost.
    pub const OVERRUN: u8 = 0x08;
    /// The node sent a serial break.
    pub const BREAK: u8 = 0x04;

    /// Whether the flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

impl SolPacket {
    /// The packet as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.data.len());
        out.extend([self.sequence & 0x0f, self.acknowledges & 0x0f, self.accepted, self.flags]);
        out.extend(&self.data);
        out
    }

    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let SolView { sequence, acknowledges, accepted, flags, data } = SolView::decode(bytes)?;
        Ok(Self { sequence, acknowledges, accepted, flags, data: data.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_four_bytes_before_its_characters() {
        let packet = SolPacket { sequence: 3, acknowledges: 15, accepted: 9, flags: 0, data: b"ok".into() };
        assert_eq!(packet.encode(), [3, 15, 9, 0, b'o', b'k']);
        assert_eq!(SolPacket::decode(&packet.encode()), Ok(packet));
        assert_eq!(SolPacket::decode(&[1, 2, 3]), Err(WireError::Short));
    }
}
