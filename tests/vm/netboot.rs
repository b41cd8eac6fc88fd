//! The network boot in full, on virtual machines: each firmware, relays, VLANs, several planes, and roots by NFS and from
//! the node's disk. The head's services are processes; machines are switched on by their buttons.

mod disk;
mod site;
mod trunk;

use std::time::Duration;

use anyhow::{bail, ensure};
use domain::{BootStage, Service};
use nix::sys::signal::Signal::SIGKILL;
use tests::demo::{Demo, Kind, Place};
use tests::program::is_whole;
use tests::vm::Firmware;
use tests::{Node, lab};

use site::{Plane, Site};

/// How long a step may take on two busy cores.
const STEP_MAX: Duration = Duration::from_secs(150);
/// How long a boot may take to its log-in where every file crosses the network by itself.
const LOGIN_MAX: Duration = Duration::from_secs(300);
/// The compute image by its paths on the head.
const IMAGE: [&str; 4] = ["--kernel", "/compute/latest/vmlinuz", "--initrd", "/compute/latest/initrd.img"];
/// Its live root.
const LIVE: &str = "root=live:/images/compute/latest/root rd.live.image rd.live.overlay.overlayfs=1 ip=dhcp \
    rd.neednet=1 console=ttyS0,115200 quiet audit=0 apparmor=0 selinux=0 net.ifnames=0";
/// What every root needs.
const QUIET: &str = "console=ttyS0,115200 quiet audit=0 apparmor=0 selinux=0 net.ifnames=0";

/// UEFI's own HTTP boot, and a BIOS behind Debian's relay whose network the head has no leg in, each up to the kernel.
#[test]
fn uefi_boots_by_http_and_a_bios_through_a_relay() {
    lab::test_aloud("netboot::uefi_boots_by_http_and_a_bios_through_a_relay", async |folder| {
        let planes = [Plane::local("near", 16, "br0"), Plane::remote("far", 19)];
        let mut site = Site::start(&folder, &planes, &[]).await?;
        site.add_relay("br1", 19).await?;
        let http = site.add_machine(1, 16, Firmware::UefiHttp, "br0")?;
        let relayed = site.add_machine(2, 19, Firmware::Bios, "br1")?;
        site.import(&[&http, &relayed])?;
        let on = http.start()?;
        // The loader comes by HTTP: no step of TFTP is there.
        site.await_stages(&http, &[BootStage::DhcpAck, BootStage::Script, BootStage::Kernel], STEP_MAX)
            .await?;
        let tftp =
            site.events().into_iter().find(|it| it.service == "dhcp" && it.stage == BootStage::TftpStart);
        ensure!(tftp.is_none(), "{tftp:?}");
        on.stop(SIGKILL, STEP_MAX).await?;
        let on = relayed.start()?;
        site.await_stages(&relayed, &[BootStage::DhcpAck, BootStage::Script, BootStage::Kernel], STEP_MAX)
            .await?;
        on.stop(SIGKILL, STEP_MAX).await?;
        site.end().await
    });
}

/// UEFI behind the relay takes its loader by TFTP and by HTTP through it.
#[test]
fn uefi_boots_through_a_relay() {
    lab::test_aloud("netboot::uefi_boots_through_a_relay", async |folder| {
        if !is_whole() {
            return Ok(());
        }
        let planes = [Plane::local("near", 16, "br0"), Plane::remote("far", 19)];
        let mut site = Site::start(&folder, &planes, &[]).await?;
        site.add_relay("br1", 19).await?;
        let pxe = site.add_machine(1, 19, Firmware::Uefi, "br1")?;
        let http = site.add_machine(2, 19, Firmware::UefiHttp, "br1")?;
        site.import(&[&pxe, &http])?;
        for machine in [&pxe, &http] {
            let on = machine.start()?;
            let stages = [BootStage::DhcpAck, BootStage::Script, BootStage::Kernel];
            site.await_stages(machine, &stages, STEP_MAX).await?;
            on.stop(SIGKILL, STEP_MAX).await?;
        }
        site.end().await
    });
}

