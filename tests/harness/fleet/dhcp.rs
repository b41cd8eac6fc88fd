//! What a client says and hears by DHCP (RFC 2131, 2132, 4578), as bytes. Pure.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use domain::MacAddr;

use super::Firmware;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Where the options begin.
const OPTIONS: usize = 240;
/// A BOOTP packet is padded to this (RFC 951).
const LEAST: usize = 300;

/// Message types (option 53).
pub(super) const DISCOVER: u8 = 1;
pub(super) const OFFER: u8 = 2;
pub(super) const REQUEST: u8 = 3;
pub(super) const ACK: u8 = 5;
pub(super) const NAK: u8 = 6;

/// Which program of a machine asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Firmware(Firmware),
    Ipxe(Firmware),
    /// The system that was booted, or one on the disk.
    System,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) kind: u8,
    pub(super) asker: Asker,
    pub(super) mac: MacAddr,
    pub(super) transaction: u32,
    pub(super) seconds: u16,
    /// The relay's address.
    pub(super) relay: Option<Ipv4Addr>,
    /// The address and the server that were chosen.
    pub(super) chosen: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: u8,
    pub(super) transaction: u32,
    pub(super) address: Ipv4Addr,
    /// Option 54.
    pub(super) server: Ipv4Addr,
    /// Where the boot file is: option 66 if it is an address, `siaddr`, else the server itself.
    pub(super) next: Ipv4Addr,
    /// Option 67 or the field `file`.
    pub(super) file: Option<String>,
}

impl Question {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut packet = vec![0; 236];
        packet[..4].copy_from_slice(&[1, 1, 6, u8::from(self.relay.is_some())]);
        packet[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        packet[8..10].copy_from_slice(&self.seconds.to_be_bytes());
        // A PC's ROM cannot take a unicast before it has its address.
        if matches!(self.asker, Asker::Firmware(Firmware::Bios)) {
            packet[10] = 0x80;
        }
        packet[24..28].copy_from_slice(&self.relay.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        let mac = ethernet(self.mac);
        packet[28..34].copy_from_slice(&mac);
        packet.extend(MAGIC);
        let mut add = |code: u8, value: &[u8]| {
            packet.push(code);
            packet.push(u8::try_from(value.len()).unwrap_or(0));
            packet.extend_from_slice(value);
        };
        add(53, &[self.kind]);
        add(57, &1472_u16.to_be_bytes());
        if let Some((address, server)) = self.chosen {
            add(50, &address.octets());
            add(54, &server.octets());
        }
        let identifier = [&[0_u8; 11][..], &mac].concat();
        match self.asker {
            Asker::System => {
                // As systemd-networkd identifies itself unless it is told otherwise: not by the MAC (RFC 4361).
                add(61, &[&[255, mac[2], mac[3], mac[4], mac[5], 0, 2, 0, 0, 171, 17][..], &mac].concat());
                add(55, &[1, 3, 6, 12, 15, 26, 42, 121]);
            }
            Asker::Firmware(it) | Asker::Ipxe(it) => {
                let architecture = it.architecture();
                let client = if it == Firmware::UefiHttp { "HTTPClient" } else { "PXEClient" };
                add(60, format!("{client}:Arch:{architecture:05}:UNDI:003016").as_bytes());
                add(93, &architecture.to_be_bytes());
                add(94, &[1, 3, 16]);
                add(97, &identifier);
                add(55, &[1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 150, 175]);
            }
        }
        if matches!(self.asker, Asker::Ipxe(_)) {
            add(77, b"iPXE");
            add(61, &[&[1][..], &mac].concat());
            add(175, &[177, 5, 1, 128, 134, 16, 14, 19, 1, 1, 16, 1, 2, 235, 3, 1, 0, 0]);
        }
        packet.push(255);
        packet.resize(packet.len().max(LEAST), 0);
        packet
    }
}

impl Answer {
    /// Reads an answer; none if it is no answer at all.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        if packet.len() < OPTIONS || packet[0] != 2 || packet[236..OPTIONS] != MAGIC {
            return None;
        }
        let options = options(&packet[OPTIONS..])?;
        let address = |at: usize| {
            packet[at..at + 4].first_chunk::<4>().map_or(Ipv4Addr::UNSPECIFIED, |it| Ipv4Addr::from(*it))
        };
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|it| *it == 0).unwrap_or(bytes.len());
            Some(String::from_utf8_lossy(&bytes[..end]).into_owned()).filter(|it| !it.is_empty())
        };
        let server = options.get(&54).and_then(|it| it.first_chunk::<4>()).map(|it| Ipv4Addr::from(*it))?;
        let named = options.get(&66).and_then(|it| text(it)).and_then(|it| it.parse().ok());
        let next = named.or(Some(address(20)).filter(|it| !it.is_unspecified())).unwrap_or(server);
        Some(Self {
            kind: *options.get(&53)?.first()?,
            transaction: u32::from_be_bytes(*packet[4..].first_chunk()?),
            address: address(16),
            server,
            next,
            file: options.get(&67).and_then(|it| text(it)).or_else(|| text(&packet[108..236])),
        })
    }
}

