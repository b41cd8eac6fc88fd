//! Whose a TCP connection over the loopback is, for protocols that know no log-in.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::Peer;

/// The kernel's table (proc_net(5)).
const TABLE: &str = "/proc/self/net/tcp";

impl Peer {
    /// The other end of an accepted connection: over the loopback it is a process of some uid, from elsewhere a
    /// machine without rights. Ask at once: who has closed its end is nobody any more.
    ///
    /// # Errors
    ///
    /// If the kernel's table cannot be read.
    pub fn of_loopback(theirs: SocketAddr, ours: SocketAddr) -> io::Result<Self> {
        if !theirs.ip().is_loopback() || !theirs.is_ipv4() {
            return Ok(Self::of_address(theirs.ip()));
        }
        let uid = find_uid(&std::fs::read_to_string(TABLE)?, theirs, ours);
        Ok(Self { address: Some(theirs.ip()), ..uid.map_or_else(Self::default, Self::of_uid) })
    }
}

/// The uid of the socket that goes from `theirs` to `ours`.
fn find_uid(table: &str, theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let (local, remote) = (shown(theirs)?, shown(ours)?);
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next()? != local || words.next()? != remote {
            return None;
        }
        let (uid, inode) = (words.nth(4)?, words.nth(1)?);
        // One that was closed has no inode, and root's uid whoever had it.
        if inode == "0" { None } else { uid.parse().ok() }
    })
}

/// An address as the table has it: the four bytes as the machine's number, then the port.
fn shown(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{Peer, find_uid};

    #[test]
    fn our_own_connection_is_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, theirs) = listener.accept().unwrap();
        let ours = server.local_addr().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        assert_eq!(Peer::of_loopback(theirs, ours).unwrap().uid, Some(uid));
        drop(client);
        assert_eq!(Peer::of_loopback(theirs, ours).unwrap().uid, None, "nobody's any more");
        let elsewhere = "192.0.2.1:1".parse().unwrap();
        assert_eq!(Peer::of_loopback(elsewhere, ours).unwrap().uid, None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_closed_socket_is_not_roots() {
        let row = |state: &str, uid: u32, inode: u32| {
            format!(
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                 0: 0100007F:1ED2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n   \
                 1: 0100007F:D431 0100007F:1ED2 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 {inode} 1 0\n"
            )
        };
        let (theirs, ours) = ("127.0.0.1:54321".parse().unwrap(), "127.0.0.1:7890".parse().unwrap());
        assert_eq!(find_uid(&row("01", 1000, 77), theirs, ours), Some(1000));
        assert_eq!(find_uid(&row("05", 0, 0), theirs, ours), None);
        assert_eq!(find_uid(&row("06", 0, 0), theirs, ours), None);
        assert_eq!(find_uid(&row("01", 1000, 77), ours, theirs), None);
    }
}
