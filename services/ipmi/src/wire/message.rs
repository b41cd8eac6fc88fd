//! IPMI messages as they go over a LAN (section 13.8): IPMB's frame with its two check sums.

use ipmi_rs_core::connection::{Message, NetFn};

use super::WireError;
use super::reader::Reader;

/// The BMC's address on its bus.
pub(crate) const BMC_ADDRESS: u8 = 0x20;
/// The software id of a remote console (section 5.5).
const CONSOLE_ADDRESS: u8 = 0x81;

/// A message with the addresses, logical unit 0 on both sides, and number that pair request and response.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// To whom.
    pub to: u8,
    /// From whom.
    pub from: u8,
    /// The number, six bits, which the response repeats.
    pub sequence: u8,
    /// Network function, command and data; a response's data begin with the completion code.
    pub message: Message,
}

impl Frame {
    /// A request to the BMC.
    pub fn request(sequence: u8, message: Message) -> Self {
        Self { to: BMC_ADDRESS, from: CONSOLE_ADDRESS, sequence, message }
    }

    /// The BMC's response to `request`, completion code first.
    pub fn response(request: &Self, data: Vec<u8>) -> Self {
        let message = Message::new_response(request.message.netfn(), request.message.cmd(), data);
        Self { to: request.from, from: request.to, sequence: request.sequence, message }
    }

    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let head = [self.to, self.message.netfn_raw() << 2];
        let mut body = vec![self.from, self.sequence << 2, self.message.cmd()];
        body.extend(self.message.data());
        let mut out = head.to_vec();
        out.push(checksum(&head));
        let tail = checksum(&body);
        out.append(&mut body);
        out.push(tail);
        out
    }

    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// It is too short or a check sum is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::read(bytes, true)
    }

    /// [`Self::decode`] without a look at the check sums, for BMCs that cannot add. Inside of a session the
    /// packet's integrity code covers the same bytes.
    ///
    /// # Errors
    ///
    /// It is too short.
    pub fn decode_unchecked(bytes: &[u8]) -> Result<Self, WireError> {
        Self::read(bytes, false)
    }

    fn read(bytes: &[u8], checked: bool) -> Result<Self, WireError> {
        let (&tail, covered) = bytes.split_last().ok_or(WireError::Short)?;
        let mut reader = Reader::new(covered);
        let [to, netfn, head_sum] = reader.array()?;
        let body = reader.rest();
        let [from, sequence, command] = reader.array()?;
        if checked && (checksum(&[to, netfn]) != head_sum || checksum(body) != tail) {
            return Err(WireError::Checksum);
        }
        let message = Message::new_raw(netfn >> 2, command, reader.rest().to_vec());
        Ok(Self { to, from, sequence: sequence >> 2, message })
    }

    /// Whether this is the response to the request with this number, function and command.
    pub fn answers(&self, sequence: u8, netfn: NetFn, command: u8) -> bool {
        self.sequence == sequence
            && self.message.netfn_raw() == netfn.response_value()
            && self.message.cmd() == command
    }
}

/// The two's complement of the sum, so that all bytes with it add up to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn get_channel_authentication_capabilities_has_the_known_bytes() {
        let message = Message::new_request(NetFn::App, 0x38, vec![0x8e, 0x04]);
        let bytes = Frame::request(0, message).encode();
        assert_eq!(bytes, [0x20, 0x18, 0xc8, 0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5]);
    }

    #[test]
    fn a_response_pairs_with_its_request_and_no_other() {
        let request = Frame::request(5, Message::new_request(NetFn::Chassis, 0x01, vec![]));
        let bytes = Frame::response(&request, vec![0, 0x21]).encode();
        let response = Frame::decode(&bytes).unwrap();
        assert!(response.answers(5, NetFn::Chassis, 0x01));
        assert!(!response.answers(6, NetFn::Chassis, 0x01));
        assert!(!response.answers(5, NetFn::App, 0x01));
        assert!(!request.answers(5, NetFn::Chassis, 0x01), "a request is no response");
        assert_eq!(response.message.data(), [0, 0x21]);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let bytes = Frame::request(1, Message::new_request(NetFn::App, 0x01, vec![1, 2])).encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::decode(&bad), Err(WireError::Checksum), "bit {bit}");
            assert!(Frame::decode_unchecked(&bad).is_ok());
        }
    }
}
