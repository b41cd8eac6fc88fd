//! RMCP and the two session headers (sections 13.1, 13.6).

use std::ops::Range;

use super::WireError;
use super::reader::Reader;

/// RMCP version 1.0, reserved, no acknowledgement asked, class IPMI (section 13.1.3).
const RMCP: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
const AUTH_NONE: u8 = 0x00;
const AUTH_RMCP_PLUS: u8 = 0x06;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
/// The authentication header is four bytes of which the integrity code covers all.
const BODY_AT: usize = RMCP.len();

/// What a datagram holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// An IPMI 1.5 message outside of a session: what asks for the channel's capabilities.
    V15(&'a [u8]),
    /// RMCP+.
    Plus(PlusPacket<'a>),
}

impl<'a> Datagram<'a> {
    /// Takes a datagram apart; nothing is decrypted or proven yet.
    ///
    /// # Errors
    ///
    /// Anything that is not RMCP of class IPMI in one of the two formats.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let [version, _, _, class] = reader.array()?;
        if version != RMCP[0] {
            return Err(WireError::Field("the RMCP version"));
        }
        // Bit 7 marks an RMCP acknowledgement, which carries nothing.
        if class != RMCP[3] {
            return Err(WireError::Field("the RMCP class"));
        }
        let body = reader.rest();
        match reader.byte()? {
            AUTH_NONE => {
                let (_sequence, _session) = (reader.long()?, reader.long()?);
                let length = usize::from(reader.byte()?);
                Ok(Self::V15(reader.take(length)?))
            }
            AUTH_RMCP_PLUS => PlusPacket::decode(reader, body).map(Self::Plus),
            _ => Err(WireError::Field("the authentication type")),
        }
    }
}

/// The payload types of table 13-16 that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadType {
    /// An IPMI message.
    Ipmi,
    /// Serial over LAN.
    Sol,
    /// A maker's own, named in six more bytes.
    OemExplicit,
    /// Open Session Request.
    OpenSessionRequest,
    /// Open Session Response.
    OpenSessionResponse,
    /// RAKP message 1.
    Rakp1,
    /// RAKP message 2.
    Rakp2,
    /// RAKP message 3.
    Rakp3,
    /// RAKP message 4.
    Rakp4,
    /// Any other, six bits.
    Other(u8),
}

impl From<u8> for PayloadType {
    fn from(value: u8) -> Self {
        match value & 0x3f {
            0x00 => Self::Ipmi,
            0x01 => Self::Sol,
            0x02 => Self::OemExplicit,
            0x10 => Self::OpenSessionRequest,
            0x11 => Self::OpenSessionResponse,
            0x12 => Self::Rakp1,
            0x13 => Self::Rakp2,
            0x14 => Self::Rakp3,
            0x15 => Self::Rakp4,
            other => Self::Other(other),
        }
    }
}

impl From<PayloadType> for u8 {
    fn from(value: PayloadType) -> Self {
        match value {
            PayloadType::Ipmi => 0x00,
            PayloadType::Sol => 0x01,
            PayloadType::OemExplicit => 0x02,
            PayloadType::OpenSessionRequest => 0x10,
            PayloadType::OpenSessionResponse => 0x11,
            PayloadType::Rakp1 => 0x12,
            PayloadType::Rakp2 => 0x13,
            PayloadType::Rakp3 => 0x14,
            PayloadType::Rakp4 => 0x15,
            PayloadType::Other(other) => other & 0x3f,
        }
    }
}

/// An RMCP+ packet (table 13-8), its payload still encrypted if it is.
#[derive(Debug, PartialEq, Eq)]
pub struct PlusPacket<'a> {
    /// Whether the payload is encrypted.
    pub encrypted: bool,
    /// Whether an integrity code follows.
    pub authenticated: bool,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// The receiver's id of the session, 0 outside of one.
    pub session_id: u32,
    /// The packet's number in the session, 0 outside of one.
    pub sequence: u32,
    /// The payload as sent.
    pub payload: &'a [u8],
    /// How many bytes the payload lacks of the length that the packet names. Other than 0 only outside of a
    /// session.
    pub missing: usize,
    /// From the authentication type to the end: what the integrity code covers, and the code.
    body: &'a [u8],
    /// How many bytes follow the payload.
    trailer_bytes: usize,
}

