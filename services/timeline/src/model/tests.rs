//! Boots told as lists of steps, and what the rules make of each.

use std::net::IpAddr;
use std::time::Duration;

use domain::{BootStage, Service, StageResult};
use time::OffsetDateTime;
use time::macros::datetime;

use super::board::{Board, Key};
use super::boot::{Boot, Finding, Kind, Outcome};
use super::cause::Cause;
use super::report::{last_together, report};
use crate::config::Limits;
use crate::wire::Event;

mod transfers;

const START: OffsetDateTime = datetime!(2026-11-22 20:00 UTC);
const NODE: &str = "x1000c0s0b0n0";

/// A board, and the time of the last step.
struct Lab {
    board: Board,
    now: OffsetDateTime,
    found: Vec<Finding>,
}

fn event(stage: &str, facts: &str) -> Event {
    let mut event = Event {
        time: START,
        service: Service::Dhcp,
        stage: stage.parse().unwrap(),
        node: NODE.parse().ok(),
        mac: "52:54:00:00:00:01".parse().ok(),
        ip: "172.16.0.1".parse::<IpAddr>().ok(),
        result: StageResult::Ok,
        bytes: None,
        duration_ms: None,
        image: None,
        facts: Default::default(),
        detail: "told".to_owned(),
    };
    for (name, value) in facts.split_whitespace().filter_map(|it| it.split_once('=')) {
        match name {
            "image" => event.image = Some(value.to_owned()),
            _ => drop(event.facts.insert(name.to_owned(), value.to_owned())),
        }
        match name {
            "why" => event.result = StageResult::Failed,
            "begun" => event.result = StageResult::Begun,
            _ => {}
        }
    }
    event
}

impl Lab {
    fn new() -> Self {
        Self { board: Board::new(Limits::default()), now: START, found: Vec::new() }
    }

    /// Takes steps, one a line: `+SECONDS stage facts`.
    fn take(&mut self, steps: &str) -> &mut Self {
        for line in steps.lines().map(str::trim).filter(|it| !it.is_empty()) {
            let (after, rest) = line.split_once(' ').unwrap();
            let (stage, facts) = rest.split_once(' ').unwrap_or((rest, ""));
            self.wait(after.trim_start_matches('+').parse().unwrap());
            let event = Event { time: self.now, ..event(stage, facts) };
            let taken = self.board.take(&Key::Node(NODE.to_owned()), &event);
            self.found.extend(taken.found);
        }
        self
    }

    /// Nothing happens for so long, and boots are looked at each second.
    fn wait(&mut self, seconds: f64) -> &mut Self {
        let until = self.now + time::Duration::seconds_f64(seconds);
        while self.now < until {
            self.now = (self.now + time::Duration::SECOND).min(until);
            self.found.extend(self.board.look(self.now).into_iter().map(|it| it.1));
        }
        self
    }

    fn boot(&self) -> &Boot {
        self.board.get(NODE).unwrap()
    }

    /// What is wrong now: stage and cause of each.
    fn wrong(&self) -> Vec<(&'static str, Cause)> {
        self.boot().findings.iter().map(|it| (it.stage.name(), it.cause)).collect()
    }
}

const DISCOVER: &str = "+20 dhcp-discover client=firmware arch=7";
const FIRMWARE: &str = "+0 power-on
    +20 dhcp-discover client=firmware arch=7
    +1 dhcp-offer client=firmware
    +1 dhcp-ack client=firmware image=ipxe.efi
    +1 tftp-start image=ipxe.efi
    +1 tftp-end image=ipxe.efi";
const IPXE: &str = "+3 dhcp-discover client=ipxe
    +1 dhcp-offer client=ipxe
    +1 dhcp-ack client=ipxe image=http://172.16.0.254:8081/boot/v1/bootscript";
const SCRIPT: &str = "+1 script kernel=http://172.16.0.254:8080/k initrd=http://172.16.0.254:8080/i \
    root=http://172.16.0.254:8080/r seed=http://172.16.0.254:8081/cloud-init/";
const SYSTEM: &str = "+2 kernel
    +4 initrd
    +20 dhcp-discover client=os
    +0 dhcp-ack client=os
    +9 root
    +30 metadata
    +0.1 userdata";

#[test]
fn a_good_boot_has_nothing_wrong_and_its_steps_in_order() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE).take(IPXE).take(SCRIPT).take(SYSTEM).take("+5 phone-home\n+5 login").wait(4000.0);
    assert!(lab.found.is_empty(), "{:?}", lab.found);
    let boot = lab.boot();
    assert_eq!((boot.result, boot.stage), (Outcome::Good, BootStage::Login));
    let stages: Vec<_> = boot.steps.iter().map(|it| (it.stage.name(), it.times)).collect();
    assert_eq!(stages[..4], [("power-on", 1), ("dhcp-discover", 3), ("dhcp-offer", 2), ("dhcp-ack", 3)]);
    assert_eq!(stages.last(), Some(&("login", 1)));
    assert_eq!(boot.steps[1].took_ms, 20_000);
}

