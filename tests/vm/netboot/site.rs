//! A head of several networks, relays, and machines on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::BootStage;
use tests::head::{Event, HeadOptions, Ports};
use tests::net::Client;
use tests::process::{Process, Run};
use tests::program::{find, top};
use tests::steps::Steps;
use tests::vm::{Firmware, Serial, Vm};
use tests::{Console, Head, Net, lab, settle};

use super::disk;

/// How long a server of the lab may take to listen.
const START_MAX: Duration = Duration::from_secs(20);
/// The relay's package is unpacked here by image/prepare: installed it would start a service.
const RELAY: &str = "/usr/local/lib/isc-dhcp-relay/usr/sbin/dhcrelay";
/// Debian's installer for arm64: a kernel and an initrd of that kind in a package for every machine.
const ARM: &str = "/usr/lib/debian-installer/images";

/// A plane of nodes, `172.<net>.0.0/24`, where the head is .254 if it has a leg there.
pub(super) struct Plane {
    name: &'static str,
    net: u8,
    interface: Option<&'static str>,
}

/// A machine with one NIC.
pub(super) struct Machine {
    nid: u8,
    net: u8,
    firmware: Firmware,
    folder: PathBuf,
    vm: Vm,
}

/// A head and its networks.
pub(super) struct Site {
    pub(super) steps: Steps,
    folder: PathBuf,
    net: Net,
    head: Head,
    relays: Vec<(Client, Process)>,
    since: BTreeMap<u8, Instant>,
}

impl Plane {
    pub(super) fn local(name: &'static str, net: u8, interface: &'static str) -> Self {
        Self { name, net, interface: Some(interface) }
    }

    /// One that the head reaches through a router alone, which relays.
    pub(super) fn remote(name: &'static str, net: u8) -> Self {
        Self { name, net, interface: None }
    }

    fn text(&self) -> String {
        let Self { name, net, .. } = self;
        let subnet = format!("subnets = [{{ cidr = \"172.{net}.0.0/24\"");
        let place = match self.interface {
            Some(it) => format!(
                "interface = \"{it}\"\naddresses = [\"172.{net}.0.254/24\"]\n\
                 {subnet}, range = \"172.{net}.0.200-172.{net}.0.250\" }}]\n"
            ),
            None => format!("{subnet}, router = \"172.{net}.0.253\" }}]\n"),
        };
        format!("[[network.planes]]\nname = \"{name}\"\nkind = \"nodes\"\n{place}")
    }
}

impl Machine {
    pub(super) fn name(&self) -> String {
        format!("nid{:03}", self.nid)
    }

    fn mac(&self) -> String {
        format!("52:54:00:10:00:{:02x}", self.nid)
    }

    fn xname(&self) -> String {
        format!("x1000c1s7b{}n0", self.nid)
    }

    pub(super) fn console(&self) -> Console {
        self.vm.console()
    }

    /// Presses the power button.
    pub(super) fn start(&self) -> anyhow::Result<Process> {
        self.vm.start()
    }

    /// The same machine with a disk that says so when it is booted.
    pub(super) fn with_disk(self) -> anyhow::Result<Self> {
        let path = self.folder.join("disk.raw");
        disk::write(&path, self.firmware)?;
        let vm = self.vm.clone().disk(&path, "raw", true);
        Ok(Self { vm, ..self })
    }

    fn yaml(&self) -> String {
        format!(
            "- name: {}\n  nid: {}\n  xname: {}\n  group: compute\n  mac: {}\n  ipaddr: 172.{}.0.{}\n  \
             bmc_mac: 52:54:00:b0:00:{:02x}\n  bmc_ipaddr: 172.16.0.{}\n",
            self.name(),
            self.nid,
            self.xname(),
            self.mac(),
            self.net,
            self.nid,
            self.nid,
            100 + self.nid,
        )
    }
}

impl Site {
    /// A head on these planes, with the compute image and further settings.
    pub(super) async fn start(folder: &Path, planes: &[Plane], settings: &[&str]) -> anyhow::Result<Self> {
        let image = top().join("target/image/compute");
        if !image.join("vmlinuz").exists() {
            bail!("there is no compute image; run image/build compute target/image/compute");
        }
        let mut steps = Steps::begin();
        let net = Net::up(folder)?;
        for plane in planes {
            let Some(interface) = plane.interface else { continue };
            match interface.split_once('.') {
                Some((trunk, vlan)) => add_vlan(&net, trunk, vlan)?,
                None if interface != tests::net::BRIDGE => net.add_bridge(interface)?,
                None => {}
            }
            ip(&["address", "add", &format!("172.{}.0.254/24", plane.net), "dev", interface])?;
        }
        let images = folder.join("images");
        lab::bind(&image, &images.join("compute/latest"))?;
        std::fs::create_dir_all(images.join("arm/latest")).context("make a folder for the arm64 image")?;
        let texts: String = planes.iter().map(Plane::text).collect();
        let document = format!(
            "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n{texts}\
             [images]\nroot = \"{}\"\n",
            images.display()
        );
        let options = HeadOptions {
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            ports: Ports::REAL,
            document: toml::from_str(&document).context("read the document")?,
            ..HeadOptions::default()
        };
        let options = settings.iter().try_fold(options, |it, setting| it.set(setting))?;
        let head = Head::start(options).await?;
        steps.reach("head", "services ready");
        let (folder, relays, since) = (folder.to_owned(), Vec::new(), BTreeMap::new());
        Ok(Self { steps, folder, net, head, relays, since })
    }

