//! The handshake's six messages (sections 13.17 to 13.23).

use super::WireError;
use super::reader::Reader;
use crate::{CipherSuite, RakpStatus};

/// What a console asks for (table 13-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSessionRequest {
    /// Pairs request and response.
    pub tag: u8,
    /// The highest privilege level wanted.
    pub privilege: u8,
    /// The console's id of the session.
    pub console_id: u32,
    /// Authentication, integrity and confidentiality algorithm.
    pub algorithms: [u8; 3],
}

/// A BMC's answer to it (table 13-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSessionResponse {
    /// Pairs request and response.
    pub tag: u8,
    /// Whether it agrees.
    pub status: RakpStatus,
    /// The console's id of the session.
    pub console_id: u32,
    /// The BMC's id of the session and the algorithms, if it agrees.
    pub accepted: Option<(u32, [u8; 3])>,
}

/// The console's random number and user name (table 13-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rakp1 {
    /// Pairs messages 1 and 2.
    pub tag: u8,
    /// The BMC's id of the session.
    pub bmc_id: u32,
    /// The console's random number.
    pub console_random: [u8; 16],
    /// The privilege level wanted, bit 4 set for a look-up by name alone.
    pub role: u8,
    /// The user name.
    pub user: Vec<u8>,
}

/// The BMC's random number and proof (table 13-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rakp2 {
    /// Pairs messages 1 and 2.
    pub tag: u8,
    /// Whether it agrees.
    pub status: RakpStatus,
    /// The console's id of the session.
    pub console_id: u32,
    /// The BMC's random number, its GUID and its code, if it agrees.
    pub accepted: Option<([u8; 16], [u8; 16], Vec<u8>)>,
}

/// The console's proof (table 13-13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rakp3 {
    /// Pairs messages 3 and 4.
    pub tag: u8,
    /// Whether the console agrees; if not, there is no code.
    pub status: RakpStatus,
    /// The BMC's id of the session.
    pub bmc_id: u32,
    /// The console's code.
    pub code: Vec<u8>,
}

/// The BMC's proof that it derived the same keys (table 13-14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rakp4 {
    /// Pairs messages 3 and 4.
    pub tag: u8,
    /// Whether it agrees; if not, there is no code.
    pub status: RakpStatus,
    /// The console's id of the session.
    pub console_id: u32,
    /// The BMC's code.
    pub code: Vec<u8>,
}

impl CipherSuite {
    /// Its algorithms as the numbers on the wire.
    pub fn algorithms(self) -> [u8; 3] {
        [self.authentication().into(), self.integrity().into(), self.confidentiality().into()]
    }
}

/// Three records of eight bytes: kind, two reserved, length, algorithm, three reserved.
fn encode_algorithms(out: &mut Vec<u8>, algorithms: [u8; 3]) {
    for (kind, algorithm) in (0_u8..).zip(algorithms) {
        out.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
}

fn decode_algorithms(reader: &mut Reader<'_>) -> Result<[u8; 3], WireError> {
    let mut algorithms = [0; 3];
    for (kind, algorithm) in (0_u8..).zip(&mut algorithms) {
        let [found, _, _, length, value, ..] = reader.array::<8>()?;
        // A length of 0 asks for any algorithm; a BMC has to name the one it took.
        if found != kind || length != 8 {
            return Err(WireError::Field("an algorithm's record"));
        }
        *algorithm = value & 0x3f;
    }
    Ok(algorithms)
}

impl OpenSessionRequest {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.privilege, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        encode_algorithms(&mut out, self.algorithms);
        out
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Too short, or its algorithms' records are out of order.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let [tag, privilege, _, _] = reader.array()?;
        let console_id = reader.long()?;
        Ok(Self { tag, privilege, console_id, algorithms: decode_algorithms(&mut reader)? })
    }
}

impl OpenSessionResponse {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        if let Some((bmc_id, algorithms)) = self.accepted {
            out.extend(bmc_id.to_le_bytes());
            encode_algorithms(&mut out, algorithms);
        }
        out
    }

    /// Reads it. A refusal may be as short as tag and status.
    ///
    /// # Errors
    ///
    /// Too short for its status, or its algorithms' records are out of order.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (tag, status) = (reader.byte()?, RakpStatus(reader.byte()?));
        if status != RakpStatus::OK {
            return Ok(Self { tag, status, console_id: refused_id(reader), accepted: None });
        }
        reader.take(2)?;
        let (console_id, bmc_id) = (reader.long()?, reader.long()?);
        let accepted = Some((bmc_id, decode_algorithms(&mut reader)?));
        Ok(Self { tag, status, console_id, accepted })
    }
}

impl Rakp1 {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, 0, 0, 0];
        out.extend(self.bmc_id.to_le_bytes());
        out.extend(self.console_random);
        out.extend([self.role, 0, 0, u8::try_from(self.user.len()).unwrap_or(u8::MAX)]);
        out.extend(&self.user);
        out
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let [tag, _, _, _] = reader.array()?;
        let (bmc_id, console_random) = (reader.long()?, reader.array()?);
        let [role, _, _, length] = reader.array()?;
        Ok(Self { tag, bmc_id, console_random, role, user: reader.take(usize::from(length))?.to_vec() })
    }
}

