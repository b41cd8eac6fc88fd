//! A TFTP client as firmware has it (RFC 1350, 2347-2349, 7440).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::{Firmware, Outcome};

/// So often the same packet is sent.
const TRIES: u32 = 6;
/// A block and its head, and some.
const PACKET_MAX: usize = 2048;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
struct Terms {
    block: usize,
    window: u16,
    /// It asks for the size first, and breaks off.
    measures: bool,
}

/// A transfer that runs.
struct Transfer<'a> {
    socket: UdpSocket,
    server: SocketAddr,
    /// The server's port of this transfer, once it is known.
    peer: Option<SocketAddr>,
    wait: Duration,
    log: &'a mut Outcome,
}

fn terms_of(firmware: Firmware) -> Terms {
    match firmware {
        Firmware::Bios | Firmware::Ipxe => Terms { block: 1456, window: 1, measures: false },
        Firmware::Uefi | Firmware::UefiHttp | Firmware::Arm => {
            Terms { block: 1468, window: 4, measures: true }
        }
    }
}

/// Fetches a file; its size.
///
/// # Errors
///
/// What the server says, or that it says nothing.
pub(super) async fn fetch(
    source: Ipv4Addr,
    server: SocketAddr,
    name: &str,
    wait: Duration,
    log: &mut Outcome,
) -> Result<u64, String> {
    let terms = terms_of(log.node.firmware);
    if terms.measures {
        transfer(source, server, wait, log).await?.measure(name, terms).await?;
    }
    transfer(source, server, wait, log).await?.load(name, terms).await
}

async fn transfer(
    source: Ipv4Addr,
    server: SocketAddr,
    wait: Duration,
    log: &mut Outcome,
) -> Result<Transfer<'_>, String> {
    let socket = UdpSocket::bind((source, 0)).await.map_err(|it| format!("cannot use {source}: {it}"))?;
    Ok(Transfer { socket, server, peer: None, wait, log })
}

fn read_request(name: &str, terms: Terms, block: bool) -> Vec<u8> {
    let mut packet = vec![0, 1];
    let mut word = |it: &str| {
        packet.extend(it.as_bytes());
        packet.push(0);
    };
    word(name);
    word("octet");
    word("tsize");
    word("0");
    if block {
        word("blksize");
        word(&terms.block.to_string());
        if terms.window > 1 {
            word("windowsize");
            word(&terms.window.to_string());
        }
    }
    packet
}

fn acknowledgement(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

/// An option of an option acknowledgement.
fn option(packet: &[u8], wanted: &str) -> Option<u64> {
    let mut words =
        packet.get(2..)?.split(|it| *it == 0).map(|it| std::str::from_utf8(it).unwrap_or_default());
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key.eq_ignore_ascii_case(wanted) {
            return value.parse().ok();
        }
    }
    None
}

impl Transfer<'_> {
    /// Sends a packet until something comes; none of it is read here.
    async fn exchange(&mut self, packet: &[u8], buffer: &mut [u8]) -> Result<usize, String> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                self.log.again += 1;
            }
            self.send(packet).await?;
            if let Some(length) = self.hear(buffer).await? {
                return Ok(length);
            }
        }
        Err(format!("the TFTP server {} does not answer", self.server))
    }

    async fn send(&self, packet: &[u8]) -> Result<(), String> {
        let sent = self.socket.send_to(packet, self.peer.unwrap_or(self.server)).await;
        sent.map(drop).map_err(|it| format!("cannot send by TFTP: {it}"))
    }

    /// The next packet of this transfer; none if it does not come in time.
    async fn hear(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, String> {
        let end = Instant::now() + self.wait;
        loop {
            let received = tokio::time::timeout_at(end.into(), self.socket.recv_from(buffer)).await;
            match received {
                Err(_) => {
                    self.log.waited += self.wait;
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(format!("cannot receive by TFTP: {error}")),
                Ok(Ok((length, from))) => {
                    let ours = self.peer.map_or(from.ip() == self.server.ip(), |it| it == from);
                    if !ours || length < 4 {
                        continue;
                    }
                    self.peer = Some(from);
                    if buffer[1] == 5 {
                        let text = String::from_utf8_lossy(&buffer[4..length]);
                        return Err(format!("the TFTP server says {:?}", text.trim_end_matches('\0')));
                    }
                    return Ok(Some(length));
                }
            }
        }
    }

    /// Asks for the size and breaks off, as UEFI does to know how much room it needs.
    async fn measure(mut self, name: &str, terms: Terms) -> Result<u64, String> {
        let mut buffer = [0; PACKET_MAX];
        let length = self.exchange(&read_request(name, terms, false), &mut buffer).await?;
        // A server that knows no options answers with the file's begin.
        let size = option(&buffer[..length], "tsize").filter(|_| buffer[1] == 6).unwrap_or(0);
        self.send(b"\0\x05\0\x08User aborted the transfer\0").await?;
        Ok(size)
    }

    async fn load(mut self, name: &str, terms: Terms) -> Result<u64, String> {
        let mut buffer = [0; PACKET_MAX];
        let mut length = self.exchange(&read_request(name, terms, true), &mut buffer).await?;
        let (mut block, mut window) = (512, 1);
        if buffer[1] == 6 {
            let told = |name| option(&buffer[..length], name).and_then(|it| usize::try_from(it).ok());
            (block, window) = (told("blksize").unwrap_or(512), told("windowsize").unwrap_or(1));
            length = self.exchange(&acknowledgement(0), &mut buffer).await?;
        }
        let (mut expected, mut bytes, mut in_window, mut told) = (1_u16, 0_u64, 0, None);
        loop {
            let number = u16::from_be_bytes([buffer[2], buffer[3]]);
            if buffer[1] == 3 && number == expected {
                let size = length - 4;
                bytes += size as u64;
                expected = expected.wrapping_add(1);
                in_window += 1;
                if size < block {
                    self.send(&acknowledgement(number)).await?;
                    return Ok(bytes);
                }
            } else if number == expected.wrapping_sub(1) {
                // What was said of it was lost.
                in_window = window;
            } else if number.wrapping_sub(expected) < 0x8000 && told != Some(expected) {
                // One is missing: from there again. Said once, else each that follows would double everything.
                told = Some(expected);
                in_window = window;
            }
            let acknowledged = acknowledgement(expected.wrapping_sub(1));
            if in_window >= window {
                in_window = 0;
                length = self.exchange(&acknowledged, &mut buffer).await?;
            } else {
                length = match self.hear(&mut buffer).await? {
                    Some(it) => it,
                    None => self.exchange(&acknowledged, &mut buffer).await?,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Terms, acknowledgement, option, read_request};

    #[test]
    fn packets_have_their_form() {
        let terms = Terms { block: 1468, window: 4, measures: true };
        let asked = b"\0\x01a\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
        assert_eq!(read_request("a", terms, true), asked);
        assert_eq!(read_request("a", terms, false), b"\0\x01a\0octet\0tsize\x000\0");
        assert_eq!(acknowledgement(258), [0, 4, 1, 2]);
        assert_eq!(option(b"\0\x06blksize\x001468\0TSIZE\x0099\0", "tsize"), Some(99));
        assert_eq!(option(b"\0\x06", "tsize"), None);
    }
}
