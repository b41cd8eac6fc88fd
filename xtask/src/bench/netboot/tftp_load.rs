//! The clients of the TFTP rows: many at once in one process, each with an address of its own and a stock client's
//! rules, lock-step or by windows.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

/// A client asks again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How long is waited for packets, in milliseconds, before it is looked for who waits too long.
const LOOK_EVERY: u8 = 100;
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
    println!("{}", serde_json::to_string(&load(arguments)?)?);
    Ok(())
}

/// One thread and one look at each packet: the load should cost less than the servers.
fn load(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("make an epoll instance")?;
    let begun = Instant::now();
    let mut clients = Vec::new();
    for index in 0..arguments.clients {
        let source = Ipv4Addr::from(u32::from(arguments.source) + index);
        let client = Client::start(source, arguments, begun)?;
        epoll.add(&client.socket, EpollEvent::new(EpollFlags::EPOLLIN, u64::from(index)))?;
        clients.push(client);
    }
    let mut buffer = vec![0; 70_000];
    let mut events = vec![EpollEvent::empty(); 256];
    let (mut open, mut looked) = (clients.len(), begun);
    while open > 0 {
        let count = epoll.wait(&mut events, LOOK_EVERY)?;
        let now = Instant::now();
        ensure!(now.duration_since(begun) < LIMIT, "{open} clients have no whole file after {LIMIT:?}");
        for event in &events[..count] {
            let client = &mut clients[usize::try_from(event.data())?];
            if client.take(&mut buffer, now)? {
                epoll.delete(&client.socket)?;
                open -= 1;
            }
        }
        if now.duration_since(looked) >= AGAIN / 4 {
            looked = now;
            clients.iter_mut().try_for_each(|it| it.ask_again(now))?;
        }
    }
    let mut all = Outcome { seconds: begun.elapsed().as_secs_f64(), ..Outcome::default() };
    for one in clients {
        all.bytes += one.bytes;
        all.again += one.again;
        all.window = one.window;
    }
    Ok(all)
}

/// One transfer.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    /// The server's port for this transfer is known.
    connected: bool,
    /// What was said last, and when.
    said: Vec<u8>,
    when: Instant,
    done: bool,
    block: usize,
    window: u16,
    expected: u16,
    in_window: u16,
    /// The block that was missed and told of.
    gap: Option<u16>,
    bytes: u64,
    again: u32,
}

impl Client {
    fn start(source: Ipv4Addr, arguments: &Arguments, now: Instant) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((source, 0)).with_context(|| format!("bind to {source}"))?;
        // A window of blocks comes at once.
        setsockopt(&socket, sockopt::RcvBuf, &(1 << 20))?;
        let said = request(arguments);
        socket.send_to(&said, arguments.server).context("ask for the file")?;
        Ok(Self {
            socket,
            server: arguments.server,
            connected: false,
            said,
            when: now,
            done: false,
            block: 512,
            window: 1,
            expected: 1,
            in_window: 0,
            gap: None,
            bytes: 0,
            again: 0,
        })
    }

    /// Takes one packet; whether the file is whole.
    fn take(&mut self, buffer: &mut [u8], now: Instant) -> anyhow::Result<bool> {
        let length = if self.connected {
            self.socket.recv(buffer).context("receive")?
        } else {
            let (length, from) = self.socket.recv_from(buffer).context("receive")?;
            self.socket.connect(from)?;
            self.connected = true;
            length
        };
        ensure!(length >= 4, "a packet of {length} bytes");
        match buffer[1] {
            3 => self.take_block(u16::from_be_bytes([buffer[2], buffer[3]]), length - 4, now),
            6 => {
                self.block = option(&buffer[..length], "blksize").unwrap_or(512);
                self.window = option(&buffer[..length], "windowsize").unwrap_or(1);
                self.acknowledge(0, now).map(|()| false)
            }
            5 => bail!("the server says {:?}", String::from_utf8_lossy(&buffer[4..length])),
            other => bail!("a packet of kind {other}"),
        }
    }

    fn take_block(&mut self, number: u16, length: usize, now: Instant) -> anyhow::Result<bool> {
        if number == self.expected {
            self.bytes += length as u64;
            self.expected = self.expected.wrapping_add(1);
            self.in_window += 1;
            self.done = length < self.block;
        } else if number == self.expected.wrapping_sub(1) || self.gap != Some(self.expected) {
            self.gap = Some(self.expected);
            self.in_window = self.window;
        }
        if self.done || self.in_window >= self.window {
            self.in_window = 0;
            self.acknowledge(self.expected.wrapping_sub(1), now)?;
        }
        Ok(self.done)
    }

    fn acknowledge(&mut self, number: u16, now: Instant) -> anyhow::Result<()> {
        let [high, low] = number.to_be_bytes();
        self.said.clear();
        self.said.extend_from_slice(&[0, 4, high, low]);
        self.say(now)
    }

    fn say(&mut self, now: Instant) -> anyhow::Result<()> {
        self.when = now;
        let sent = if self.connected {
            self.socket.send(&self.said)
        } else {
            self.socket.send_to(&self.said, self.server)
        };
        sent.map(drop).context("send")
    }

    /// Says again what was said last, after a time without an answer.
    fn ask_again(&mut self, now: Instant) -> anyhow::Result<()> {
        if self.done || now.duration_since(self.when) < AGAIN {
            return Ok(());
        }
        self.again += 1;
        self.say(now)
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
