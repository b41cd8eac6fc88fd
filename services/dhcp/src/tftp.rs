//! The TFTP server (RFC 1350 with options): read only, from a fixed table of names.
//!
//! Requests are taken from port 69 by the task in this file. The transfers of all clients of one address of the head
//! share a second port of it, told apart by the client's address and port ([`port`]): RFC 1350 section 4 only wants a
//! port that is not 69, and one socket is read and written for many clients at once.

mod files;
mod limits;
mod port;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use domain::{BootStage, Service, StageResult};
use nix::sys::socket::{setsockopt, sockopt};
use prometheus_client::metrics::counter::Counter;
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;

use crate::net::receive;
use crate::state::State;
use crate::wire::tftp::{ErrorCode, Packet, error, read};

use files::Files;
use limits::Rates;
use port::{Client, Port, Refused, Transfer};

/// How long open transfers may take after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How often is looked for files that nobody loads any more.
const FORGET_EVERY: Duration = Duration::from_secs(20);
const REQUEST_MAX: usize = 1024;
/// Addresses of the head that transfers are made from; each costs a socket and a thread.
const PORTS_MAX: usize = 64;

static REFUSED: LazyLock<Counter> =
    LazyLock::new(|| web::counter("tftp_refused", "TFTP requests refused: unknown names, writes, too many"));

/// The TFTP server.
pub(crate) struct Server {
    socket: tokio::net::UdpSocket,
    state: Arc<State>,
    files: Files,
    rates: Rates,
    /// By the head's address.
    ports: HashMap<Ipv4Addr, Arc<Port>>,
}

impl Server {
    /// Takes the socket.
    pub(crate) fn new(socket: UdpSocket, state: Arc<State>) -> io::Result<Self> {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Self { socket, state, files: Files::default(), rates: Rates::default(), ports: HashMap::new() })
    }

    /// Answers until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut forget = tokio::time::interval(FORGET_EVERY);
        let mut buffer = [0; REQUEST_MAX];
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = forget.tick() => {
                    self.files.forget(Instant::now());
                    continue;
                }
                ready = self.socket.readable() => ready?,
            }
            match self.socket.try_io(Interest::READABLE, || receive(&self.socket, &mut buffer)) {
                Ok(it) => self.handle(&buffer[..it.length], it.from, it.local).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => tracing::debug!(%error, "a TFTP request cannot be received"),
            }
        }
        self.drain().await
    }

    /// Waits for the transfers under way.
    async fn drain(self) -> anyhow::Result<()> {
        let drained = tokio::task::spawn_blocking(move || {
            let until = Instant::now() + DRAIN_MAX;
            self.ports.values().map(|it| it.drain(until)).sum::<usize>()
        });
        let left = drained.await?;
        if left > 0 {
            tracing::info!("{left} TFTP transfers are left unfinished");
        }
        Ok(())
    }

    async fn handle(&mut self, packet: &[u8], from: SocketAddrV4, local: Ipv4Addr) {
        let request = match read(packet) {
            Packet::Read(request) => request,
            Packet::Write => return self.refuse(from, ErrorCode::Access, "nothing is written here"),
            Packet::Error(..) => return,
            Packet::Ack(_) | Packet::Other => {
                return self.refuse(from, ErrorCode::Illegal, "no TFTP read request");
            }
        };
        let now = Instant::now();
        if !self.rates.take(*from.ip(), now) {
            // A refusal would be one more packet to an address that is perhaps not the sender's.
            REFUSED.inc();
            return;
        }
        let Some(bytes) = self.files.find(&self.state, &request.name, (*from.ip(), local), now).await else {
            self.note_missing(&request.name, *from.ip());
            return self.refuse(from, ErrorCode::NotFound, "no such file");
        };
        let port = match self.port(local) {
            Ok(port) => port,
            Err(error) => {
                tracing::warn!(%error, "no TFTP transfer can be made from {local}");
                return self.refuse(from, ErrorCode::Other, "the server cannot send now; ask again");
            }
        };
        let (node, mac) = self.state.machine_at(*from.ip());
        let client = Client { node, mac, address: from, name: request.name.clone() };
        if let Err(Refused) = port.begin(Transfer::new(client, &request, bytes, now), now) {
            self.refuse(from, ErrorCode::Other, "too many transfers; ask again");
        }
    }

    /// Tells that a machine which boots asked for what is not there.
    fn note_missing(&self, name: &str, ip: Ipv4Addr) {
        let (node, mac) = self.state.machine_at(ip);
        if mac.is_none() {
            return tracing::info!(client = %ip, "TFTP: there is no file {name:?}");
        }
        let detail = format!("{ip} asked for {name:?}, which is not served");
        let event = daemon::BootEvent::new(Service::Dhcp, BootStage::TftpStart, detail);
        let event = event.node(node.as_ref()).mac(mac).ip(ip).image(name);
        event.result(StageResult::Failed).fact("why", "no-such-file").send();
    }

    /// Where transfers from this address of the head go through.
    fn port(&mut self, local: Ipv4Addr) -> io::Result<Arc<Port>> {
        if let Some(port) = self.ports.get(&local) {
            return Ok(Arc::clone(port));
        }
        if self.ports.len() >= PORTS_MAX {
            return Err(io::Error::other("too many addresses"));
        }
        let port = Port::open(local)?;
        self.ports.insert(local, Arc::clone(&port));
        Ok(port)
    }

    fn refuse(&self, to: SocketAddrV4, code: ErrorCode, text: &str) {
        REFUSED.inc();
        if let Err(error) = self.socket.try_send_to(&error(code, text), to.into()) {
            tracing::debug!(%error, "a TFTP refusal cannot be sent");
        }
    }
}
