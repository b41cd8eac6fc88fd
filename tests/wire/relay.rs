//! A network behind a relay, Debian's isc-dhcp-relay: the head has no leg there, and serves it all the same.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use tests::head::Ports;
use tests::net::{self, BRIDGE, Client};
use tests::program::{converse, find};
use tests::{Head, HeadOptions, Net, Process, Run, lab, settle};

/// The far network's bridge.
const FAR: &str = "br-far";
const KNOWN: &str = "52:54:00:10:00:05";
const UNKNOWN: &str = "52:54:00:10:00:99";
const NODES: &str = "nodes:\n- {nid: 5, xname: x1000c0s0b5n0, name: far5, group: compute, \
    mac: '52:54:00:10:00:05', ipaddr: 10.30.0.5}\n";
const SUBNET: &str = "name = \"far\"\nkind = \"nodes\"\n[[subnets]]\ncidr = \"10.30.0.0/24\"\n\
    router = \"10.30.0.1\"\nrange = \"10.30.0.200-10.30.0.250\"\n";
/// What a client was given, a line each; and it takes the address, so that it can renew it.
const HOOK: &str = "#!/bin/sh\n\
    case \"${1:-$reason}\" in bound|renew|BOUND|RENEW|REBOOT) ;; *) exit 0 ;; esac\n\
    ip address replace \"${ip:-$new_ip_address}/24\" dev eth0\n\
    ip route replace default via \"${router:-$new_routers}\"\n\
    env >\"$OUT.new\" && mv \"$OUT.new\" \"$OUT\"\n";

/// A head on the near network, a router between, and the relay on the router.
struct Far {
    folder: PathBuf,
    head: Head,
    net: Net,
    router: Client,
    relay: Process,
}

impl Far {
    async fn up(folder: &Path) -> anyhow::Result<Self> {
        let net = Net::up(folder)?;
        net.add_address(net::HEAD)?;
        net.add_bridge(FAR)?;
        let router = net.add_client(BRIDGE, "router", "52:54:00:10:00:fd").await?;
        let pid = router.pid().to_string();
        for words in [
            vec!["link", "add", "p-far", "type", "veth", "peer", "name", "eth1", "netns", &pid],
            vec!["link", "set", "p-far", "master", FAR, "up"],
            vec!["route", "add", "10.30.0.0/24", "via", "172.16.0.9"],
        ] {
            converse(Command::new(find("ip", "iproute2")?).args(words), "")?;
        }
        for words in [
            ["address", "add", "172.16.0.9/24", "dev", "eth0"].as_slice(),
            &["address", "add", "10.30.0.1/24", "dev", "eth1"],
            &["link", "set", "eth1", "up"],
        ] {
            router.run("ip", words)?;
        }
        router.run("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        let head = start_head().await?;
        head.pilotctl(&["nodes", "import", "--inventory-only", "-"], NODES)?;
        head.settle().await?;
        let relay = start_relay(&router, folder).await?;
        let hook = folder.join("hook");
        std::fs::write(&hook, HOOK)?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder: folder.to_owned(), head, net, router, relay })
    }

    /// A machine on the far network.
    async fn client(&self, name: &str, mac: &str) -> anyhow::Result<Client> {
        self.net.add_client(FAR, name, mac).await
    }

    /// Runs a DHCP client to its end; what it was given.
    fn ask(&self, client: &Client, program: &str, words: &[&str]) -> anyhow::Result<Given> {
        let out = self.folder.join("out");
        let mut command = client.command(program, words)?;
        converse(command.env("OUT", &out), "")
            .with_context(|| format!("the relay says\n{}\n{}", self.relay.tail(10), self.head.tails(10)))?;
        Ok(Given(std::fs::read_to_string(out).context("read what the client was given")?))
    }

    fn hook(&self) -> String {
        self.folder.join("hook").display().to_string()
    }
}

/// The environment of a client's hook.
#[derive(Debug)]
struct Given(String);

impl Given {
    fn is(&self, name: &str, value: &str) -> bool {
        self.0.lines().any(|it| it.split_once('=') == Some((name, value)))
    }