impl<'a> PlusPacket<'a> {
    fn decode(mut reader: Reader<'a>, body: &'a [u8]) -> Result<Self, WireError> {
        let kind = reader.byte()?;
        let payload_type = PayloadType::from(kind);
        if payload_type == PayloadType::OemExplicit {
            reader.take(6)?;
        }
        let (session_id, sequence) = (reader.long()?, reader.long()?);
        let length = usize::from(reader.word()?);
        let open = session_id == 0 && kind & (ENCRYPTED | AUTHENTICATED) == 0;
        let there = if open { length.min(reader.rest().len()) } else { length };
        let (payload, missing) = (reader.take(there)?, length - there);
        Ok(Self {
            missing,
            encrypted: kind & ENCRYPTED != 0,
            authenticated: kind & AUTHENTICATED != 0,
            payload_type,
            session_id,
            sequence,
            payload,
            body,
            trailer_bytes: reader.rest().len(),
        })
    }

    /// Where in the datagram the payload is.
    pub(crate) fn payload_range(&self) -> Range<usize> {
        let end = BODY_AT + self.body.len() - self.trailer_bytes;
        end - self.payload.len()..end
    }

    /// What the integrity code covers, and the code of `code_bytes` at the end. The pad before it is not
    /// judged: it is covered by the code, and some BMCs get it wrong.
    ///
    /// # Errors
    ///
    /// The packet has no code of that length.
    pub fn split_code(&self, code_bytes: usize) -> Result<(&'a [u8], &'a [u8]), WireError> {
        // At least the pad's length and the next header stand between payload and code.
        if !self.authenticated || self.trailer_bytes < code_bytes + 2 {
            return Err(WireError::Integrity);
        }
        let at = self.body.len().checked_sub(code_bytes).ok_or(WireError::Integrity)?;
        self.body.split_at_checked(at).ok_or(WireError::Integrity)
    }
}

