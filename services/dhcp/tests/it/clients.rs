//! Real clients on a wire.

use std::process::Stdio;

use super::inventory::Inventory;
use super::lab::{Lab, NODE_MAC};
use super::service::{DOCUMENT, Database, Service, wait};

/// A lab whose node is known as nid001, 172.16.0.1.
fn known() -> (Lab, Inventory, Service) {
    let lab = Lab::new();
    let inventory = Inventory::start(&lab.path("head"));
    inventory.set_interface(NODE_MAC, &["172.16.0.1"]);
    let service = Service::start(&lab, DOCUMENT, &[]);
    service.wait_known(NODE_MAC);
    (lab, inventory, service)
}

#[test]
fn udhcpc_gets_its_address_name_and_options() {
    let (lab, _inventory, service) = known();
    let broadcasts = lab.socket_on_node("0.0.0.0:68");
    let given = lab.udhcpc(&["-O", "42"]).unwrap();
    broadcasts.set_nonblocking(true).unwrap();
    let heard = broadcasts.recv(&mut [0; 1500]).map_err(|it| it.kind());
    assert_eq!(heard, Err(std::io::ErrorKind::WouldBlock), "it is answered by frames of its own");
    for (name, value) in [
        ("ip", "172.16.0.1"),
        ("subnet", "255.255.255.0"),
        ("broadcast", "172.16.0.255"),
        ("dns", "172.16.0.254"),
        ("hostname", "nid001"),
        ("domain", "cluster.example"),
        ("ntpsrv", "172.16.0.254"),
        ("lease", "86400"),
        ("serverid", "172.16.0.254"),
    ] {
        assert_eq!(given.get(name), Some(value), "{name}");
    }
    assert_eq!(given.get("router"), None);
    assert_eq!(given.get("boot_file"), None);
    let line = service.wait_for("dhcp-ack: ");
    assert!(line.contains("x1000c0s0b0n0") && line.contains("172.16.0.1"), "{line}");
    service.wait_for("dhcp-discover: ");
    let lease = wait(service.client.find_lease_by_ip("172.16.0.1".parse().unwrap())).unwrap().unwrap();
    assert_eq!(lease.plane, "nodes");
    assert!(lease.expires.is_some());
    assert!(service.stop().success(), "SIGTERM ends it well");
}

#[test]
fn a_client_that_wants_broadcast_or_its_old_address_gets_it() {
    let (lab, _inventory, _service) = known();
    assert_eq!(lab.udhcpc(&["-B"]).unwrap().get("ip"), Some("172.16.0.1"));
    assert_eq!(lab.udhcpc(&["-r", "172.16.0.77"]).unwrap().get("ip"), Some("172.16.0.1"));
    assert_eq!(
        lab.udhcpc(&["-x", "0x3d:00aabbcc"]).unwrap().get("ip"),
        Some("172.16.0.1"),
        "another client-id"
    );
}

#[test]
fn a_boot_loader_gets_the_file_it_can_run() {
    let (lab, _inventory, _service) = known();
    let boot = |words: &[&str]| {
        let given = lab.udhcpc(&[words, &["-O", "67"]].concat()).unwrap();
        (given.get("boot_file").map(str::to_owned), given.get("siaddr").map(str::to_owned))
    };
    let head = Some("172.16.0.254".to_owned());
    let bios = boot(&["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"]);
    assert_eq!(bios, (Some("undionly.kpxe".to_owned()), head.clone()));
    let uefi = boot(&["-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007"]);
    assert_eq!(uefi, (Some("snponly.efi".to_owned()), head.clone()));
    let http = boot(&["-V", "HTTPClient:Arch:00016:UNDI:003016", "-x", "0x5d:0010"]);
    assert_eq!(http, (Some("http://172.16.0.254:8080/ipxe/snponly.efi".to_owned()), head.clone()));
    let ipxe = boot(&["-x", "0x4d:69505845", "-x", "0x5d:0000"]);
    let script = format!("http://172.16.0.254:8081/boot/v1/bootscript?mac={NODE_MAC}");
    assert_eq!(ipxe, (Some(script), head));
}

