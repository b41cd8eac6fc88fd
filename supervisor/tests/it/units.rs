//! The unit files against the code: what one of them says, the other must mean.

use std::fs;
use std::path::{Path, PathBuf};

use domain::Service;
use domain::port::{Protocol, TABLE};

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../units/usr")
}

fn read(path: &str) -> String {
    fs::read_to_string(units().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn unit(name: &str) -> String {
    read(&format!("lib/systemd/system/{name}"))
}

#[test]
fn every_event_has_a_catalog_entry_and_every_entry_an_event() {
    let catalog = read("lib/systemd/catalog/pilothouse.catalog");
    let ids: Vec<_> = catalog.lines().filter_map(|it| it.strip_prefix("-- ")).collect();
    let events: Vec<_> = domain::event::ALL.iter().map(|it| it.id).collect();
    for event in domain::event::ALL {
        assert!(ids.contains(&event.id), "{} ({}) has no entry", event.name, event.id);
    }
    assert_eq!(ids.len(), events.len(), "{ids:?}");
}

#[test]
fn every_service_has_its_unit_socket_and_user() {
    let sysusers = read("lib/sysusers.d/pilothouse.conf");
    let target = unit("pilothouse.target");
    for service in Service::ALL {
        let text = unit(&service.unit());
        assert!(text.contains(&format!("ExecStart=/usr/bin/pilothouse {service}\n")), "{text}");
        assert!(text.contains(&format!("User=pilothouse-{service}\n")), "{text}");
        assert!(text.contains("Type=notify\n") && text.contains("WatchdogSec=20s\n"), "{text}");
        assert!(target.contains(&service.unit()), "{service}");
        let socket = unit(&format!("pilothouse-{service}.socket"));
        assert!(socket.contains(&format!("ListenStream=/run/pilothouse/{service}.sock\n")), "{socket}");
        assert!(
            socket.contains("SocketMode=0666\n") && socket.contains("FileDescriptorName=http\n"),
            "{socket}"
        );
        assert!(sysusers.contains(&format!("u pilothouse-{service} {} ", service.uid())), "{service}");
    }
}

#[test]
fn a_database_has_its_line_in_the_ident_map() {
    let map = read("lib/pilothouse/pg_ident.conf");
    for service in Service::ALL {
        let words = ["pilothouse", &format!("pilothouse-{service}"), service.key()];
        let there = map.lines().any(|it| it.split_whitespace().eq(words));
        assert_eq!(there, service.has_database(), "{service}");
    }
}

#[test]
fn the_sockets_are_the_port_table() {
    let mut listened = Vec::new();
    for entry in fs::read_dir(units().join("lib/systemd/system")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "socket") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let (protocol, address) = match line.split_once('=') {
                    Some(("ListenStream", address)) => (Protocol::Tcp, address),
                    Some(("ListenDatagram", address)) => (Protocol::Udp, address),
                    _ => continue,
                };
                if let Some((_, port)) = address.rsplit_once(':') {
                    listened.push((protocol == Protocol::Tcp, port.parse::<u16>().unwrap()));
                }
            }
        }
    }
    listened.sort_unstable();
    let ours = TABLE.iter().filter(|it| it.unit.starts_with("pilothouse-"));
    let mut table: Vec<_> = ours.map(|it| (it.protocol == Protocol::Tcp, it.number)).collect();
    table.sort_unstable();
    assert_eq!(listened, table);
}

#[test]
fn nothing_of_ours_lies_in_etc_and_what_waits_for_the_setup_says_so() {
    assert!(!units().join("../etc").exists());
    for entry in fs::read_dir(units().join("lib/systemd/system")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let exempt = ["supervisor.service", "firstboot.service", "setup-complete.service", "render@.service"];
        if path.is_dir() || !name.starts_with("pilothouse") || exempt.iter().any(|it| name.ends_with(it)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("ConditionPathExists=/etc/pilothouse/pilothouse.toml\n"), "{name}");
    }
}

/// What was on trial when the machine went down is taken back before anything reads it.
#[test]
fn a_configuration_is_taken_back_before_the_network_and_every_service() {
    let boot = unit("pilothouse-revert-boot.service");
    assert!(boot.contains("DefaultDependencies=no\n") && boot.contains("RefuseManualStart=yes\n"), "{boot}");
    let before: Vec<_> = boot.lines().filter_map(|it| it.strip_prefix("Before=")).collect();
    let before: Vec<_> = before.iter().flat_map(|it| it.split(' ')).collect();
    for other in ["systemd-networkd.service", "nftables.service", "sysinit.target"] {
        assert!(before.contains(&other), "{before:?}");
    }
    let link = units().join("lib/systemd/system/sysinit.target.wants/pilothouse-revert-boot.service");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("../pilothouse-revert-boot.service"));
    // Both are told which boot this is.
    for name in ["pilothouse-supervisor.service", "pilothouse-revert@.service"] {
        assert!(unit(name).contains("ExecStart=/usr/bin/pilothouse-supervisor --boot %b"), "{name}");
    }
}
