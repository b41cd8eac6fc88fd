//! The head image in a virtual machine, set up by an answer file, and a node that boots from it.

mod certificates;
mod console;
mod doors;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, ensure};
use domain::port::{Protocol, TABLE};
use domain::{BootStage, Service};
use serde_json::Value;
use tests::appliance::Appliance;
use tests::demo::{self, Demo, Kind};
use tests::{Node, lab};

/// What `systemd-analyze security` may say of a unit of ours, times ten.
const EXPOSURE_MAX: u8 = 20;

/// Where the kernel's own choice of ports begins (ip(7), `ip_local_port_range`).
const CHOSEN_MIN: u16 = 32_768;

/// The whole demo: nid001 boots by BIOS, nid002 by UEFI PXE, nid003 once it is imported, each with all of its console
/// in the log; then what the head shows of itself; then a boot from a head whose PostgreSQL does not start.
#[test]
fn nodes_boot_from_the_head_image() {
    lab::test_aloud("appliance::nodes_boot_from_the_head_image", async |folder| {
        // Both families of cloud-init's API, on both kinds of firmware.
        let nodes = [Node::demo(1), Node::demo(2).in_group("login"), Node::demo(3)];
        let mut demo = Demo::start(&folder, Kind::Machine, &nodes, 2).await?;
        console::count(&demo, &nodes[..2])?;
        console::boot_over_a_restart(&mut demo, 1, "pilothouse-power.service").await?;
        demo.await_secret(1).await?;
        demo.await_log(1).await?;
        console::check_counter(&demo, 1)?;
        console::boot_over_a_restart(&mut demo, 2, "pilothouse-console.service").await?;
        demo.await_log(2).await?;
        console::check_counter(&demo, 2)?;
        demo.boot_unknown(3).await?;
        demo.await_log(3).await?;
        let head = demo.place.appliance()?;
        check_journal(head, &nodes[0])?;
        check_ports(head)?;
        doors::scan(&demo.net).await?;
        check_units(head)?;
        certificates::check(head).await?;
        eprintln!("all programs and PostgreSQL: {} MiB (sum of PSS)", memory_mib(head)?);
        boot_without_database(&mut demo, 1).await?;
        eprintln!("{}", demo.steps.table());
        demo.place.shut_down().await
    });
}

/// A known node boots from a head that was restarted and has no PostgreSQL.
async fn boot_without_database(demo: &mut Demo, nid: u8) -> anyhow::Result<()> {
    demo.bmc(nid)?.chassis().pull_plug().await?;
    let head = demo.place.appliance_mut()?;
    head.run("sudo systemctl mask pilothouse-postgres.service", "")?;
    head.restart().await?;
    demo.steps.reach("head", "restarted, PostgreSQL masked");
    let head = demo.place.appliance()?;
    let state = head.run("systemctl is-active pilothouse-postgres.service || true", "")?;
    ensure!(state.trim() == "inactive", "PostgreSQL is {state}");
    demo::mount_images(head)?;
    let begin = demo.press_button(nid).await?;
    demo.follow(nid, begin).await
}

/// The boot is told by the journal: what, by whom, in causal order, each event with its catalog entry.
fn check_journal(head: &Appliance, node: &Node) -> anyhow::Result<()> {
    use BootStage::{
        DhcpAck, DhcpDiscover, DhcpOffer, Initrd, Kernel, Login, Metadata, PowerOn, Root, Script, Userdata,
    };
    let command = format!("sudo journalctl --output=json PILOTHOUSE_NODE={}", node.xname());
    let journal = head.run(&command, "")?;
    let entries: Vec<Value> =
        journal.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("read the journal")?;
    let field = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let set =
        |name| entries.iter().map(|it| field(it, name)).filter(|it| !it.is_empty()).collect::<BTreeSet<_>>();
    let (ids, units) = (set("MESSAGE_ID"), set("_SYSTEMD_UNIT"));
    ensure!(ids.len() >= 8, "{} kinds of events: {ids:?}", ids.len());
    ensure!(units.len() >= 5, "{} units: {units:?}", units.len());
    let mut first: HashMap<String, &Value> = HashMap::new();
    let mut last: HashMap<String, &Value> = HashMap::new();
    for entry in &entries {
        let stage = field(entry, "PILOTHOUSE_STAGE");
        first.entry(stage.clone()).or_insert(entry);
        last.insert(stage, entry);
    }
    let chain =
        [PowerOn, DhcpDiscover, DhcpOffer, DhcpAck, Script, Kernel, Initrd, Root, Metadata, Userdata, Login];
    let mut before = 0;
    for stage in chain {
        let entry = first.get(stage.name()).with_context(|| format!("no {stage} in the journal"))?;
        let time: u64 = field(entry, "__REALTIME_TIMESTAMP").parse().context("read a time")?;
        ensure!(time >= before, "{stage} came before what leads to it");
        before = time;
    }
    let of =
        |stage: BootStage, name: &str| last.get(stage.name()).map(|it| field(it, name)).unwrap_or_default();
    ensure!(of(DhcpAck, "PILOTHOUSE_ADDRESS") == node.address().to_string(), "the ACK tells no address");
    ensure!(!of(DhcpAck, "PILOTHOUSE_MAC").is_empty(), "the ACK tells no MAC");
    ensure!(
        of(Root, "PILOTHOUSE_BYTES").parse::<u64>().is_ok_and(|it| it > 10 << 20),
        "the root tells no bytes"
    );
    ensure!(of(Root, "PILOTHOUSE_IMAGE").contains("rootfs"), "the root tells no image");
    for id in ids {
        let entry = head.run(&format!("journalctl --dump-catalog {id}"), "")?;
        ensure!(entry.contains("Subject:"), "{id} has no catalog entry");
    }
    Ok(())
}