/// The six octets; nodes of a fleet have Ethernet.
fn ethernet(mac: MacAddr) -> [u8; 6] {
    mac.octets().first_chunk().copied().unwrap_or_default()
}

/// Options by their code; parts of one are joined (RFC 3396).
fn options(mut rest: &[u8]) -> Option<HashMap<u8, Vec<u8>>> {
    let mut found: HashMap<u8, Vec<u8>> = HashMap::new();
    loop {
        match rest {
            [] | [255, ..] => return Some(found),
            [0, after @ ..] => rest = after,
            [code, length, after @ ..] => {
                let (value, after) = after.split_at_checked(usize::from(*length))?;
                found.entry(*code).or_default().extend_from_slice(value);
                rest = after;
            }
            [_] => return None,
        }
    }
}

/// A broadcast frame of a client without an address, from port 68 to port 67.
pub(super) fn frame(mac: MacAddr, payload: &[u8]) -> Vec<u8> {
    let udp = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(42 + payload.len());
    frame.extend([0xff; 6]);
    frame.extend(ethernet(mac));
    frame.extend([8, 0]);
    let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    header[2..4].copy_from_slice(&(udp + 20).to_be_bytes());
    let sum: u32 = header.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    frame.extend([0, 68, 0, 67]);
    frame.extend(udp.to_be_bytes());
    // No checksum, which IPv4 allows.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// The UDP payload of a frame that the link's filter let through.
pub(super) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let header = usize::from(frame.get(14)? & 15) * 4;
    frame.get(14 + header + 8..)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::{ACK, Answer, Asker, DISCOVER, Question, frame, options, payload};
    use crate::fleet::Firmware;

    fn question(asker: Asker) -> Question {
        let mac = "02:00:00:00:00:07".parse().unwrap();
        Question { kind: DISCOVER, asker, mac, transaction: 7, seconds: 3, relay: None, chosen: None }
    }

    #[test]
    fn each_program_says_who_it_is() {
        let told = |asker| options(&question(asker).write()[240..]).unwrap();
        let rom = told(Asker::Firmware(Firmware::Uefi));
        assert_eq!((rom[&93].as_slice(), rom.contains_key(&77)), ([0, 7].as_slice(), false));
        assert!(rom[&60].starts_with(b"PXEClient:Arch:00007"));
        assert!(told(Asker::Firmware(Firmware::UefiHttp))[&60].starts_with(b"HTTPClient:Arch:00016"));
        let ipxe = told(Asker::Ipxe(Firmware::Bios));
        assert!(ipxe[&77] == b"iPXE" && ipxe.contains_key(&175));
        let system = told(Asker::System);
        assert!(!system.contains_key(&93) && system[&61][0] == 255);
    }

    #[test]
    fn an_answer_is_read_and_a_question_is_none() {
        let mut packet = question(Asker::System).write();
        assert_eq!(Answer::read(&packet), None);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 0, 9]);
        packet.truncate(240);
        packet.extend([53, 1, ACK, 54, 4, 10, 0, 0, 1, 67, 2, b'a', b'b', 255]);
        let answer = Answer::read(&packet).unwrap();
        assert_eq!((answer.kind, answer.transaction, answer.file.as_deref()), (ACK, 7, Some("ab")));
        assert_eq!((answer.address, answer.next), (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 1)));
        packet.truncate(250);
        assert_eq!(Answer::read(&packet), None, "it is cut off");
    }

    #[test]
    fn a_frame_holds_what_was_put_in() {
        let mac = "02:00:00:00:00:07".parse().unwrap();
        let frame = frame(mac, b"content");
        assert_eq!(payload(&frame), Some(b"content".as_slice()));
        let sum: u32 = frame[14..34].chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
