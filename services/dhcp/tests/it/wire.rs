//! Wires that are not as they should be: lossy, or with another server on them.

use std::net::Ipv4Addr;
use std::process::Command;

use super::inventory::Inventory;
use super::lab::{Lab, NODE_MAC, ip};
use super::service::{DOCUMENT, Database, Service, wait};

/// A lab whose node is known as nid001, 172.16.0.1, and has an address to send from.
fn known() -> (Lab, Inventory, Service) {
    let lab = Lab::new();
    let inventory = Inventory::start(&lab.path("head"));
    inventory.set_interface(NODE_MAC, &["172.16.0.1"]);
    let service = Service::start(&lab, DOCUMENT, &[]);
    service.wait_known(NODE_MAC);
    (lab, inventory, service)
}

/// Every fifth packet is lost, both ways. Not every kernel that tests run on has netem; nftables they all have.
fn spoil(lab: &Lab) {
    for (space, link) in [(&lab.head, "head"), (&lab.node, "node")] {
        let rules = format!(
            "add table netdev bad; \
             add chain netdev bad in {{ type filter hook ingress device \"{link}\" priority 0; }}; \
             add rule netdev bad in numgen random mod 100 < 20 drop"
        );
        ip(&["netns", "exec", space, "nft", &rules]);
    }
}

#[test]
fn udhcpc_and_dhclient_get_their_address_over_a_bad_wire() {
    let (lab, _inventory, _service) = known();
    spoil(&lab);
    for _ in 0..3 {
        assert_eq!(lab.patient_udhcpc().unwrap().get("ip"), Some("172.16.0.1"));
    }
    assert_eq!(lab.dhclient().as_deref(), Some("172.16.0.1"));
}

#[test]
fn a_wire_that_doubles_and_reorders_gives_nobody_a_second_address() {
    let lab = Lab::rough(7, [15, 30, 20]);
    let inventory = Inventory::start(&lab.path("head"));
    let database = Database::new();
    let service = Service::start_with(&lab, DOCUMENT, &database);
    let lent = lab.patient_udhcpc().unwrap().get("ip").unwrap().to_owned();
    assert_eq!(lab.patient_udhcpc().unwrap().get("ip"), Some(lent.as_str()));
    assert_eq!(lab.dhclient().as_deref(), Some(lent.as_str()));
    let unknown = wait(service.client.list_unknown()).unwrap();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    let leases: Vec<serde_json::Value> = wait(service.plain.get("/pilothouse/v1/leases")).unwrap();
    assert_eq!(leases.len(), 1, "{leases:?}");
    inventory.set_interface(NODE_MAC, &["172.16.0.1"]);
    service.wait_known(NODE_MAC);
    for _ in 0..3 {
        assert_eq!(lab.patient_udhcpc().unwrap().get("ip"), Some("172.16.0.1"));
    }
    assert_eq!(lab.dhclient().as_deref(), Some("172.16.0.1"));
    assert!(wait(service.client.list_unknown()).unwrap().is_empty());
}

#[test]
fn dhcpcd_gets_its_address_over_a_bad_wire() {
    let (lab, _inventory, _service) = known();
    spoil(&lab);
    let words =
        "--oneshot --ipv4only --noarp --noipv4ll --nohook resolv.conf --nohook hostname --timeout 60 node";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "ip", "netns", "exec", &lab.node, "sh", "-c"]);
    // Its state lies at fixed places.
    let script = format!(
        "mount -t tmpfs none /var/lib/dhcpcd 2>/dev/null; mkdir -p /run/dhcpcd; mount -t tmpfs none /run/dhcpcd; \
         dhcpcd {words} && ip -4 -o addr show dev node; kill $(cat /run/dhcpcd/*.pid /run/dhcpcd/*/*.pid 2>/dev/null) 2>/dev/null; true"
    );
    let output = command.arg(script).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains("172.16.0.1/24"), "{text}");
}

/// What another server would say.
pub(super) fn offer(server: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0; 240];
    packet[..4].copy_from_slice(&[2, 1, 6, 0]);
    packet[16..20].copy_from_slice(&[172, 16, 0, 99]);
    packet[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    packet[236..].copy_from_slice(&[99, 130, 83, 99]);
    packet.extend([53, 1, 2, 54, 4]);
    packet.extend(server.octets());
    packet.extend([51, 4, 0, 0, 1, 0, 255]);
    packet
}

/// A client's packet with these options.
fn request(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut packet = offer(Ipv4Addr::UNSPECIFIED);
    packet[0] = 1;
    // It wants its answers by broadcast.
    packet[10] = 0x80;
    packet[16..20].fill(0);
    packet.truncate(240);
    for (code, value) in options {
        packet.extend([*code, u8::try_from(value.len()).unwrap()]);
        packet.extend(*value);
    }
    packet.push(255);
    packet
}