    fn address(&self) -> Option<Ipv4Addr> {
        let found = |name: &str| self.0.lines().find_map(|it| it.strip_prefix(name)?.parse().ok());
        found("ip=").or_else(|| found("new_ip_address="))
    }
}

async fn start_head() -> anyhow::Result<Head> {
    let mut document = tests::document::demo(BRIDGE, net::HEAD);
    let planes = document.get_mut("network").and_then(|it| it.get_mut("planes"));
    let far: toml::Table = toml::from_str(SUBNET)?;
    planes.and_then(toml::Value::as_array_mut).context("the planes")?.push(far.into());
    Head::start(HeadOptions {
        services: vec![Service::Inventory, Service::Dhcp],
        document,
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        ..HeadOptions::default()
    })
    .await
}

/// Unpacked by image/prepare, since installed it would start a service; or installed all the same.
fn dhcrelay() -> anyhow::Result<PathBuf> {
    let unpacked = PathBuf::from("/usr/local/lib/isc-dhcp-relay/usr/sbin/dhcrelay");
    if unpacked.is_file() { Ok(unpacked) } else { find("dhcrelay", "isc-dhcp-relay") }
}

/// It appends its option 82 to what it passes on, and drops answers in which that is not its own.
async fn start_relay(router: &Client, folder: &Path) -> anyhow::Result<Process> {
    let log = folder.join("relay.log");
    File::create(&log)?;
    let run = Run::new("dhcrelay", find("nsenter", "util-linux")?, &log);
    let run = run.arg(format!("--net={}", router.namespace().display())).arg("--");
    let run = run.arg(dhcrelay()?).args([
        "-4",
        "-d",
        "--no-pid",
        "-a",
        "-D",
        "-m",
        "append",
        "-iu",
        "eth0",
        "-id",
        "eth1",
        "172.16.0.254",
    ]);
    let relay = run.spawn()?;
    settle::until(Duration::from_secs(10), "the relay listens", async || {
        ensure!(relay.is_running(), "the relay ended\n{}", relay.tail(10));
        Ok(relay.tail(20).contains("Sending on   Socket/").then_some(()))
    })
    .await?;
    Ok(relay)
}

/// Known and unknown machines, two stock clients, and a renewal that goes past the relay.
#[test]
fn machines_behind_a_relay_are_served() {
    lab::test("relay::machines_behind_a_relay_are_served", async |folder| {
        let far = Far::up(&folder).await?;
        let hook = far.hook();
        let known = far.client("known", KNOWN).await?;
        let once = ["-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", &hook];
        let given = far.ask(&known, "udhcpc", &once)?;
        ensure!(given.is("ip", "10.30.0.5") && given.is("router", "10.30.0.1"), "{given:?}");
        ensure!(given.is("subnet", "255.255.255.0") && given.is("hostname", "far5"), "{given:?}");
        ensure!(given.is("serverid", "172.16.0.254"), "{given:?}");

        let leases = folder.join("leases").display().to_string();
        // It hands its hook nothing of its own environment.
        let out = format!("OUT={}", folder.join("out").display());
        let words = ["-4", "-1", "--no-pid", "-e", &out, "-sf", &hook, "-lf", &leases, "eth0"];
        let given = far.ask(&known, "dhclient", &words)?;
        ensure!(given.is("new_ip_address", "10.30.0.5") && given.is("new_routers", "10.30.0.1"), "{given:?}");
        // What is left of dhclient runs on to renew; it goes with the lab.

        let unknown = far.client("unknown", UNKNOWN).await?;
        let given = far.ask(&unknown, "udhcpc", &once)?;
        let address = given.address().context("an address")?;
        ensure!(
            (200..=250).contains(&address.octets()[3]) && address.octets()[..3] == [10, 30, 0],
            "{given:?}"
        );
        let told = far.relay.tail(200);
        ensure!(!told.contains("dropped") && !told.contains("Discarding"), "{told}");
        far.router.run("ip", &["link", "set", "eth1", "down"])?;
        far.head.shut_down().await
    });
}