    /// A machine that is off, with the NIC that it boots from on this bridge.
    pub(super) fn add_machine(
        &mut self,
        nid: u8,
        net: u8,
        firmware: Firmware,
        bridge: &str,
    ) -> anyhow::Result<Machine> {
        let folder = self.folder.join(format!("nid{nid:03}"));
        std::fs::create_dir_all(&folder).context("make a machine's folder")?;
        let vm = Vm::new(&format!("nid{nid:03}"), &folder, firmware);
        let vm = vm.serial(Serial::Socket(folder.join("serial.sock")));
        let mut machine = Machine { nid, net, firmware, folder, vm };
        let tap = format!("tap{nid}");
        self.net.add_tap(bridge, &tap)?;
        machine.vm = machine.vm.clone().nic(&tap, &machine.mac(), true);
        Ok(machine)
    }

    /// A router between the head's first network and another, on which Debian's relay runs.
    pub(super) async fn add_relay(&mut self, far: &str, net: u8) -> anyhow::Result<()> {
        self.net.add_bridge(far)?;
        let router = self.net.add_client(tests::net::BRIDGE, "router", "52:54:00:10:ff:01").await?;
        // The lab's first process is in the lab's own network namespace.
        let port = format!("p-{far}");
        router.run("ip", &["link", "add", "eth1", "type", "veth", "peer", "name", &port, "netns", "1"])?;
        ip(&["link", "set", &port, "master", far, "up"])?;
        router.run("ip", &["link", "set", "eth1", "up"])?;
        router.run("ip", &["address", "add", "172.16.0.253/24", "dev", "eth0"])?;
        router.run("ip", &["address", "add", &format!("172.{net}.0.253/24"), "dev", "eth1"])?;
        router.run("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        ip(&["route", "add", &format!("172.{net}.0.0/24"), "via", "172.16.0.253"])?;
        if !Path::new(RELAY).exists() {
            bail!("{RELAY} is not here; run image/prepare test");
        }
        let run = router.command("ip", &["link"])?;
        let nsenter: Vec<_> = run.get_args().take(2).map(ToOwned::to_owned).collect();
        let relay = Run::new("dhcrelay", run.get_program(), self.folder.join("dhcrelay.log"))
            .args(nsenter)
            .args([RELAY, "-d", "-4", "-a", "-id", "eth1", "-iu", "eth0", "172.16.0.254"])
            .spawn()?;
        self.relays.push((router, relay));
        Ok(())
    }

    /// Puts Debian's arm64 kernel where the head serves files.
    pub(super) fn add_arm_image(&self) -> anyhow::Result<()> {
        let release = std::fs::read_dir(ARM).with_context(|| format!("{ARM}: run image/prepare test"))?;
        let release = release.flatten().next().context("the installer for arm64 is there")?.path();
        let from = release.join("arm64/text/debian-installer/arm64");
        for (name, to) in [("linux", "vmlinuz"), ("initrd.gz", "initrd.img")] {
            let to = self.folder.join("images/arm/latest").join(to);
            std::fs::copy(from.join(name), &to).with_context(|| format!("copy {name} of the installer"))?;
        }
        Ok(())
    }

    /// Serves the compute image's root by NFS, to be read alone, as `/srv/compute`.
    pub(super) async fn serve_nfs(&mut self) -> anyhow::Result<Process> {
        let root = self.folder.join("nfs/root");
        let image = top().join("target/image/compute/rootfs.squashfs");
        std::fs::create_dir_all(self.folder.join("nfs/state")).context("make a folder for NFS")?;
        let mut unpack = Command::new(find("unsquashfs", "squashfs-tools")?);
        unpack.args(["-quiet", "-no-progress", "-dest"]).arg(&root).arg(image);
        run(&mut unpack)?;
        self.steps.reach("head", "root unpacked");
        // It keeps its process number there, and takes no other place.
        std::fs::create_dir_all("/var/run/ganesha").context("make ganesha's folder")?;
        let configuration = self.folder.join("nfs/ganesha.conf");
        let text = include_str!("ganesha.conf")
            .replace("@ROOT@", &root.display().to_string())
            .replace("@STATE@", &self.folder.join("nfs/state").display().to_string());
        std::fs::write(&configuration, text).context("write ganesha's configuration")?;
        let log = self.folder.join("nfs/ganesha.log");
        let server =
            Run::new("ganesha", find("ganesha.nfsd", "nfs-ganesha-vfs")?, self.folder.join("ganesha.log"))
                .args(["-F", "-f"])
                .arg(&configuration)
                .arg("-L")
                .arg(&log)
                .arg("-p")
                .arg(self.folder.join("nfs/ganesha.pid"))
                .spawn()?;
        settle::until(START_MAX, "NFS is served", async || {
            let open = std::net::TcpStream::connect("172.16.0.254:2049").is_ok();
            anyhow::ensure!(server.is_running(), "ganesha ended:\n{}", tests::process::tail_of(&log, 20));
            Ok(open.then_some(()))
        })
        .await?;
        self.steps.reach("head", "NFS is served");
        Ok(server)
    }

    /// Imports machines; each boots the compute image from the head's address on its own plane.
    pub(super) fn import(&mut self, machines: &[&Machine]) -> anyhow::Result<()> {
        let yaml: String = machines.iter().map(|it| it.yaml()).collect();
        self.head.pilotctl(&["nodes", "import", "-"], &format!("nodes:\n{yaml}"))?;
        let now = Instant::now();
        self.since.extend(machines.iter().map(|it| (it.nid, now)));
        self.steps.reach("head", "nodes.yaml imported");
        Ok(())
    }

    pub(super) fn pilotctl(&self, words: &[&str]) -> anyhow::Result<String> {
        self.head.pilotctl(words, "")
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.head.events().all()
    }

    /// Waits for these steps of a machine's boot, in this order.
    pub(super) async fn await_stages(
        &mut self,
        machine: &Machine,
        stages: &[BootStage],
        limit: Duration,
    ) -> anyhow::Result<()> {
        let (xname, mac) = (machine.xname(), machine.mac());
        for stage in stages {
            let fits = |it: &Event| {
                let same = it.node.as_ref() == Some(&xname) || it.mac.as_ref() == Some(&mac);
                same && it.stage == *stage && it.result == "ok"
            };
            let what = format!("{stage} of {}", machine.name());
            let found = self.head.events().wait_for(&what, limit, fits).await.map_err(|error| {
                let (head, console) = (self.head.tails(5), machine.console().tail(25));
                let relays: String = self.relays.iter().map(|it| it.1.tail(5)).collect();
                error.context(format!("the head says:\n{head}\nrelays:\n{relays}\nthe console:\n{console}"))
            })?;
            self.steps.reach_at(&machine.name(), &stage.to_string(), found.at);
        }
        Ok(())
    }

    /// Ends everything in good order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        eprintln!("{}", self.steps.table());
        self.head.shut_down().await
    }
}