#[test]
fn slow_machines_that_go_on_are_named_for_no_longer_than_they_stand() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE).wait(60.0);
    assert_eq!(lab.wrong(), [("script", Cause::NoScriptRequest)]);
    assert_eq!(lab.boot().result, Outcome::Stopped);
    lab.take(IPXE).take(SCRIPT).take(SYSTEM);
    assert!(lab.wrong().is_empty());
    assert_eq!((lab.boot().result, lab.found.len()), (Outcome::Good, 1));
}

#[test]
fn tftp_that_is_dropped_is_named_after_20_seconds() {
    let mut lab = Lab::new();
    let until_ack = FIRMWARE.split("+1 tftp-start").next().unwrap();
    lab.take(until_ack).wait(19.0);
    assert!(lab.found.is_empty());
    lab.wait(2.0);
    assert_eq!(lab.wrong(), [("tftp-start", Cause::NoLoaderRequest)]);
    assert!(
        lab.found[0].detail.contains("no TFTP request 20s after the ACK: a firewall"),
        "{:?}",
        lab.found[0]
    );
    assert!(lab.found[0].detail.contains("a second DHCP server"));
    // The firmware tries again; the boot is not taken for a good one meanwhile.
    lab.take("+40 dhcp-discover client=firmware arch=7\n+1 dhcp-offer client=firmware");
    assert_eq!(lab.wrong(), [("tftp-start", Cause::NoLoaderRequest)]);
}

#[test]
fn a_second_dhcp_server_is_named_at_once() {
    let mut lab = Lab::new();
    lab.take("+0 power-on").take(DISCOVER).take("+1 dhcp-offer client=firmware");
    lab.take("+1 dhcp-ack why=other-server server=172.16.0.66");
    assert_eq!(lab.wrong(), [("dhcp-ack", Cause::OtherServer)]);
    assert!(lab.boot().findings[0].detail.contains("172.16.0.66"));
    lab.wait(100.0);
    assert_eq!(lab.wrong().len(), 1, "what is silent after it has its reason");
}

#[test]
fn a_port_that_forwards_late_is_named_though_the_boot_is_good() {
    let mut lab = Lab::new();
    lab.take("+0 power-on\n+40 dhcp-discover client=firmware arch=7 secs=28");
    assert_eq!(lab.wrong(), [("dhcp-discover", Cause::SpanningTree)]);
    lab.take("+1 dhcp-offer client=firmware\n+1 dhcp-ack client=firmware image=ipxe.efi");
    lab.take("+1 tftp-start image=ipxe.efi\n+1 tftp-end image=ipxe.efi").take(IPXE).take(SCRIPT).take(SYSTEM);
    assert_eq!(lab.wrong(), [("dhcp-discover", Cause::SpanningTree)]);
    assert_eq!(lab.boot().result, Outcome::Good);
    // Bytes in the other order, and a DISCOVER that is sent again because the head was slow.
    let mut swapped = Lab::new();
    swapped.take(&format!("+0 power-on\n+30 dhcp-discover client=firmware secs={}", 30u16.swap_bytes()));
    assert_eq!(swapped.wrong().len(), 1);
    let mut again = Lab::new();
    again.take("+0 dhcp-discover client=firmware secs=0\n+12 dhcp-discover client=firmware secs=12");
    assert!(again.wrong().is_empty());
}

#[test]
fn a_loader_of_another_architecture_is_named_at_once() {
    for (arch, file, wrong) in [
        (7, "undionly.kpxe", true),
        (0, "ipxe.efi", true),
        (11, "snponly.efi", true),
        (11, "ipxe-arm64.efi", false),
    ] {
        let mut lab = Lab::new();
        lab.take(&format!(
            "+0 dhcp-discover client=firmware arch={arch}\n+0 dhcp-ack client=firmware image={file}"
        ));
        lab.take(&format!("+1 tftp-start image={file}\n+1 tftp-end image={file}"));
        let expected: &[_] = if wrong { &[("tftp-end", Cause::WrongArchitecture)] } else { &[] };
        assert_eq!(lab.wrong(), expected, "{arch} {file}");
    }
}

