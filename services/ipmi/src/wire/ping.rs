//! RMCP's Presence Ping and Pong, of class ASF (sections 13.2.3, 13.2.4).

use super::WireError;
use super::reader::Reader;

/// RMCP version 1.0, reserved, no acknowledgement asked, class ASF.
const RMCP_ASF: [u8; 4] = [0x06, 0x00, 0xff, 0x06];
/// The number of ASF among the makers (4542).
const ASF: [u8; 4] = [0x00, 0x00, 0x11, 0xbe];
const PING: u8 = 0x80;
const PONG: u8 = 0x40;
/// Bit 7 of the supported entities.
const IPMI_SUPPORTED: u8 = 0x80;
const PONG_BYTES: u8 = 16;

/// A ping; the answer repeats its tag.
pub fn encode_ping(tag: u8) -> Vec<u8> {
    [&RMCP_ASF[..], &ASF, &[PING, tag, 0, 0]].concat()
}

/// The answer of a machine with IPMI to the ping with this tag.
pub fn encode_pong(tag: u8) -> Vec<u8> {
    let data = [&ASF[..], &[0, 0, 0, 0, IPMI_SUPPORTED | 1, 0, 0, 0, 0, 0, 0, 0]].concat();
    [&RMCP_ASF[..], &ASF, &[PONG, tag, 0, PONG_BYTES], &data].concat()
}

/// The tag of a pong, and whether it says that there is IPMI.
///
/// # Errors
///
/// It is something else, or too short.
pub fn decode_pong(bytes: &[u8]) -> Result<(u8, bool), WireError> {
    let mut reader = Reader::new(bytes);
    let [version, _, _, class] = reader.array()?;
    if (version, class) != (RMCP_ASF[0], RMCP_ASF[3]) {
        return Err(WireError::Field("the RMCP class"));
    }
    let (maker, [kind, tag, _, _]) = (reader.array::<4>()?, reader.array()?);
    if maker != ASF || kind != PONG {
        return Err(WireError::Field("the ASF message type"));
    }
    let data: [u8; 9] = reader.array()?;
    Ok((tag, data[8] & IPMI_SUPPORTED != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_answers_its_ping() {
        assert_eq!(encode_ping(7), [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 7, 0, 0]);
        let pong = encode_pong(7);
        assert_eq!(pong.len(), 12 + usize::from(PONG_BYTES));
        assert_eq!(decode_pong(&pong), Ok((7, true)));
        assert_eq!(decode_pong(&pong[..20]), Err(WireError::Short));
        assert!(decode_pong(&encode_ping(7)).is_err());
    }
}
