//! One NIC of the head's machine that carries two VLANs, behind a switch whose other ports are in one of them each.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::BootStage;
use nix::sys::signal::Signal::SIGKILL;
use tests::demo::mount_images;
use tests::head::Event;
use tests::net::BRIDGE;
use tests::program::top;
use tests::steps::Steps;
use tests::vm::{Firmware, Vm};
use tests::{Appliance, Net, appliance};

/// The VLANs: number, bridge of its access ports, third and fourth byte of the node's address.
const VLANS: [(u16, &str, u8, u8); 2] = [(10, BRIDGE, 16, 1), (20, "br-20", 19, 2)];
/// Where the head's NIC and the switch's trunk port meet.
const TRUNK: &str = "br-trunk";
/// An Ethernet frame with a tag, as long as this network has them.
const FRAME_MAX: usize = 2048;
/// 802.1Q: the tag begins behind both addresses.
const TAG_AT: usize = 12;
const TAG: [u8; 2] = [0x81, 0x00];

/// A port: a tap whose other end the kernel has on a bridge.
fn open_port(net: &Net, bridge: &str, name: &str) -> anyhow::Result<File> {
    net.add_tap(bridge, name)?;
    let port = OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("open a tap")?;
    #[expect(unsafe_code, reason = "zero bytes are a value of this plain data of C")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    #[expect(unsafe_code, reason = "the request lives as long as the call, which only reads it")]
    let done = unsafe { libc::ioctl(port.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    nix::errno::Errno::result(done).with_context(|| format!("take the tap {name}"))?;
    Ok(port)
}

/// A switch in threads that end with the lab.
fn start_switch(net: &Net) -> anyhow::Result<()> {
    net.add_bridge(TRUNK)?;
    let trunk = open_port(net, TRUNK, "trunk")?;
    let mut accesses = Vec::new();
    for (vlan, bridge, _, _) in VLANS {
        if bridge != BRIDGE {
            net.add_bridge(bridge)?;
        }
        let access = open_port(net, bridge, &format!("access{vlan}"))?;
        let (from, to) = (access.try_clone()?, trunk.try_clone()?);
        std::thread::spawn(move || forward(from, |frame| write_tagged(&to, vlan, frame)));
        accesses.push((vlan, access));
    }
    std::thread::spawn(move || {
        forward(trunk, |frame| {
            // What has no tag is in no VLAN.
            let Some((addresses, [0x81, 0x00, high, low, rest @ ..])) = frame.split_at_checked(TAG_AT) else {
                return Ok(());
            };
            let vlan = u16::from_be_bytes([*high, *low]) & 0x0fff;
            match accesses.iter().find(|it| it.0 == vlan) {
                Some((_, access)) => (&*access).write_all(&[addresses, rest].concat()),
                None => Ok(()),
            }
        });
    });
    Ok(())
}

fn write_tagged(mut trunk: &File, vlan: u16, frame: &[u8]) -> std::io::Result<()> {
    let Some((addresses, rest)) = frame.split_at_checked(TAG_AT) else { return Ok(()) };
    trunk.write_all(&[addresses, &TAG, &vlan.to_be_bytes(), rest].concat())
}

/// A frame that a port does not take is lost, as on any wire.
fn forward(mut from: File, to: impl Fn(&[u8]) -> std::io::Result<()>) {
    let mut frame = [0; FRAME_MAX];
    while let Ok(length @ 1..) = from.read(&mut frame) {
        if let Err(error) = to(&frame[..length]) {
            eprintln!("the switch lost a frame: {error}");
        }
    }
}

/// The demo's answer with a VLAN in place of the NIC, and another beside it.
fn answer(folder: &Path) -> anyhow::Result<String> {
    let text = appliance::answer(folder)?;
    let link = |vlan: u16| {
        let mac = appliance::MAC;
        format!(
            "[[network.links]]\nname = \"vlan{vlan}\"\nkind = \"vlan\"\nparent = \"{mac}\"\nid = {vlan}\n"
        )
    };
    let far = "[[network.planes]]\nname = \"far\"\nkind = \"nodes\"\ninterface = \"vlan20\"\n\
               addresses = [\"172.19.0.254/24\"]\n[[network.planes.subnets]]\ncidr = \"172.19.0.0/24\"\n";
    let nic = format!("interface = \"{}\"", appliance::MAC);
    ensure!(text.contains(&nic), "{text}");
    let text = text.replace(&nic, "interface = \"vlan10\"");
    let planes = format!("{}{}[[network.planes]]", link(10), link(20));
    Ok(text.replacen("[[network.planes]]", &planes, 1).replace("[admins.", &format!("{far}[admins.")))
}

/// A node of each VLAN boots up to its kernel, with its address and by the head's there.
pub(super) async fn boot(folder: &Path, limit: Duration) -> anyhow::Result<()> {
    let mut steps = Steps::begin();
    let net = Net::up(folder)?;
    net.add_address("172.16.0.253/24")?;
    start_switch(&net)?;
    let image = top().join("target/image/compute");
    let mut head = Appliance::wire(&net, folder, Some(&answer(folder)?), Some(&image))?;
    super::site::run(Command::new("ip").args(["link", "set", "tap-head", "master", TRUNK]))?;
    head.start()?;
    head.wait(&mut steps).await?;
    mount_images(&head)?;
    let node = |net: u8, number: u8| {
        format!(
            "- {{name: nid{number:03}, nid: {number}, xname: x1000c1s7b{number}n0, group: compute, \
             mac: '52:54:00:10:00:0{number}', ipaddr: 172.{net}.0.{number}}}\n"
        )
    };
    let nodes: String = VLANS.iter().map(|it| node(it.2, it.3)).collect();
    head.run("pilotctl nodes import -", &format!("nodes:\n{nodes}"))?;
    for (_, bridge, third, number) in VLANS {
        let (name, tap) = (format!("nid{number:03}"), format!("tap{number}"));
        let (mac, ip) = (format!("52:54:00:10:00:0{number}"), format!("172.{third}.0.{number}"));
        net.add_tap(bridge, &tap)?;
        let vm = Vm::new(&name, folder.join(&name), Firmware::Bios).nic(&tap, &mac, true);
        let on = vm.start()?;
        for stage in [BootStage::DhcpAck, BootStage::Script, BootStage::Kernel, BootStage::Initrd] {
            let xname = format!("x1000c1s7b{number}n0");
            let fits =
                |it: &Event| it.node.as_ref() == Some(&xname) && it.stage == stage && it.result == "ok";
            let found = head.events()?.wait_for(&format!("{stage} of {name}"), limit, fits).await;
            let found = found.with_context(|| format!("the console:\n{}", vm.console().tail(25)))?;
            ensure!(stage != BootStage::DhcpAck || found.ip.as_ref() == Some(&ip), "{found:?}");
            steps.reach_at(&name, &stage.to_string(), found.at);
        }
        let url = format!("http://172.{third}.0.254:8081/");
        ensure!(vm.console().text().contains(&url), "{url} is not on the console of {name}");
        on.stop(SIGKILL, limit).await?;
    }
    eprintln!("{}", steps.table());
    head.kill().await
}