#[test]
fn what_is_not_on_the_head_is_named_at_its_stage() {
    for (stage, why, cause) in [
        ("kernel", "http-404", Cause::NotFound),
        ("initrd", "cut-short", Cause::CutShort),
        ("root", "http-404", Cause::NotFound),
        ("root", "http-403", Cause::Unreadable),
        ("metadata", "http-500", Cause::ServerError),
        ("userdata", "http-503", Cause::ServerError),
        ("script", "no-parameters", Cause::NoParameters),
    ] {
        let mut lab = Lab::new();
        lab.take(FIRMWARE).take(IPXE);
        let before: Vec<&str> = [SCRIPT].into_iter().chain(SYSTEM.lines()).collect();
        let end = before.iter().position(|it| it.split_whitespace().nth(1) == Some(stage)).unwrap();
        lab.take(&before[..end].join("\n"));
        lab.take(&format!("+1 {stage} why={why} image=compute/latest/it")).wait(3.0);
        assert_eq!(lab.wrong(), [(stage, cause)], "{stage} {why}");
        assert_eq!(lab.boot().result, Outcome::Failed);
        // It is there at the second try.
        lab.take(&before[end..].join("\n"));
        assert!(lab.wrong().is_empty() && lab.boot().result == Outcome::Good, "{:?}", lab.boot());
    }
}

#[test]
fn a_network_config_that_is_missing_is_named_though_cloud_init_goes_on() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE).take(IPXE).take(SCRIPT);
    let (before, after) = SYSTEM.split_at(SYSTEM.find("+30 metadata").unwrap());
    lab.take(before).take("+20 metadata why=http-404 file=network-config").take(after);
    assert_eq!(lab.wrong(), [("metadata", Cause::NetworkConfig)]);
    assert_eq!(lab.boot().result, Outcome::Good);
}

#[test]
fn a_name_server_that_is_dead_is_named_when_the_script_goes_by_names() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE).take(IPXE).take("+1 script kernel=http://demo.openchami.cluster:8080/k");
    lab.wait(26.0);
    assert_eq!(lab.wrong(), [("kernel", Cause::NameResolution)]);
    let mut console = Lab::new();
    console.take(FIRMWARE).take(IPXE).take(SCRIPT).take("+2 kernel\n+2 initrd");
    console.take("+3 root why=name-resolution");
    assert_eq!(console.wrong(), [("root", Cause::NameResolution)]);
}

#[test]
fn a_controller_that_is_off_is_named() {
    let mut lab = Lab::new();
    lab.take("+0 power-on why=bmc");
    assert_eq!(lab.wrong(), [("power-on", Cause::PowerRefused)]);
    // The next command works.
    lab.take(FIRMWARE);
    assert!(lab.wrong().is_empty());
}

#[test]
fn another_boot_order_is_named_by_what_the_console_shows() {
    let mut lab = Lab::new();
    lab.take("+0 power-on\n+8 dhcp-discover why=boot-order");
    assert_eq!(lab.wrong(), [("dhcp-discover", Cause::BootOrder)]);
    let mut prompt = Lab::new();
    prompt.take("+0 power-on\n+25 login");
    assert_eq!(prompt.wrong(), [("dhcp-discover", Cause::BootOrder)]);
    let mut system = Lab::new();
    system.take("+0 power-on\n+25 dhcp-discover client=os\n+0 dhcp-offer client=os\n+0 dhcp-ack client=os");
    assert_eq!(system.wrong(), [("dhcp-discover", Cause::BootOrder)]);
    // A machine that was told to boot its disk by the head is where it should be.
    let mut disk = Lab::new();
    disk.take(FIRMWARE).take(IPXE).take("+1 script kernel=disk\n+2 dhcp-discover why=boot-order\n+30 login");
    assert!(disk.wrong().is_empty() && disk.boot().result == Outcome::Good, "{:?}", disk.boot());
}

#[test]
fn a_machine_that_never_asks_is_named_when_firmware_had_its_time() {
    let mut lab = Lab::new();
    lab.take("+0 power-on").wait(299.0);
    assert!(lab.found.is_empty());
    lab.wait(2.0);
    assert_eq!(lab.wrong(), [("dhcp-discover", Cause::NoDiscover)]);
}

#[test]
fn slow_firmware_is_learnt() {
    let mut lab = Lab::new();
    let slow = FIRMWARE.replace("+20 dhcp", "+280 dhcp");
    lab.take(&slow).take(IPXE).take(SCRIPT).take(SYSTEM).take("+5000 power-on");
    lab.found.clear();
    lab.wait(500.0);
    assert!(lab.found.is_empty(), "{:?}", lab.found);
    lab.wait(100.0);
    assert_eq!(lab.wrong(), [("dhcp-discover", Cause::NoDiscover)]);
}