/// Whether this kernel knows VLANs, found out on the lab's loopback.
pub(super) fn has_vlans() -> anyhow::Result<bool> {
    let ip = || find("ip", "iproute2").map(Command::new);
    let made =
        ip()?.args(["link", "add", "link", "lo", "name", "vlan-try", "type", "vlan", "id", "2"]).output();
    if !made.context("run ip")?.status.success() {
        return Ok(false);
    }
    run(ip()?.args(["link", "del", "vlan-try"]))?;
    Ok(true)
}

/// A VLAN of the head's NIC `trunk`, and a bridge `br-<vlan>` for those who are in it untagged, as an access switch has
/// them. Not every kernel has bridges that tag by themselves.
fn add_vlan(net: &Net, trunk: &str, vlan: &str) -> anyhow::Result<()> {
    let far = format!("p-{trunk}");
    if !Path::new("/sys/class/net").join(trunk).exists() {
        ip(&["link", "add", trunk, "type", "veth", "peer", "name", &far])?;
        ip(&["link", "set", trunk, "up"])?;
        ip(&["link", "set", &far, "up"])?;
    }
    for end in [trunk, &far] {
        let name = format!("{end}.{vlan}");
        ip(&["link", "add", "link", end, "name", &name, "type", "vlan", "id", vlan])?;
        ip(&["link", "set", &name, "up"])?;
    }
    let switch = format!("br-{vlan}");
    net.add_bridge(&switch)?;
    ip(&["link", "set", &format!("{far}.{vlan}"), "master", &switch])
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    run(Command::new(find("ip", "iproute2")?).args(words))
}

pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
