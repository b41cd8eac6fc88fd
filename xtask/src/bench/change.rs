//! From the answer to a change until everything that a booting node is told has it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::data::Node;

/// How long is waited for one change.
const SEEN_MAX: Duration = Duration::from_secs(5);

/// What a node may ask, on connections that stay open.
pub(super) struct Asker {
    dhcp: UdpSocket,
    boot: Line,
    cloud_init: Line,
}

/// How long each took to tell of a change; none if it did not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) dhcp: Option<Duration>,
    pub(super) script: Option<Duration>,
    pub(super) meta_data: Option<Duration>,
}

impl Seen {
    /// When all had it.
    pub(super) fn all(&self) -> Option<Duration> {
        Some(self.dhcp?.max(self.script?).max(self.meta_data?))
    }
}

/// A connection to a service's socket, spoken by hand.
pub(super) struct Line(BufReader<UnixStream>);

impl Line {
    pub(super) fn open(socket: &Path) -> anyhow::Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(SEEN_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Status and body.
    pub(super) fn ask(&mut self, request: &str) -> anyhow::Result<(u16, String)> {
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the connection was closed");
            if line == "\r\n" {
                break;
            }
            if status == 0 {
                status = line.get(9..12).and_then(|it| it.parse().ok()).context("no status")?;
            } else if let Some((_, value)) =
                line.split_once(':').filter(|it| it.0.eq_ignore_ascii_case("content-length"))
            {
                length = value.trim().parse().context("the length is no number")?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// A request as a node sends it, by its address.
pub(super) fn get(path: &str, address: Option<Ipv4Addr>) -> String {
    let from = address.map(|it| format!("x-forwarded-for: {it}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{from}\r\n")
}

impl Asker {
    pub(super) fn open(dhcp: SocketAddr, sockets: &Path) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(dhcp)?;
        Ok(Self {
            dhcp: socket,
            boot: Line::open(&sockets.join("boot.sock"))?,
            cloud_init: Line::open(&sockets.join("cloud-init.sock"))?,
        })
    }

    /// Asks until each tells of the number that `node` has since `begun`.
    pub(super) fn watch(&mut self, node: Node, nid: u32, begun: Instant) -> anyhow::Result<Seen> {
        let (word, mut seen) = (nid.to_string(), Seen::default());
        let script = get(&format!("/boot/v1/bootscript?mac={}", node.mac(0)), None);
        let meta_data = get("/cloud-init/meta-data", Some(node.address(0)));
        while seen.all().is_none() && begun.elapsed() < SEEN_MAX {
            if seen.script.is_none() && self.boot.ask(&script)?.1.contains(&word) {
                seen.script = Some(begun.elapsed());
            }
            if seen.meta_data.is_none() && self.cloud_init.ask(&meta_data)?.1.contains(&word) {
                seen.meta_data = Some(begun.elapsed());
            }
            if seen.dhcp.is_none() && contains(&self.acknowledged(node, nid)?, word.as_bytes()) {
                seen.dhcp = Some(begun.elapsed());
            }
        }
        Ok(seen)
    }

    /// The DHCPACK to a machine that asks for its address again, through a relay.
    fn acknowledged(&self, node: Node, transaction: u32) -> anyhow::Result<Vec<u8>> {
        let packet = request(node, transaction)?;
        for _ in 0..5 {
            self.dhcp.send(&packet)?;
            self.dhcp.set_read_timeout(Some(Duration::from_secs(1)))?;
            let mut reply = [0; 1500];
            // A late answer to an earlier question is passed over.
            while let Ok(length) = self.dhcp.recv(&mut reply) {
                if reply[4..8] == transaction.to_be_bytes() {
                    return Ok(reply[..length].to_vec());
                }
            }
        }
        bail!("dhcp does not answer {}", node.mac(0))
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|it| it == word)
}

/// DHCPREQUEST of a machine that reboots (RFC 2131 section 4.3.2), as a relay passes it on.
fn request(node: Node, transaction: u32) -> anyhow::Result<Vec<u8>> {
    let mut packet = vec![0_u8; 236];
    packet[..4].copy_from_slice(&[1, 1, 6, 1]);
    packet[4..8].copy_from_slice(&transaction.to_be_bytes());
    packet[24..28].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
    for (at, pair) in node.mac(0).split(':').enumerate() {
        packet[28 + at] = u8::from_str_radix(pair, 16)?;
    }
    packet.extend([99, 130, 83, 99, 53, 1, 3, 50, 4]);
    packet.extend(node.address(0).octets());
    packet.extend([55, 2, 1, 12, 255]);
    Ok(packet)
}
