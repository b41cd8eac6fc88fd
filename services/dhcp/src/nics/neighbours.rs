//! How many neighbours the kernel keeps at most (arp(7), gc_thresh3), asked by netlink (rtnetlink(7)): our sandbox hides
//! /proc/sys.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const RTM_NEWNEIGHTBL: u16 = 64;
const RTM_GETNEIGHTBL: u16 = 66;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x301;
/// Attributes: the table's name, and its third threshold.
const NDTA_NAME: u16 = 1;
const NDTA_THRESH3: u16 = 4;
/// A header of a message, and what stands before its attributes.
const HEADER: usize = 16;
const BODY: usize = HEADER + 4;
/// The kernel answers at once.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Messages of one answer: some for each NIC.
const PARTS_MAX: usize = 4096;

/// The limit of the table of IPv4.
pub(super) fn limit() -> io::Result<u32> {
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW.cloexec(),
        Some(Protocol::from(libc::NETLINK_ROUTE)),
    )?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    let mut request = [0; BODY];
    request[..4].copy_from_slice(&(BODY as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETNEIGHTBL.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[HEADER] = libc::AF_INET as u8;
    socket.send(&request)?;
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    for _ in 0..PARTS_MAX {
        let length = socket.recv(&mut buffer)?;
        #[expect(unsafe_code, reason = "the kernel has written so many bytes")]
        let part: Vec<u8> = unsafe { buffer[..length].iter().map(|it| it.assume_init()).collect() };
        match read(&part) {
            Part::Limit(limit) => return Ok(limit),
            Part::End => break,
            Part::More => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the kernel has no table of IPv4 neighbours"))
}

/// What a part of an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Limit(u32),
    End,
    More,
}

fn read(mut part: &[u8]) -> Part {
    while let (Some(length), Some(kind)) = (number(part, 0), word(part, 4)) {
        let length = length as usize;
        if kind == NLMSG_DONE || kind == NLMSG_ERROR || length < HEADER {
            return Part::End;
        }
        let Some(message) = part.get(..length) else { return Part::End };
        if kind == RTM_NEWNEIGHTBL
            && let Some(limit) = message.get(BODY..).and_then(limit_of)
        {
            return Part::Limit(limit);
        }
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Part::More
}

/// Of the table's own message; those of its parameters on each NIC have no threshold.
fn limit_of(mut attributes: &[u8]) -> Option<u32> {
    let (mut is_arp, mut limit) = (false, None);
    while let (Some(length), Some(kind)) = (word(attributes, 0), word(attributes, 2)) {
        let value = attributes.get(4..usize::from(length))?;
        match kind {
            NDTA_NAME => is_arp = value.strip_suffix(b"\0") == Some(b"arp_cache"),
            NDTA_THRESH3 => limit = number(value, 0),
            _ => {}
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    limit.filter(|_| is_arp)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Part, limit, read};

    #[test]
    fn the_kernel_says_by_netlink_what_it_says_in_its_files() {
        let limit = limit().unwrap();
        // A namespace has no such file of its own.
        if let Ok(text) = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3") {
            assert_eq!(text.trim().parse::<u32>().unwrap(), limit);
        }
        assert!(limit > 0);
    }

    #[test]
    fn an_answer_that_is_cut_off_or_wrong_is_no_limit() {
        let mut message = vec![0; 20];
        message[4] = 64;
        message.extend([14, 0, 1, 0]);
        message.extend(b"arp_cache\0\0\0");
        message.extend([8, 0, 4, 0, 0, 4, 0, 0]);
        message[0] = u8::try_from(message.len()).unwrap();
        assert_eq!(read(&message), Part::Limit(1024));
        for length in 0..message.len() {
            assert_ne!(read(&message[..length]), Part::Limit(1024), "{length}");
        }
        message[24] = b'n';
        assert_eq!(read(&message), Part::More, "it is another table's");
        message[20..22].fill(0);
        assert_eq!(read(&message), Part::More, "an attribute of no length ends it");
        assert_eq!(read(&[16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Part::End);
    }
}