impl Rakp2 {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        if let Some((random, guid, code)) = &self.accepted {
            out.extend(random.iter().chain(guid).chain(code));
        }
        out
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Too short for its status.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (tag, status) = (reader.byte()?, RakpStatus(reader.byte()?));
        if status != RakpStatus::OK {
            return Ok(Self { tag, status, console_id: refused_id(reader), accepted: None });
        }
        reader.take(2)?;
        let console_id = reader.long()?;
        let accepted = Some((reader.array()?, reader.array()?, reader.rest().to_vec()));
        Ok(Self { tag, status, console_id, accepted })
    }
}

impl Rakp3 {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode_proof(self.tag, self.status, self.bmc_id, &self.code)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode_proof(bytes).map(|(tag, status, bmc_id, code)| Self { tag, status, bmc_id, code })
    }
}

impl Rakp4 {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode_proof(self.tag, self.status, self.console_id, &self.code)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode_proof(bytes).map(|(tag, status, console_id, code)| Self { tag, status, console_id, code })
    }
}

/// Messages 3 and 4 have one shape.
fn encode_proof(tag: u8, status: RakpStatus, id: u32, code: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, status.0, 0, 0];
    out.extend(id.to_le_bytes());
    out.extend(code);
    out
}

fn decode_proof(bytes: &[u8]) -> Result<(u8, RakpStatus, u32, Vec<u8>), WireError> {
    let mut reader = Reader::new(bytes);
    let (tag, status) = (reader.byte()?, RakpStatus(reader.byte()?));
    if status != RakpStatus::OK {
        return Ok((tag, status, refused_id(reader), Vec::new()));
    }
    reader.take(2)?;
    Ok((tag, status, reader.long()?, reader.rest().to_vec()))
}

/// The session id of a refusal, which some BMCs leave out.
fn refused_id(mut reader: Reader<'_>) -> u32 {
    reader.take(2).and_then(|_| reader.long()).unwrap_or(0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn open_session_asks_for_suite_17_with_these_bytes() {
        let algorithms = CipherSuite::Seventeen.algorithms();
        let request = OpenSessionRequest { tag: 1, privilege: 4, console_id: 0xa0a2_a3a4, algorithms };
        let bytes = request.encode();
        let expected = [
            [0x01, 0x04, 0, 0, 0xa4, 0xa3, 0xa2, 0xa0],
            [0x00, 0, 0, 8, 3, 0, 0, 0],
            [0x01, 0, 0, 8, 4, 0, 0, 0],
            [0x02, 0, 0, 8, 1, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(OpenSessionRequest::decode(&bytes), Ok(request));
        assert_eq!(CipherSuite::Three.algorithms(), [1, 1, 1]);
    }

    #[test]
    fn rakp_1_ends_in_the_user_name() {
        let user = b"admin".to_vec();
        let first = Rakp1 { tag: 2, bmc_id: 0x0200_0000, console_random: [0x11; 16], role: 0x14, user };
        let bytes = first.encode();
        assert_eq!(bytes.len(), 28 + 5);
        assert_eq!(bytes[24..], [0x14, 0, 0, 5, b'a', b'd', b'm', b'i', b'n']);
        assert_eq!(Rakp1::decode(&bytes), Ok(first));
        assert_eq!(Rakp1::decode(&bytes[..32]), Err(WireError::Short));
    }

    #[test]
    fn a_refusal_is_understood_however_short() {
        for bytes in [&[7, 0x11][..], &[7, 0x11, 0, 0], &[7, 0x11, 0, 0, 1, 0, 0, 0]] {
            let refusal = OpenSessionResponse::decode(bytes).unwrap();
            assert_eq!((refusal.tag, refusal.status.0, refusal.accepted), (7, 0x11, None));
            assert!(refusal.status.refuses_algorithms());
            assert_eq!(Rakp2::decode(bytes).unwrap().accepted, None);
            assert!(Rakp4::decode(bytes).unwrap().code.is_empty());
        }
    }

    #[test]
    fn answers_survive_the_way_there_and_back() {
        let accepted = Some((9, [3, 4, 1]));
        let open = OpenSessionResponse { tag: 1, status: RakpStatus::OK, console_id: 8, accepted };
        assert_eq!(OpenSessionResponse::decode(&open.encode()), Ok(open));
        let accepted = Some(([1; 16], [2; 16], vec![3; 32]));
        let second = Rakp2 { tag: 1, status: RakpStatus::OK, console_id: 8, accepted };
        assert_eq!(Rakp2::decode(&second.encode()), Ok(second));
        let fourth = Rakp4 { tag: 1, status: RakpStatus::OK, console_id: 8, code: vec![4; 12] };
        assert_eq!(Rakp4::decode(&fourth.encode()), Ok(fourth));
    }
}
