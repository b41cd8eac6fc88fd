//! A session as plain data: what another process needs to go on with it.
//!
//! Sequence numbers must never be used twice, so the data are handed to a [`Ledger`] *before* each packet
//! leaves. Who keeps them, together with the pool's sockets, can replace a process without a BMC's noticing.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::session::Window;
use crate::wire::Reader;
use crate::{CipherSuite, Workarounds};

/// What a record is long as bytes, whatever it holds.
pub const RECORD_BYTES: usize = 256;
const MAGIC: [u8; 4] = *b"IPMr";
const VERSION: u8 = 1;
/// The check sum's bytes at the end.
const SUM_BYTES: usize = 8;
pub(crate) const INTEGRITY_KEY_BYTES: usize = 32;
pub(crate) const ENCRYPTION_KEY_BYTES: usize = 16;

/// All that makes a running session, its line included. It holds the session's keys: as bytes it is a secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionRecord {
    #[zeroize(skip)]
    pub(crate) address: SocketAddr,
    /// The port of the pool's socket, by which it is found again; BMCs answer to it alone.
    pub(crate) local_port: u16,
    #[zeroize(skip)]
    pub(crate) suite: CipherSuite,
    #[zeroize(skip)]
    pub(crate) workarounds: Workarounds,
    pub(crate) console_id: u32,
    pub(crate) bmc_id: u32,
    pub(crate) guid: [u8; 16],
    pub(crate) integrity_key: [u8; INTEGRITY_KEY_BYTES],
    pub(crate) encryption_key: [u8; ENCRYPTION_KEY_BYTES],
    /// The number of the last packet sent.
    pub(crate) outbound: u32,
    #[zeroize(skip)]
    pub(crate) window: Window,
    /// The number of the next request.
    pub(crate) request: u8,
    #[zeroize(skip)]
    pub(crate) line: Option<LineRecord>,
}

/// Serial over LAN's part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineRecord {
    pub(crate) instance: u8,
    /// The port at which the BMC wants the payload.
    pub(crate) port: u16,
    /// Characters in a packet to the BMC.
    pub(crate) characters_max: u8,
    /// Whether the BMC can be asked who has the line.
    pub(crate) owner_known: bool,
    /// The number of the last packet to the BMC.
    pub(crate) number: u8,
    /// The number of the last packet taken from it, and how many of its characters.
    pub(crate) taken: (u8, u8),
}

/// Keeps a session's record. See [`Session::set_ledger`](crate::Session::set_ledger).
pub trait Ledger: Send + Sync {
    /// Notes the record before a packet with its newest sequence number leaves. It runs for each packet, with
    /// the session locked: it must be quick, must not wait and must not call the session.
    fn note(&self, record: &SessionRecord);
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Nothing was noted here, or something else.
    #[error("there is no session's record here")]
    NotARecord,
    /// Another version of this library wrote it.
    #[error("the record has version {0}, which this program does not read; open the session anew")]
    Version(u8),
    /// It was not written to its end, or was changed.
    #[error("the record's check sum is wrong; open the session anew")]
    Damaged,
}

impl SessionRecord {
    /// With whom the session is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a serial line is active in it.
    #[must_use]
    pub fn has_line(&self) -> bool {
        self.line.is_some()
    }