/// From how many ports that the kernel chose a service sends; the firewall lets in whom it has written to from there.
/// TFTP sends its transfers from one (RFC 1350 section 4), BMCs are asked from 16 sockets of either address family.
fn chosen_max(service: Option<Service>) -> usize {
    match service {
        Some(Service::Dhcp) => 1,
        Some(Service::Power | Service::Console | Service::Discovery) => 2 * 16,
        _ => 0,
    }
}

/// What listens is what the table says.
fn check_ports(head: &Appliance) -> anyhow::Result<()> {
    let listed = head.run("sudo ss --no-header --listening --numeric --extended --tcp --udp", "")?;
    let (mut open, mut inside, mut passing) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(protocol), Some(local)) = (words.first(), words.get(4)) else { continue };
        let (address, port) = local.rsplit_once(':').with_context(|| format!("read {line:?}"))?;
        let uid = words.iter().find_map(|it| it.strip_prefix("uid:")?.parse().ok());
        let service = uid.and_then(Service::of_uid);
        if protocol == &"udp" && port.parse::<u16>()? >= CHOSEN_MIN && chosen_max(service) > 0 {
            *passing.entry(service).or_insert(0) += 1;
        } else {
            let is_inside = address.starts_with("127.") || address == "[::1]";
            if is_inside { &mut inside } else { &mut open }.insert(format!("{protocol} {port}"));
        }
    }
    for (service, count) in passing {
        ensure!(count <= chosen_max(service), "{service:?} has {count} ports of the kernel's choice");
    }
    let word = |it| if it == Protocol::Tcp { "tcp" } else { "udp" };
    // What a setting opens is closed in the demo.
    let table = |faces: bool| -> BTreeSet<String> {
        let always = TABLE.iter().filter(|it| it.setting.is_none() && it.planes.is_empty() != faces);
        always.map(|it| format!("{} {}", word(it.protocol), it.number)).collect()
    };
    ensure!(open == table(true), "what listens and the table differ:\n{open:?}\n{:?}", table(true));
    // Chrony has a port of its own there.
    ensure!(inside.is_superset(&table(false)), "of {:?} the loopback has {inside:?} alone", table(false));
    Ok(())
}

/// Nothing failed, nothing was ordered in a circle, and every unit of ours is shut in.
fn check_units(head: &Appliance) -> anyhow::Result<()> {
    let failed = head.run("systemctl --failed --no-legend --plain", "")?;
    ensure!(failed.trim().is_empty(), "units failed:\n{failed}");
    let cycles = head.run("sudo journalctl --boot | grep -c 'ordering cycle' || true", "")?;
    ensure!(cycles.trim() == "0", "systemd found ordering cycles");
    let command = format!(
        "for unit in /usr/lib/systemd/system/pilothouse-*.service; do name=$(basename $unit); \
         systemd-analyze security --no-pager --offline=yes --threshold={EXPOSURE_MAX} $unit >/dev/null 2>&1 \
         || echo $name; done"
    );
    let exposed = head.run(&command, "")?;
    ensure!(exposed.trim().is_empty(), "more exposed than {EXPOSURE_MAX} of 100:\n{exposed}");
    Ok(())
}

/// What all our processes and PostgreSQL hold, shared pages divided among those that share them.
fn memory_mib(head: &Appliance) -> anyhow::Result<u64> {
    let command = "sudo sh -c 'for p in $(pgrep \"pilothouse|postgres\"); do \
                   cat /proc/$p/smaps_rollup; done' | awk '/^Pss:/ {sum += $2} END {print int(sum / 1024)}'";
    head.run(command, "")?.trim().parse().context("read the sum")
}