#[test]
fn dhclient_binds_and_releases() {
    let (lab, _inventory, service) = known();
    let (script, leases, pid) = (lab.path("script"), lab.path("leases"), lab.path("pid"));
    let words = |verb| {
        let text = |it: &std::path::Path| it.to_str().unwrap().to_owned();
        let files =
            ["-lf".to_owned(), text(&leases), "-pf".to_owned(), text(&pid), "-sf".to_owned(), text(&script)];
        let mut command = lab.on_node(&["dhclient", "-4", "-v", verb]);
        command.args(files).args(["-e", &format!("OUT={}", lab.path("out").display()), "node"]);
        command
    };
    let bound = words("-1").output().unwrap();
    assert!(bound.status.success(), "{}", String::from_utf8_lossy(&bound.stderr));
    let given = lab.given(&bound);
    assert_eq!(given.get("new_ip_address"), Some("172.16.0.1"));
    assert_eq!(given.get("new_host_name"), Some("nid001"));
    assert_eq!(given.get("new_dhcp_lease_time"), Some("86400"));
    let released = words("-r").output().unwrap();
    assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    service.wait_for("released 172.16.0.1");
}

#[test]
fn without_raw_sockets_clients_are_answered_by_broadcast() {
    let lab = Lab::new();
    let inventory = Inventory::start(&lab.path("head"));
    inventory.set_interface(NODE_MAC, &["172.16.0.1"]);
    let before = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"];
    let service = Service::start(&lab, DOCUMENT, &before);
    service.wait_for("no raw socket");
    service.wait_known(NODE_MAC);
    let broadcasts = lab.socket_on_node("0.0.0.0:68");
    assert_eq!(lab.udhcpc(&[]).unwrap().get("ip"), Some("172.16.0.1"));
    assert!(broadcasts.recv(&mut [0; 1500]).unwrap() >= 300);
}

#[test]
fn known_machines_are_served_after_a_restart_without_the_inventory() {
    let (lab, inventory, service) = known();
    inventory.vanish();
    assert!(service.stop().success());
    let service = Service::start(&lab, DOCUMENT, &[]);
    let ready: serde_json::Value = wait(service.plain.get("/readyz")).unwrap();
    assert_eq!(ready["inventory"], "last-good");
    assert_eq!(lab.udhcpc(&[]).unwrap().get("ip"), Some("172.16.0.1"));
}

#[test]
fn an_unknown_machine_is_lent_an_address_until_it_is_added() {
    let lab = Lab::new();
    let inventory = Inventory::start(&lab.path("head"));
    let database = Database::new();
    let service = Service::start_with(&lab, DOCUMENT, &database);
    let script = lab.path("script");
    let mut command =
        lab.on_node(&["udhcpc", "-i", "node", "-f", "-t", "5", "-T", "1", "-s", script.to_str().unwrap()]);
    let mut udhcpc = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    service.wait_for("has 172.16.0.2");
    let unknown = wait(service.client.list_unknown()).unwrap();
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].mac.to_string(), NODE_MAC);
    assert_eq!((unknown[0].plane.as_str(), unknown[0].reason.as_str()), ("nodes", "not-in-inventory"));
    assert!(unknown[0].vendor_class.starts_with("udhcp") && unknown[0].count >= 2);
    let lent = unknown[0].ip.unwrap();
    assert_eq!(service.count("is in no inventory"), 1, "the journal hears of it once");
    // The lease outlives a restart.
    assert!(service.stop().success());
    let service = Service::start_with(&lab, DOCUMENT, &database);
    let lease = wait(service.client.find_lease_by_ip(lent)).unwrap().unwrap();
    assert_eq!((lease.mac.to_string().as_str(), lease.node), (NODE_MAC, None));
    // Added: its next request is refused, and it takes its own address by itself.
    inventory.set_interface(NODE_MAC, &["172.16.0.1"]);
    service.wait_known(NODE_MAC);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(udhcpc.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
    service.wait_for("refused");
    service.wait_for("has 172.16.0.1");
    assert!(wait(service.client.list_unknown()).unwrap().is_empty());
    assert!(wait(service.client.find_lease_by_ip(lent)).unwrap().is_none());
    udhcpc.kill().unwrap();
    udhcpc.wait().unwrap();
}

#[test]
fn a_plane_without_a_pool_answers_no_stranger() {
    let lab = Lab::new();
    let _inventory = Inventory::start(&lab.path("head"));
    let service = Service::start(&lab, &DOCUMENT.replace("range =", "# range ="), &[]);
    assert!(lab.udhcpc(&["-t", "2"]).is_none());
    service.wait_for("no answer: there is no range");
    service.wait_for("dhcp-offer: 52:54:00:00:00:01 is offered nothing: there is no range");
    assert_eq!(service.count("is in no inventory"), 1);
}
