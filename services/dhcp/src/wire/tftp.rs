//! TFTP packets as bytes (RFC 1350, options after RFC 2347, 2348, 2349, 7440). Pure, and safe for any input.

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A read request.
    Read(ReadRequest),
    /// A write request; there is nothing to write here.
    Write,
    /// An acknowledgement of a block.
    Ack(u16),
    /// The client gives up, with its reason.
    Error(u16, String),
    /// Whatever else.
    Other,
}

/// A read request. The name is untrusted text; it is looked up in a table and never reaches the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadRequest {
    pub(crate) name: String,
    /// Option `blksize`, as asked for.
    pub(crate) block: Option<u16>,
    /// Option `timeout`, seconds.
    pub(crate) timeout: Option<u8>,
    /// Option `windowsize`.
    pub(crate) window: Option<u16>,
    /// Option `tsize` was there.
    pub(crate) size: bool,
}

/// Error codes (RFC 1350 section 5, RFC 2347 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    Other = 0,
    NotFound = 1,
    Access = 2,
    Illegal = 4,
}

/// How long the words of a request or an error are that are looked at.
const WORD_MAX: usize = 255;
/// The options of a request that are looked at; there are four.
const OPTIONS_MAX: usize = 16;

/// Reads what a client sent.
pub(crate) fn read(packet: &[u8]) -> Packet {
    match packet {
        [0, 1, rest @ ..] => read_request(rest).map_or(Packet::Other, Packet::Read),
        [0, 2, ..] => Packet::Write,
        [0, 4, high, low, ..] => Packet::Ack(u16::from_be_bytes([*high, *low])),
        [0, 5, high, low, text @ ..] => {
            let text = text.split(|it| *it == 0).next().unwrap_or_default();
            let text = String::from_utf8_lossy(&text[..text.len().min(128)]).into_owned();
            Packet::Error(u16::from_be_bytes([*high, *low]), text)
        }
        _ => Packet::Other,
    }
}

fn read_request(rest: &[u8]) -> Option<ReadRequest> {
    // Each word ends with NUL, so that the last part is empty.
    let mut words = rest.split(|it| *it == 0);
    let mut word =
        || words.next().filter(|it| it.len() <= WORD_MAX).and_then(|it| std::str::from_utf8(it).ok());
    let name = word().filter(|it| !it.is_empty())?.to_owned();
    // netascii is served as octet: what we have are binaries and scripts of plain ASCII.
    word().filter(|it| it.eq_ignore_ascii_case("octet") || it.eq_ignore_ascii_case("netascii"))?;
    let mut request = ReadRequest { name, ..ReadRequest::default() };
    for _ in 0..OPTIONS_MAX {
        let (Some(key), Some(value)) = (word(), word()) else { break };
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if is("blksize") {
            request.block = value.parse().ok().filter(|it| (8..=65_464).contains(it));
        } else if is("timeout") {
            request.timeout = value.parse().ok().filter(|it| *it > 0);
        } else if is("windowsize") {
            request.window = value.parse().ok().filter(|it| *it > 0);
        } else if is("tsize") {
            request.size = true;
        } // An unknown option is not acknowledged, and so does not hold (RFC 2347).
    }
    Some(request)
}

/// The head of a data packet; block numbers roll over.
pub(crate) fn data_head(block: u64) -> [u8; 4] {
    let [high, low] = (block as u16).to_be_bytes();
    [0, 3, high, low]
}

/// An error packet.
pub(crate) fn error(code: ErrorCode, text: &str) -> Vec<u8> {
    [&[0, 5, 0, code as u8], text.as_bytes(), &[0]].concat()
}

/// An acknowledgement of options.
pub(crate) fn option_ack(options: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = vec![0, 6];
    for (key, value) in options {
        packet.extend(key.as_bytes());
        packet.push(0);
        packet.extend(value.to_string().as_bytes());
        packet.push(0);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::{Packet, ReadRequest, data_head, option_ack, read};

    #[test]
    fn a_request_is_read_with_its_options() {
        let asked =
            b"\0\x01snponly.efi\0OCTET\0blksize\x001468\0tsize\x000\0WindowSize\x008\0x\0y\0timeout\x002\0";
        let expected = ReadRequest {
            name: "snponly.efi".into(),
            block: Some(1468),
            timeout: Some(2),
            window: Some(8),
            size: true,
        };
        assert_eq!(read(asked), Packet::Read(expected));
        let plain = ReadRequest { name: "a".into(), ..ReadRequest::default() };
        assert_eq!(
            read(b"\0\x01a\0netascii\0blksize\x007\0timeout\x000\0windowsize\x0070000\0tsize"),
            Packet::Read(plain)
        );
    }

    #[test]
    fn what_is_no_request_is_nothing() {
        let long = [b"\0\x01".as_slice(), &[b'a'; 256], b"\0octet\0"].concat();
        for bytes in [
            b"".as_slice(),
            b"\0",
            b"\0\x01",
            b"\0\x01\0octet\0",
            b"\0\x01a",
            b"\0\x01a\0mail\0",
            b"\0\x04\0",
            b"\0\x01\xff\0octet\0",
            &long,
        ] {
            assert_eq!(read(bytes), Packet::Other, "{bytes:?}");
        }
        assert_eq!(read(b"\0\x02a\0octet\0"), Packet::Write);
        assert_eq!(read(b"\0\x04\x01\x02"), Packet::Ack(258));
        assert_eq!(read(b"\0\x05\0\x08no\0"), Packet::Error(8, "no".into()));
    }

    #[test]
    fn packets_have_their_form() {
        assert_eq!(data_head(65_537), [0, 3, 0, 1]);
        assert_eq!(option_ack(&[("tsize", 10)]), b"\0\x06tsize\x0010\0");
    }

    /// Every request cut off anywhere, and with every byte changed, is read without a panic.
    #[test]
    fn mutations_are_read() {
        let asked = b"\0\x01snponly.efi\0octet\0blksize\x001468\0tsize\x000\0windowsize\x008\0";
        for end in 0..asked.len() {
            read(&asked[..end]);
            for value in [0, 1, 0x7f, 0x80, 0xff, b'9', b'-'] {
                let mut packet = *asked;
                packet[end] = value;
                read(&packet);
            }
        }
    }
}
