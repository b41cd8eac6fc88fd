//! The clients of the TFTP rows: many at once in one process, each with an address of its own and a stock client's
//! rules, lock-step or by windows.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// A client asks again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Nobody waits longer for a row.
const LIMIT: Duration = Duration::from_secs(150);

/// Fetch a file by TFTP, many times at once
#[derive(Clone, Debug, Args)]
pub(in crate::bench) struct Arguments {
    server: SocketAddr,
    file: String,
    #[arg(long)]
    clients: u32,
    #[arg(long)]
    block: usize,
    #[arg(long, default_value_t = 1)]
    window: u16,
    /// The first client's address; the others follow
    #[arg(long)]
    source: Ipv4Addr,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Until the last client had it.
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    pub(super) again: u32,
    /// The window that the server agreed to.
    pub(super) window: u16,
}

pub(in crate::bench) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    tests::fleet::space::raise_limits(arguments.clients)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, load(arguments)).await })??;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

async fn load(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let mut clients = JoinSet::new();
    let begun = Instant::now();
    for index in 0..arguments.clients {
        let source = Ipv4Addr::from(u32::from(arguments.source) + index);
        let arguments = arguments.clone();
        clients.spawn(async move { Client::new(source, &arguments).await?.fetch(&arguments).await });
    }
    let mut all = Outcome::default();
    while let Some(ended) = clients.join_next().await {
        let one = ended??;
        all.bytes += one.bytes;
        all.again += one.again;
        all.window = one.window;
    }
    Ok(Outcome { seconds: begun.elapsed().as_secs_f64(), ..all })
}

struct Client {
    socket: UdpSocket,
    peer: SocketAddr,
    connected: bool,
    again: u32,
}

impl Client {
    async fn new(source: Ipv4Addr, arguments: &Arguments) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((source, 0)).await.with_context(|| format!("bind to {source}"))?;
        // A window of blocks comes at once.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &(1 << 20))?;
        Ok(Self { socket, peer: arguments.server, connected: false, again: 0 })
    }

    async fn send(&self, packet: &[u8]) -> anyhow::Result<()> {
        let sent = if self.connected {
            self.socket.send(packet).await
        } else {
            self.socket.send_to(packet, self.peer).await
        };
        sent.map(drop).context("send")
    }

    /// The next packet; what was said last is said again when none comes.
    async fn next(&mut self, said: &[u8], buffer: &mut [u8]) -> anyhow::Result<usize> {
        loop {
            let Ok(received) = tokio::time::timeout(AGAIN, self.socket.recv_from(buffer)).await else {
                self.again += 1;
                self.send(said).await?;
                continue;
            };
            let (length, from) = received.context("receive")?;
            if !self.connected {
                self.socket.connect(from).await?;
                (self.peer, self.connected) = (from, true);
            }
            ensure!(length >= 4, "a packet of {length} bytes");
            if buffer[1] == 5 {
                bail!("the server says {:?}", String::from_utf8_lossy(&buffer[4..length]));
            }
            return Ok(length);
        }
    }

    async fn fetch(mut self, arguments: &Arguments) -> anyhow::Result<Outcome> {
        let mut said = request(arguments);
        let mut buffer = vec![0; 70_000];
        self.send(&said).await?;
        let mut length = self.next(&said, &mut buffer).await?;
        let (mut block, mut window) = (512, 1);
        if buffer[1] == 6 {
            block = option(&buffer[..length], "blksize").unwrap_or(512);
            window = option(&buffer[..length], "windowsize").unwrap_or(1);
            said = vec![0, 4, 0, 0];
            self.send(&said).await?;
            length = self.next(&said, &mut buffer).await?;
        }
        let (mut expected, mut bytes, mut in_window, mut gap) = (1_u16, 0_u64, 0_u16, None);
        loop {
            let number = u16::from_be_bytes([buffer[2], buffer[3]]);
            let mut last = false;
            if buffer[1] == 3 && number == expected {
                bytes += (length - 4) as u64;
                expected = expected.wrapping_add(1);
                in_window += 1;
                last = length - 4 < block;
            } else if number == expected.wrapping_sub(1) || gap != Some(expected) {
                gap = Some(expected);
                in_window = window;
            }
            if last || in_window >= window {
                in_window = 0;
                let [high, low] = expected.wrapping_sub(1).to_be_bytes();
                said = vec![0, 4, high, low];
                self.send(&said).await?;
            }
            if last {
                return Ok(Outcome { seconds: 0.0, bytes, again: self.again, window });
            }
            length = self.next(&said, &mut buffer).await?;
        }
    }
}

fn request(arguments: &Arguments) -> Vec<u8> {
    let mut packet = format!("\0\x01{}\0octet\0", arguments.file);
    if arguments.block != 512 {
        packet.push_str(&format!("blksize\0{}\0", arguments.block));
    }
    if arguments.window > 1 {
        packet.push_str(&format!("windowsize\0{}\0", arguments.window));
    }
    packet.into_bytes()
}

/// An option that the server agreed to.
fn option<T: std::str::FromStr>(packet: &[u8], wanted: &str) -> Option<T> {
    let mut words = packet[2..].split(|it| *it == 0).map(|it| std::str::from_utf8(it).unwrap_or_default());
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key.eq_ignore_ascii_case(wanted) {
            return value.parse().ok();
        }
    }
    None
}
