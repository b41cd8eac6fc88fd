//! Packets that a relay passes on.

use std::net::{Ipv4Addr, UdpSocket};

use super::inventory::Inventory;
use super::lab::{Lab, ip};
use super::service::{DOCUMENT, Service};

const RELAY_OPTION: [u8; 8] = [82, 6, 1, 4, 0, 0, 0, 9];
const FAR_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x0a];

/// A DISCOVER as a relay at this address passes it on.
fn discover(giaddr: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0; 240];
    packet[..8].copy_from_slice(&[1, 1, 6, 1, 9, 8, 7, 6]);
    packet[24..28].copy_from_slice(&giaddr.octets());
    packet[28..34].copy_from_slice(&FAR_MAC);
    packet[236..].copy_from_slice(&[99, 130, 83, 99]);
    packet.extend([53, 1, 1]);
    packet.extend(RELAY_OPTION);
    packet.push(255);
    packet
}

/// Checks an offer of 10.9.0.5: the relay's option comes back last, and the far plane's router is in it.
fn check_offer(offer: &[u8]) {
    assert_eq!((offer[0], &offer[4..8]), (2, [9, 8, 7, 6].as_slice()));
    assert_eq!(offer[16..20], [10, 9, 0, 5]);
    let end = offer.iter().rposition(|it| *it == 255).unwrap();
    assert_eq!(offer[end - 8..end], RELAY_OPTION);
    assert_eq!(offer[240..245], [53, 1, 2, 54, 4]);
    assert!(offer.windows(6).any(|it| it == [3, 4, 10, 9, 0, 1]), "the router of the far plane");
}

fn inventory(folder: &std::path::Path) -> Inventory {
    let inventory = Inventory::start(folder);
    inventory.set_interface("52:54:00:00:00:0a", &["10.9.0.5"]);
    inventory
}

/// Asks until it is answered: the inventory is followed in the background.
fn ask(socket: &UdpSocket, packet: &[u8], to: &str) -> Vec<u8> {
    socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let began = std::time::Instant::now();
    let mut buffer = [0; 1500];
    loop {
        socket.send_to(packet, to).unwrap();
        match socket.recv(&mut buffer) {
            Ok(length) => return buffer[..length].to_vec(),
            Err(error) => assert!(began.elapsed() < super::LIMIT, "no answer: {error}"),
        }
    }
}

#[test]
fn a_relay_is_answered_on_port_67_of_its_own_address() {
    let lab = Lab::new();
    let _inventory = inventory(&lab.path("head"));
    let _service = Service::start(&lab, DOCUMENT, &[]);
    // The relay's leg on the far plane, and a router between.
    ip(&["-n", &lab.node, "addr", "add", "172.16.0.9/24", "dev", "node"]);
    ip(&["-n", &lab.node, "addr", "add", "10.9.0.1/24", "dev", "lo"]);
    ip(&["-n", &lab.head, "route", "add", "10.9.0.0/24", "via", "172.16.0.9"]);
    let relay = lab.socket_on_node("10.9.0.1:67");
    let offer = ask(&relay, &discover(Ipv4Addr::new(10, 9, 0, 1)), "172.16.0.254:67");
    check_offer(&offer);
    assert_eq!(offer[245..249], [172, 16, 0, 254], "the server is where the relay reaches it");
}

#[test]
fn a_relay_on_this_machine_is_answered_where_it_asks_from() {
    let folder = tempfile::tempdir().unwrap();
    let _inventory = inventory(folder.path());
    let port = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (dhcp, tftp) = (port(), port());
    let listen = format!("dhcp=udp:{dhcp} tftp=udp:{tftp}");
    let _service = Service::spawn(&[], folder.path(), DOCUMENT, &listen);
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    let offer = ask(&relay, &discover(Ipv4Addr::new(10, 9, 0, 1)), &dhcp.to_string());
    check_offer(&offer);
}
