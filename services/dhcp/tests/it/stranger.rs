//! What nobody should send.

use super::inventory::Inventory;
use super::lab::{Lab, NODE_MAC};
use super::service::{DOCUMENT, Service};

#[test]
fn rubbish_ends_nothing_and_is_told_once() {
    let lab = Lab::new();
    let inventory = Inventory::start(&lab.path("head"));
    inventory.set_interface(NODE_MAC, &["172.16.0.1"]);
    let service = Service::start(&lab, DOCUMENT, &[]);
    super::lab::ip(&["-n", &lab.node, "addr", "add", "172.16.0.9/24", "dev", "node"]);
    let socket = lab.socket_on_node("172.16.0.9:0");
    let mut seed = 7u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as u8
    };
    // A million in the long run of the tests.
    let count =
        if std::env::var("PILOTHOUSE_TESTS").is_ok_and(|it| it == "all") { 1_000_000 } else { 20_000 };
    let mut before = 0;
    for number in 0..count {
        if number == count / 10 {
            before = service.memory_kib();
        }
        let length = usize::from(random()) * 3;
        let mut bytes: Vec<u8> = (0..length).map(|_| random()).collect();
        if length > 240 {
            // Half of them begin as a request does.
            bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
            bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        }
        socket.send_to(&bytes, "172.16.0.254:67").unwrap();
        socket.send_to(&bytes[..length.min(600)], "172.16.0.254:69").unwrap();
    }
    service.wait_for("is no DHCP request");
    let grown = service.memory_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "the memory grew by {grown} KiB");
    let given = lab.udhcpc(&[]).unwrap();
    assert_eq!(given.get("ip"), Some("172.16.0.1"));
    assert_eq!(service.count("is no DHCP request"), 1);
    assert!(service.stop().success());
}