/// An arm64 machine is given the loader and the kernel of its kind.
#[test]
fn an_arm64_machine_boots_up_to_its_kernel() {
    lab::test_aloud("netboot::an_arm64_machine_boots_up_to_its_kernel", async |folder| {
        if !is_whole() {
            return Ok(());
        }
        let mut site = Site::start(&folder, &[Plane::local("near", 16, "br0")], &[]).await?;
        site.add_arm_image()?;
        let machine = site.add_machine(1, 16, Firmware::Arm64, "br0")?;
        site.import(&[&machine])?;
        let set = ["boot", "set", "nid001", "--arch", "arm64", "--kernel", "/arm/latest/vmlinuz"];
        let more = ["--initrd", "/arm/latest/initrd.img", "--params", "console=ttyAMA0"];
        site.pilotctl(&[&set[..], &more].concat())?;
        let on = machine.start()?;
        let stages = [BootStage::DhcpAck, BootStage::TftpEnd, BootStage::Script, BootStage::Kernel];
        site.await_stages(&machine, &stages, STEP_MAX).await?;
        machine
            .console()
            .wait_for(r"Booting Linux on physical CPU|EFI stub: Booting Linux", STEP_MAX)
            .await?;
        site.steps.reach("nid001", "kernel runs");
        on.stop(SIGKILL, STEP_MAX).await?;
        site.end().await
    });
}

/// The same root by NFS and live, each up to its log-in; by NFS it is written to in memory alone.
#[test]
fn a_root_is_booted_by_nfs_and_live() {
    lab::test_aloud("netboot::a_root_is_booted_by_nfs_and_live", async |folder| {
        if !is_whole() {
            return Ok(());
        }
        let mut site = Site::start(&folder, &[Plane::local("near", 16, "br0")], &[]).await?;
        let machine = site.add_machine(1, 16, Firmware::Bios, "br0")?;
        site.import(&[&machine])?;
        let _server = site.serve_nfs().await?;
        let nfs = ["boot", "set", "nid001", "--nfs", "172.16.0.254:/srv/compute", "--params", QUIET];
        site.pilotctl(&nfs)?;
        for (way, roots) in [("nfs", 0), ("live", 1)] {
            let read = machine.console().text().len();
            let on = machine.start()?;
            machine.console().wait_after(read, " login: ", LOGIN_MAX).await?;
            site.steps.reach("nid001", &format!("log-in, root by {way}"));
            let whole = |it: &&tests::head::Event| it.stage == BootStage::Root && it.result == "ok";
            let fetched = site.events().iter().filter(whole).count();
            ensure!(fetched == roots, "{way}: the root was fetched {fetched} times over HTTP");
            on.stop(SIGKILL, STEP_MAX).await?;
            site.pilotctl(&[&["boot", "set", "nid001"], &IMAGE[..], &["--params", LIVE]].concat())?;
        }
        site.end().await
    });
}

/// Three planes on three NICs of the head, and where this kernel has VLANs two more on a fourth NIC: each node finds the
/// head by the address of its own plane.
#[test]
fn nodes_boot_on_every_plane() {
    lab::test_aloud("netboot::nodes_boot_on_every_plane", async |folder| {
        if !is_whole() {
            return Ok(());
        }
        let mut planes =
            vec![Plane::local("a", 16, "br0"), Plane::local("b", 17, "br2"), Plane::local("c", 18, "br3")];
        let mut bridges = vec![(16, "br0"), (17, "br2"), (18, "br3")];
        if site::has_vlans()? {
            planes.extend([Plane::local("red", 20, "trunk.20"), Plane::local("blue", 21, "trunk.21")]);
            bridges.extend([(20, "br-20"), (21, "br-21")]);
        } else {
            eprintln!("this kernel has no VLANs: those two planes are left out");
        }
        let mut site = Site::start(&folder, &planes, &[]).await?;
        let mut machines = Vec::new();
        for (nid, (net, bridge)) in (1..).zip(bridges) {
            machines.push((net, site.add_machine(nid, net, Firmware::Bios, bridge)?));
        }
        site.import(&machines.iter().map(|it| &it.1).collect::<Vec<_>>())?;
        for (net, machine) in &machines {
            let on = machine.start()?;
            site.await_stages(machine, &[BootStage::DhcpAck, BootStage::Script, BootStage::Initrd], STEP_MAX)
                .await?;
            let head = format!("http://172.{net}.0.254:8081/");
            let console = machine.console().text();
            ensure!(console.contains(&head), "{head} is not on the console:\n{console}");
            on.stop(SIGKILL, STEP_MAX).await?;
        }
        site.end().await
    });
}