#[test]
fn another_server_raises_an_issue_with_its_mac_and_so_does_who_takes_its_offer() {
    let (lab, _inventory, service) = known();
    ip(&["-n", &lab.node, "addr", "add", "172.16.0.66/24", "dev", "node"]);
    let server = lab.socket_on_node("0.0.0.0:67");
    server.set_broadcast(true).unwrap();
    server.send_to(&offer(Ipv4Addr::new(172, 16, 0, 66)), "172.16.0.255:68").unwrap();
    let line = service.wait_for("another DHCP server answers on the plane");
    assert!(line.contains("172.16.0.66") && line.contains(NODE_MAC), "{line}");
    let client = lab.socket_on_node("0.0.0.0:68");
    let taken = [(53, &[3][..]), (54, &[172, 16, 0, 77]), (50, &[172, 16, 0, 99])];
    client.send_to(&request(&taken), "172.16.0.254:67").unwrap();
    service.wait_for("it asked another server, 172.16.0.77");
    let path = service.run_folder().join("dhcp/issues.json");
    let issues = std::fs::read_to_string(path).unwrap();
    assert!(issues.contains("other-dhcp-server/172.16.0.66") && issues.contains(NODE_MAC), "{issues}");
    assert!(issues.contains("other-dhcp-server/172.16.0.77"), "{issues}");
}

#[test]
fn beside_another_server_boot_files_come_by_both_ports_and_no_address() {
    let lab = Lab::new();
    let inventory = Inventory::start(&lab.path("head"));
    inventory.set_interface(NODE_MAC, &["172.16.0.1"]);
    let service = Service::start(
        &lab,
        &DOCUMENT.replace("kind = \"nodes\"\ninterface", "kind = \"nodes\"\nshared = true\ninterface"),
        &[],
    );
    service.wait_known(NODE_MAC);
    inventory.set_interface(NODE_MAC, &[]);
    ip(&["-n", &lab.node, "addr", "add", "172.16.0.66/24", "dev", "node"]);
    let pxe: [(u8, &[u8]); 3] = [(53, &[1]), (60, b"PXEClient:Arch:00007"), (93, &[0, 7])];
    let socket = lab.socket_on_node("0.0.0.0:68");
    let mut buffer = [0; 1500];
    // The inventory is followed beside this: until it has lost its address it is offered that.
    let length = loop {
        socket.send_to(&request(&pxe), "172.16.0.254:67").unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        if buffer[16..20] == [0; 4] {
            break length;
        }
    };
    let has = |packet: &[u8], part: &[u8]| packet.windows(part.len()).any(|it| it == part);
    for part in [&[53, 1, 2][..], &[60, 9], b"PXEClient", &[43, 4, 6, 1, 8, 255], b"snponly.efi"] {
        assert!(has(&buffer[..length], part), "{part:?}");
    }
    let boot = lab.socket_on_node("172.16.0.66:4011");
    let ask: [(u8, &[u8]); 3] = [(53, &[3]), (60, b"PXEClient:Arch:00007"), (93, &[0, 7])];
    boot.send_to(&request(&ask), "172.16.0.254:4011").unwrap();
    let length = boot.recv(&mut buffer).unwrap();
    assert!(has(&buffer[..length], &[53, 1, 5]) && has(&buffer[..length], b"snponly.efi"));
    assert_eq!(buffer[16..20], [0; 4]);
    // A stranger gets no answer there, and nobody is refused: what comes next is the node's own answer.
    let mut stranger = request(&pxe);
    stranger[33] = 0x77;
    socket.send_to(&stranger, "172.16.0.254:67").unwrap();
    let wrong = [(53, &[3][..]), (50, &[10, 0, 0, 1])];
    socket.send_to(&request(&wrong), "172.16.0.254:67").unwrap();
    socket.send_to(&request(&pxe), "172.16.0.254:67").unwrap();
    socket.recv(&mut buffer).unwrap();
    assert_eq!((&buffer[28..34], &buffer[240..243]), (&[0x52, 0x54, 0, 0, 0, 1][..], &[53, 1, 2][..]));
}

#[test]
fn perfdhcp_has_every_exchange_answered() {
    let (lab, inventory, service) = known();
    for number in 0..50 {
        inventory
            .set_interface(&format!("02:0c:01:00:00:{number:02x}"), &[&format!("172.16.0.{}", 100 + number)]);
    }
    service.wait_known("02:0c:01:00:00:31");
    ip(&["-n", &lab.node, "addr", "add", "172.16.0.66/24", "dev", "node"]);
    let words =
        "perfdhcp -4 -l 172.16.0.66 -b mac=02:0c:01:00:00:00 -R 50 -r 500 -p 2 -W 500000 172.16.0.254";
    let output = lab.on_node(&words.split(' ').collect::<Vec<_>>()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn why_tells_what_the_server_does() {
    let (_lab, _inventory, service) = known();
    let mac = NODE_MAC.parse().unwrap();
    let why = wait(service.client.explain(mac, &[("arch", "7".into())])).unwrap();
    let answer = why.answer.unwrap();
    assert_eq!((answer.ip, answer.file.as_deref()), ("172.16.0.1".parse().ok(), Some("snponly.efi")));
    assert!(why.rules.iter().any(|it| it.contains("x1000c0s0b0n0")), "{:?}", why.rules);
    let why = wait(service.client.explain(mac, &[("relay", "10.9.0.1".into())])).unwrap();
    assert_eq!(why.answer, None, "{:?}", why.rules);
    assert!(why.rules.iter().any(|it| it.contains("on the wrong cable")), "{:?}", why.rules);
}
