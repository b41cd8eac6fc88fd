//! A relay on this machine, and clients behind it by their packets.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::inventory::Inventory;
use super::service::{DOCUMENT, Database, Service};

/// How long a client waits before it asks again.
const AGAIN: Duration = Duration::from_millis(500);
/// A relay in the network of the plane `nodes`.
const RELAY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 253);

/// The service on loopback, asked as a relay asks.
pub(super) struct Desk {
    pub(super) inventory: Inventory,
    pub(super) service: Service,
    socket: UdpSocket,
    dhcp: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Got {
    /// Option 53.
    pub(super) kind: u8,
    pub(super) ip: Ipv4Addr,
    mac: [u8; 6],
}

pub(super) const DISCOVER: u8 = 1;
pub(super) const OFFER: u8 = 2;
pub(super) const REQUEST: u8 = 3;
pub(super) const DECLINE: u8 = 4;
pub(super) const ACK: u8 = 5;

/// A client's MAC by a number.
pub(super) fn mac(number: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 1, 0, number]
}

impl Desk {
    pub(super) fn new(database: &Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inventory = Inventory::start(folder.path());
        let port = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (dhcp, tftp) = (port(), port());
        let listen = format!("dhcp=udp:{dhcp} tftp=udp:{tftp}");
        let service = Service::spawn_with(&[], folder.path(), DOCUMENT, &listen, Some(database));
        service.wait_durable(true);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(AGAIN)).unwrap();
        Self { inventory, service, socket, dhcp, _folder: folder }
    }

    /// Sends a packet of a client: its address, and options.
    pub(super) fn send(&self, mac: [u8; 6], kind: u8, ciaddr: Option<Ipv4Addr>, options: &[(u8, &[u8])]) {
        let mut packet = vec![0; 240];
        packet[..4].copy_from_slice(&[1, 1, 6, 1]);
        packet[12..16].copy_from_slice(&ciaddr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        packet[24..28].copy_from_slice(&RELAY.octets());
        packet[28..34].copy_from_slice(&mac);
        packet[236..].copy_from_slice(&[99, 130, 83, 99]);
        packet.extend([53, 1, kind]);
        for (code, value) in options {
            packet.extend([*code, u8::try_from(value.len()).unwrap()]);
            packet.extend(*value);
        }
        packet.push(255);
        self.socket.send_to(&packet, self.dhcp).unwrap();
    }

    /// The next answer, whoever's it is; none if there is none for a while.
    pub(super) fn receive(&self) -> Option<Got> {
        let mut buffer = [0; 1500];
        let length = self.socket.recv(&mut buffer).ok()?;
        assert!(length > 242 && buffer[240..242] == [53, 1], "{:?}", &buffer[..length]);
        let ip: [u8; 4] = buffer[16..20].try_into().unwrap();
        Some(Got { kind: buffer[242], ip: ip.into(), mac: buffer[28..34].try_into().unwrap() })
    }

    /// Asks until it is answered.
    pub(super) fn ask(
        &self,
        mac: [u8; 6],
        kind: u8,
        ciaddr: Option<Ipv4Addr>,
        options: &[(u8, &[u8])],
    ) -> Got {
        let began = std::time::Instant::now();
        loop {
            self.send(mac, kind, ciaddr, options);
            match self.receive() {
                Some(got) if got.mac == mac => return got,
                _ => assert!(began.elapsed() < super::LIMIT, "no answer"),
            }
        }
    }

    /// From DISCOVER to ACK.
    pub(super) fn bind(&self, mac: [u8; 6]) -> Ipv4Addr {
        let offer = self.ask(mac, DISCOVER, None, &[]);
        assert_eq!(offer.kind, OFFER);
        let ack = self.ask(mac, REQUEST, None, &[(50, &offer.ip.octets())]);
        assert_eq!((ack.kind, ack.ip), (ACK, offer.ip));
        ack.ip
    }
}