/// The head's machine with one NIC for two VLANs: its image's kernel knows them wherever this runs.
#[test]
fn one_nic_of_the_heads_machine_carries_two_vlans() {
    lab::test_aloud("netboot::one_nic_of_the_heads_machine_carries_two_vlans", async |folder| {
        if !is_whole() {
            return Ok(());
        }
        trunk::boot(&folder, STEP_MAX).await
    });
}

/// What is booted once is booted once; then the node's own disk, by BIOS and by UEFI.
#[test]
fn a_node_boots_once_and_then_from_its_disk() {
    lab::test_aloud("netboot::a_node_boots_once_and_then_from_its_disk", async |folder| {
        if !is_whole() {
            return Ok(());
        }
        let mut site = Site::start(&folder, &[Plane::local("near", 16, "br0")], &[]).await?;
        let bios = site.add_machine(1, 16, Firmware::Bios, "br0")?.with_disk()?;
        let uefi = site.add_machine(2, 16, Firmware::Uefi, "br0")?.with_disk()?;
        site.import(&[&bios, &uefi])?;
        site.pilotctl(&["boot", "set", "nid001", "nid002", "--local-disk"])?;
        site.pilotctl(&[&["boot", "once", "nid001"], &IMAGE[..], &["--params", LIVE]].concat())?;
        let on = bios.start()?;
        site.await_stages(&bios, &[BootStage::Script, BootStage::Kernel, BootStage::Initrd], STEP_MAX)
            .await?;
        let left = async || {
            let left = site.pilotctl(&["boot", "once", "--output", "json"])?;
            Ok((left.trim() == "[]").then_some(()))
        };
        tests::settle::until(STEP_MAX, "nothing is to be booted once", left).await?;
        on.stop(SIGKILL, STEP_MAX).await?;
        for machine in [&bios, &uefi] {
            let read = machine.console().text().len();
            let on = machine.start()?;
            machine.console().wait_after(read, "the disk of the node was booted", STEP_MAX).await?;
            site.steps.reach(&machine.name(), "local disk");
            on.stop(SIGKILL, STEP_MAX).await?;
        }
        site.end().await
    });
}

/// A node that was switched on while nobody answered has given up; it is found, switched off and on, and boots.
#[test]
fn a_node_that_gave_up_is_found_and_booted() {
    lab::test_aloud("netboot::a_node_that_gave_up_is_found_and_booted", async |folder| {
        if !is_whole() {
            return Ok(());
        }
        let nodes = [Node::demo(1), Node::demo(3)];
        let mut demo = Demo::start(&folder, Kind::Processes, &nodes, 2).await?;
        let Place::Processes(head) = &mut demo.place else { bail!("the head is a machine") };
        head.stop(Service::Dhcp).await?;
        demo.press_button(1).await?;
        let console = demo.bmc(1)?.console();
        console.wait_for("No bootable device|No more network devices", STEP_MAX).await?;
        demo.steps.reach("nid001", "gave up");
        let Place::Processes(head) = &mut demo.place else { bail!("the head is a machine") };
        head.resume(Service::Dhcp).await?;
        head.settle().await?;
        let found = demo.place.pilotctl(&["power", "recover", "--dry-run", "--output", "json"], "")?;
        let found: serde_json::Value = serde_json::from_str(&found)?;
        let verdict =
            |found: &serde_json::Value, node: &Node| found["nodes"][node.xname()]["verdict"].clone();
        ensure!(verdict(&found, &nodes[0]) == "silent" && verdict(&found, &nodes[1]) == "off", "{found:#}");
        let begin = tests::demo::Begin::now(demo.bmc(1)?);
        let done = ["power", "recover", "--stage", "1", "--wait", "100", "--output", "json"];
        let done: serde_json::Value = serde_json::from_str(&demo.place.pilotctl(&done, "")?)?;
        ensure!(verdict(&done, &nodes[0]) == "booted" && verdict(&done, &nodes[1]) == "off", "{done:#}");
        demo.steps.reach("head", "has recovered it");
        demo.follow(1, begin).await?;
        eprintln!("{}", demo.steps.table());
        demo.place.shut_down().await
    });
}