    /// The record as bytes, check sum included.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut writer = Writer { bytes: [0; RECORD_BYTES], at: 0 };
        writer.put(&MAGIC);
        writer.put(&[VERSION]);
        let (ip, scope, v6) = match self.address {
            SocketAddr::V4(it) => (it.ip().to_ipv6_mapped(), 0, 0),
            SocketAddr::V6(it) => (*it.ip(), it.scope_id(), 1),
        };
        writer.put(&[v6]);
        writer.put(&ip.octets());
        writer.put(&scope.to_le_bytes());
        writer.put(&self.address.port().to_le_bytes());
        writer.put(&self.local_port.to_le_bytes());
        writer.put(&[self.suite.id()]);
        writer.put(&self.workarounds.bits().to_le_bytes());
        writer.put(&self.console_id.to_le_bytes());
        writer.put(&self.bmc_id.to_le_bytes());
        writer.put(&self.guid);
        writer.put(&self.integrity_key);
        writer.put(&self.encryption_key);
        writer.put(&self.outbound.to_le_bytes());
        let (newest, seen) = self.window.parts();
        writer.put(&newest.to_le_bytes());
        writer.put(&seen.to_le_bytes());
        writer.put(&[self.request, u8::from(self.line.is_some())]);
        if let Some(line) = self.line {
            writer.put(&[line.instance, line.characters_max, u8::from(line.owner_known), line.number]);
            writer.put(&[line.taken.0, line.taken.1]);
            writer.put(&line.port.to_le_bytes());
        }
        writer.at = RECORD_BYTES - SUM_BYTES;
        let sum = checksum(writer.bytes.get(..writer.at).unwrap_or_default());
        writer.put(&sum);
        writer.bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; what follows it is ignored.
    ///
    /// # Errors
    ///
    /// See [`RecordError`]. Bytes that were all written are always read, on any machine.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let (bytes, _) = bytes.split_first_chunk::<RECORD_BYTES>().ok_or(RecordError::NotARecord)?;
        let body = bytes.strip_prefix(&MAGIC).ok_or(RecordError::NotARecord)?;
        let (covered, sum) = bytes.split_at(RECORD_BYTES - SUM_BYTES);
        match body.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(RecordError::Version(other)),
            None => return Err(RecordError::NotARecord),
        }
        if checksum(covered) != sum {
            return Err(RecordError::Damaged);
        }
        Self::read(body.get(1..).unwrap_or_default()).ok_or(RecordError::Damaged)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let v6 = reader.byte().ok()?;
        let ip = Ipv6Addr::from(reader.array::<16>().ok()?);
        let (scope, port) = (reader.long().ok()?, reader.word().ok()?);
        let address = match v6 {
            0 => SocketAddr::new(IpAddr::V4(ip.to_ipv4_mapped()?), port),
            1 => SocketAddrV6::new(ip, port, 0, scope).into(),
            _ => return None,
        };
        let local_port = reader.word().ok()?;
        let suite = CipherSuite::from_id(reader.byte().ok()?)?;
        let workarounds = Workarounds::from_bits(reader.long().ok()?);
        let (console_id, bmc_id) = (reader.long().ok()?, reader.long().ok()?);
        let (guid, integrity_key) = (reader.array().ok()?, reader.array().ok()?);
        let (encryption_key, outbound) = (reader.array().ok()?, reader.long().ok()?);
        let window = Window::from_parts(reader.long().ok()?, reader.long().ok()?);
        let [request, has_line] = reader.array().ok()?;
        let line = if has_line == 1 { Some(read_line(&mut reader)?) } else { None };
        Some(Self {
            address,
            local_port,
            suite,
            workarounds,
            console_id,
            bmc_id,
            guid,
            integrity_key,
            encryption_key,
            outbound,
            window,
            request,
            line,
        })
    }
}

fn read_line(reader: &mut Reader<'_>) -> Option<LineRecord> {
    let [instance, characters_max, owner_known, number, packet, characters] = reader.array().ok()?;
    let port = reader.word().ok()?;
    let sound = characters_max > 0 && number < 16 && packet < 16;
    let (owner_known, taken) = (owner_known == 1, (packet, characters));
    sound.then_some(LineRecord { instance, port, characters_max, owner_known, number, taken })
}

/// Names the session without its keys.
impl fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRecord")
            .field("address", &self.address)
            .field("suite", &self.suite)
            .field("outbound", &self.outbound)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// A cursor for writing that cannot run past the end.
struct Writer {
    bytes: [u8; RECORD_BYTES],
    at: usize,
}

impl Writer {
    fn put(&mut self, part: &[u8]) {
        let free = self.bytes.get_mut(self.at..).unwrap_or_default();
        for (to, from) in free.iter_mut().zip(part) {
            *to = *from;
        }
        self.at += part.len();
    }
}

/// FNV-1a, of 64 bits: it finds a record that was written in part, which is all that it is for.
fn checksum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step).to_le_bytes()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(address: &str, line: Option<LineRecord>) -> SessionRecord {
        SessionRecord {
            address: address.parse().unwrap(),
            local_port: 41_000,
            suite: CipherSuite::Seventeen,
            workarounds: Workarounds::NONE,
            console_id: 0x0102_0304,
            bmc_id: 0xa1a2_a3a4,
            guid: [7; 16],
            integrity_key: [0x11; 32],
            encryption_key: [0x22; 16],
            outbound: u32::MAX - 2,
            window: Window::from_parts(900, 0b1011),
            request: 63,
            line,
        }
    }

    fn line() -> LineRecord {
        let (port, taken) = (623, (14, 255));
        LineRecord { instance: 1, port, characters_max: 252, owner_known: true, number: 15, taken }
    }

    #[test]
    fn a_record_survives_the_way_there_and_back() {
        for address in ["172.16.0.101:623", "[fd00::1]:6230", "[fe80::1%7]:623"] {
            for line in [None, Some(line())] {
                let before = record(address, line);
                let after = SessionRecord::from_bytes(&before.to_bytes()).unwrap();
                assert_eq!(after.to_bytes(), before.to_bytes());
                assert_eq!((after.address, after.line), (before.address, line));
                assert_eq!((after.outbound, after.window), (before.outbound, before.window));
            }
        }
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed() {
        let bytes = record("172.16.0.101:623", Some(line())).to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SessionRecord::from_bytes(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(SessionRecord::from_bytes(&[0; RECORD_BYTES]).err(), Some(RecordError::NotARecord));
        assert_eq!(SessionRecord::from_bytes(&bytes[..200]).err(), Some(RecordError::NotARecord));
        let mut newer = bytes;
        newer[4] = 2;
        assert_eq!(SessionRecord::from_bytes(&newer).err(), Some(RecordError::Version(2)));
    }

    #[test]
    fn a_record_never_shows_its_keys() {
        let shown = format!("{:?}", record("172.16.0.101:623", None));
        assert!(shown.contains("172.16.0.101") && !shown.contains("17, 17"), "{shown}");
    }
}