/// Builds an IPMI 1.5 datagram outside of a session.
pub fn encode_v15(message: &[u8]) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    out.extend([AUTH_NONE, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
    out.extend(message.iter().take(usize::from(u8::MAX)));
    out
}

/// Makes the integrity code of the bytes it covers.
pub type Code<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// Where a datagram's length is, after the flags, the session's id and the number.
const LENGTH_AT: usize = BODY_AT + 10;
const PAYLOAD_AT: usize = LENGTH_AT + 2;

/// Builds an RMCP+ datagram. With `code`, it is marked as authenticated and encrypted, padded to a multiple
/// of four (section 13.28.4) and ends in what `code` makes of the bytes to cover.
pub fn encode_plus(
    payload_type: PayloadType,
    session_id: u32,
    sequence: u32,
    payload: &[u8],
    code: Option<Code<'_>>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 48);
    begin_plus(&mut out, payload_type, [session_id, sequence]);
    out.extend(payload.iter().take(usize::from(u16::MAX)));
    match code {
        Some(code) => {
            pad(&mut out);
            let tail = code(out.get(BODY_AT..).unwrap_or_default());
            out.extend(tail);
        }
        None => {
            set_length(&mut out);
            if let Some(flags) = out.get_mut(BODY_AT + 1) {
                *flags &= !(ENCRYPTED | AUTHENTICATED);
            }
        }
    }
    out
}

/// Begins a datagram that is encrypted and authenticated: all before its payload.
pub(crate) fn begin_plus(out: &mut Vec<u8>, payload_type: PayloadType, [session_id, sequence]: [u32; 2]) {
    out.clear();
    out.extend(RMCP);
    out.extend([AUTH_RMCP_PLUS, u8::from(payload_type) | ENCRYPTED | AUTHENTICATED]);
    out.extend(session_id.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend([0, 0]);
}

/// Ends it: length, pad, and the first bytes of the code.
pub(crate) fn end_plus(out: &mut Vec<u8>, code_bytes: usize, code: &dyn Fn(&[u8]) -> [u8; 32]) {
    pad(out);
    let tail = code(out.get(BODY_AT..).unwrap_or_default());
    out.extend(tail.iter().take(code_bytes));
}

fn set_length(out: &mut [u8]) {
    let length = u16::try_from(out.len().saturating_sub(PAYLOAD_AT)).unwrap_or(u16::MAX).to_le_bytes();
    for (to, from) in out.iter_mut().skip(LENGTH_AT).zip(length) {
        *to = from;
    }
}

/// The pad before the code, with its length and the number of the next header.
fn pad(out: &mut Vec<u8>) {
    set_length(out);
    let mut count = 0_u8;
    while !(out.len() - BODY_AT + 2).is_multiple_of(4) {
        out.push(0xff);
        count += 1;
    }
    out.extend([count, 0x07]);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn the_capabilities_request_has_the_bytes_of_the_specification() {
        let message = [0x20, 0x18, 0xc8, 0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5];
        let bytes = encode_v15(&message);
        let header = [0x06, 0x00, 0xff, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x09];
        assert_eq!(bytes, [&header[..], &message[..]].concat());
        assert_eq!(Datagram::decode(&bytes), Ok(Datagram::V15(&message)));
    }

    #[test]
    fn an_open_packet_survives_the_way_there_and_back() {
        let bytes = encode_plus(PayloadType::Rakp1, 0, 0, &[1, 2, 3], None);
        let header = [0x06, 0, 0xff, 0x07, 0x06, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 3];
        assert_eq!(bytes, header);
        let Datagram::Plus(packet) = Datagram::decode(&bytes).unwrap() else { panic!("not RMCP+") };
        assert_eq!((packet.payload_type, packet.payload), (PayloadType::Rakp1, &[1, 2, 3][..]));
        assert_eq!(packet.split_code(12), Err(WireError::Integrity));
        let Datagram::Plus(short) = Datagram::decode(&bytes[..18]).unwrap() else { panic!("not RMCP+") };
        assert_eq!(
            (short.payload, short.missing),
            (&[1, 2][..], 1),
            "outside of a session it is told, not refused"
        );
    }

    #[test]
    fn a_code_covers_all_from_the_authentication_type_on_padded_to_four() {
        for length in 0..9 {
            let payload = vec![0xaa; length];
            let bytes = encode_plus(PayloadType::Ipmi, 7, 9, &payload, Some(&|_| vec![0x55; 12]));
            let Datagram::Plus(packet) = Datagram::decode(&bytes).unwrap() else { panic!("not RMCP+") };
            let (covered, code) = packet.split_code(12).unwrap();
            assert_eq!((covered.len() % 4, code), (0, &[0x55; 12][..]));
            assert_eq!(covered.first(), Some(&0x06));
            assert_eq!((packet.session_id, packet.sequence), (7, 9));
            assert!(packet.encrypted && packet.authenticated);
            assert_eq!(&bytes[packet.payload_range()], payload.as_slice());
            let short = &bytes[..16 + length.saturating_sub(1)];
            assert!(length == 0 || Datagram::decode(short).is_err());
        }
    }

    #[test]
    fn what_is_not_rmcp_of_class_ipmi_is_refused() {
        assert_eq!(Datagram::decode(&[]), Err(WireError::Short));
        assert!(Datagram::decode(&[0x06, 0, 0xff, 0x06, 0, 0, 0, 0]).is_err());
        assert!(Datagram::decode(&[0x05, 0, 0xff, 0x07, 0, 0, 0, 0]).is_err());
        assert!(Datagram::decode(&[0x06, 0, 0xff, 0x87, 6, 0]).is_err());
    }
}
