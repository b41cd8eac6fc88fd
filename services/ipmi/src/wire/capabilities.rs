//! Get Channel Authentication Capabilities (section 22.13), which is asked outside of any session.

use ipmi_rs_core::app::auth::PrivilegeLevel;
use ipmi_rs_core::connection::{Message, NetFn};

use super::message::Frame;
use super::packet::encode_v15;
use super::{Reader, WireError};

const COMMAND: u8 = 0x38;
/// The channel it is asked on, and bit 7: tell what came with IPMI 2.0, too.
const CHANNEL: u8 = 0x8e;

/// What a BMC says that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Sessions of IPMI 2.0; also where it says nothing about that.
    pub v20: bool,
}

impl Capabilities {
    /// The question as a datagram.
    pub fn question(privilege: PrivilegeLevel) -> Vec<u8> {
        let message = Message::new_request(NetFn::App, COMMAND, vec![CHANNEL, privilege.into()]);
        encode_v15(&Frame::request(0, message).encode())
    }

    /// Reads the answer from the message of an [`encode_v15`] datagram.
    ///
    /// # Errors
    ///
    /// It is no answer to the question, a refusal, or too short.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let frame = Frame::decode(message)?;
        if !frame.answers(0, NetFn::App, COMMAND) {
            return Err(WireError::Field("the answer's number, function or command"));
        }
        let mut reader = Reader::new(frame.message.data());
        let [code, _channel, kinds, _status, versions] = reader.array()?;
        if code != 0 {
            return Err(WireError::Field("the completion code"));
        }
        let tells = kinds & 0x80 != 0;
        let (v15, v20) = (versions & 1 != 0, versions & 2 != 0);
        Ok(Self { v20: v20 || !tells || !v15 })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn answer(data: &[u8]) -> Result<Capabilities, WireError> {
        let message = Message::new_request(NetFn::App, COMMAND, vec![CHANNEL, 4]);
        let request = Frame::request(0, message);
        Capabilities::decode(&Frame::response(&request, data.to_vec()).encode())
    }

    #[test]
    fn only_who_says_so_is_taken_to_lack_ipmi_2() {
        assert!(answer(&[0, 1, 0x80, 0x04, 0x02, 0, 0, 0, 0]).unwrap().v20);
        assert!(!answer(&[0, 1, 0x96, 0x04, 0x01, 0, 0, 0, 0]).unwrap().v20);
        assert!(answer(&[0, 1, 0x16, 0x04, 0x01, 0, 0, 0, 0]).unwrap().v20, "it tells nothing of 2.0");
        assert_eq!(answer(&[0, 1, 0x16, 0x04]), Err(WireError::Short));
        assert!(answer(&[0xcc, 0, 0, 0, 0]).is_err());
    }
}