#[test]
fn a_boot_begins_at_power_or_when_firmware_asks_again() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE).take(IPXE).take(SCRIPT).take(SYSTEM);
    let first = lab.boot().started;
    lab.take("+100 dhcp-discover client=os\n+0 dhcp-ack client=os\n+1 metadata");
    assert_eq!(lab.boot().started, first, "a system that renews its address does not boot");
    lab.take("+3600 dhcp-discover client=firmware arch=7");
    let second = lab.boot().clone();
    assert!(second.started > first && second.attempt == 1);
    lab.take("+1 dhcp-offer client=firmware\n+1 dhcp-ack client=firmware image=ipxe.efi\n+1 tftp-start\n+1 tftp-end");
    lab.take(IPXE).take("+1 script why=no-parameters\n+60 dhcp-discover client=firmware arch=7");
    let third = lab.boot();
    assert_eq!((third.attempt, third.result), (2, Outcome::Failed), "the reason holds until it is past it");
    assert_eq!(lab.wrong(), [("script", Cause::NoParameters)]);
    lab.take("+10 power-on");
    assert!(lab.wrong().is_empty() && lab.boot().attempt == 1);
}

#[test]
fn steps_without_a_clients_kind_are_placed_by_how_far_the_boot_is() {
    let mut lab = Lab::new();
    let bare = |text: &str| {
        let words =
            text.split_whitespace().filter(|it| !it.starts_with("client=") && !it.starts_with("arch="));
        let mut steps = String::new();
        for word in words {
            steps.push_str(if word.starts_with('+') { "\n" } else { " " });
            steps.push_str(word);
        }
        steps
    };
    lab.take(&bare(FIRMWARE)).take(&bare(IPXE)).take(SCRIPT).take(&bare(SYSTEM));
    assert_eq!(lab.boot().result, Outcome::Good);
    assert!(lab.found.is_empty(), "{:?}", lab.found);
}

#[test]
fn machines_that_nobody_knows_make_room_for_each_other() {
    let mut board = Board::new(Limits::default());
    let key = |it: usize| Key::Stranger(format!("52:54:00:00:{:02x}:{:02x}", it / 256, it % 256));
    for number in 0..3000 {
        let event = Event { node: None, ..event("dhcp-discover", "client=firmware") };
        assert!(board.take(&key(number), &event).boot.is_some());
        // What runs an operating system boots nothing here.
        let phone = Event { node: None, ..self::event("dhcp-discover", "client=os") };
        assert!(board.take(&Key::Stranger(format!("phone {number}")), &phone).boot.is_none());
    }
    assert_eq!(board.all().count(), 1000);
    assert!(board.get(key(0).name().unwrap()).is_none() && board.get(key(2999).name().unwrap()).is_some());
}

#[test]
fn a_report_counts_each_machine_once_and_names_what_it_has_in_common() {
    let mut boots = Vec::new();
    for number in 0..40 {
        let mut lab = Lab::new();
        lab.now += time::Duration::seconds(number);
        lab.take(FIRMWARE).take(IPXE).take(SCRIPT);
        if number % 10 == 3 {
            lab.take("+1 kernel why=http-404 image=k")
        } else {
            lab.take(SYSTEM)
        };
        let mut boot = lab.boot().clone();
        boot.node = format!("x0c0s{number}b0n0");
        boot.name = format!("nid{number:03}");
        boots.push(boot);
    }
    let mut old = boots[3].clone();
    old.started -= time::Duration::HOUR;
    old.node = "x9c0s0b0n0".to_owned();
    boots.push(old);
    let together = last_together(boots, Duration::from_secs(600));
    let report = report(&together);
    assert_eq!((report.nodes, report.good, report.failed), (40, 36, 4));
    let group = &report.findings[0];
    assert_eq!((group.stage, group.cause, group.count), (BootStage::Kernel, Cause::NotFound, 4));
    assert_eq!(group.nodes, ["nid003", "nid013", "nid023", "nid033"]);
    let discover = report.stages.iter().find(|it| it.stage == Some(BootStage::DhcpDiscover)).unwrap();
    assert_eq!((discover.count, discover.p50_ms, discover.p99_ms), (40, 20_000, 20_000));
    assert_eq!(report.slowest.len(), 10);
    assert_eq!(report.slowest[0].stage, BootStage::Metadata);
    assert!(report.total.is_some_and(|it| it.p50_ms > 90_000));
}

#[test]
fn a_boot_is_read_back_as_it_was_written() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE).take(IPXE).take(SCRIPT).take("+1 kernel why=http-404 image=k");
    let text = serde_json::to_string(lab.boot()).unwrap();
    assert_eq!(&serde_json::from_str::<Boot>(&text).unwrap(), lab.boot());
    assert!(lab.boot().findings.iter().all(|it| it.kind == Kind::Refusal));
}
