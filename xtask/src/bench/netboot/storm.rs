//! The storm: thousands of simulated nodes at once, and a few real clients among them.

use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tests::fleet::cluster::{self, Sizes};
use tests::fleet::space::{self, Space};
use tests::fleet::{self, Link, Node, Patience, Summary, Target};
use tests::head::Ports;
use tests::net::{BRIDGE, Client, Net};
use tests::{Head, HeadOptions};

use super::table::{Figure, Row};
use super::{Place, cost};

/// Among them so many are no simulation: dhclient, and curl.
const REAL: u32 = 16;
/// Where real ones are, on the link itself.
const REAL_NETWORK: &str = "10.20.1.0/24";
/// What is promised, seconds.
const SECONDS_MAX: f64 = 60.0;
/// All are switched on within this time.
const SPREAD: Duration = Duration::from_secs(5);

/// What a real client does, with `$head` and `$mac` set: an address, the loader, and all that its script names.
const SCRIPT: &str = r#"
set -e
dhclient -4 -1 -sf "$folder/lease" -lf "$folder/$name.leases" -pf "$folder/$name.pid" --no-pid eth0
# A file, since curl cannot empty /dev/null before it tries again.
get="curl -sSf --max-time 60 --retry 5 --retry-all-errors"
$get --tftp-blksize 1428 -o "$folder/$name.out" "tftp://$head/undionly.kpxe"
$get "http://$head:8081/boot/v1/bootscript?mac=$mac" >"$folder/$name.ipxe"
$get -o "$folder/$name.out" "$(sed -n 's/^kernel --name kernel \([^ ]*\) .*/\1/p' "$folder/$name.ipxe")"
$get -o "$folder/$name.out" "$(sed -n 's/^initrd --name initrd \([^ ]*\) .*/\1/p' "$folder/$name.ipxe")"
seed=$(sed -n 's/.* ds=nocloud-net;s=\([^ ]*\) .*/\1/p' "$folder/$name.ipxe")
for part in meta-data user-data vendor-data; do $get -o "$folder/$name.out" "$seed$part"; done
"#;

/// What dhclient has done with what it was given.
const LEASE: &str = "#!/bin/sh\n\
    case $reason in BOUND|RENEW|REBOOT) ;; *) exit 0 ;; esac\n\
    ip address replace \"$new_ip_address/16\" dev eth0\n";

/// Real clients, each in a namespace of its own.
struct Real(Vec<(Client, String)>);

/// The address of each node: simulated ones behind the fleet, real ones on the link.
fn address(simulated: u32) -> impl Fn(u32) -> Ipv4Addr {
    move |number| {
        let real = number.checked_sub(simulated + 1);
        real.map_or_else(|| space::address(number), |it| Ipv4Addr::new(10, 20, 1, 1 + it as u8))
    }
}

pub(super) async fn rows(place: &Place, net: &Net) -> anyhow::Result<Vec<Row>> {
    let simulated = place.storm.saturating_sub(REAL).max(1);
    space::raise_limits(simulated)?;
    let space = Space::attach(net).await?;
    place.ip(&["route", "add", REAL_NETWORK, "dev", BRIDGE, "src", &space::HEAD_ADDRESS.to_string()])?;
    let real = Real::attach(net, place, simulated).await?;
    let head = Head::start(HeadOptions {
        document: space::document(),
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        ..HeadOptions::default()
    })
    .await?;
    let images = format!("http://{}:8080", space::HEAD_ADDRESS);
    cluster::fill(&head, simulated + REAL, address(simulated), &images, Sizes::default()).await?;
    let mut rows = Vec::new();
    for percent in [0, 5] {
        space.lose(percent)?;
        rows.push(storm(place, &space, &real, simulated, percent).await?);
        if let Some(fallen) = head.fallen() {
            anyhow::bail!(fallen);
        }
    }
    head.shut_down().await?;
    Ok(rows)
}

async fn storm(
    place: &Place,
    space: &Space,
    real: &Real,
    simulated: u32,
    percent: u32,
) -> anyhow::Result<Row> {
    eprintln!("  storm of {simulated} simulated and {REAL} real nodes, {percent} % lost each way");
    let before = cost::cpu(&[std::process::id()]);
    let begun = Instant::now();
    let running = real.start(place)?;
    let report = space::run_in(space.namespace(), async move || {
        let mut target = Target::new(Link::wire("eth0")?);
        target.patience = Patience::REAL;
        let nodes: Vec<Node> = (1..=simulated).map(space::node).collect();
        let look = |ended, failed| {
            if ended % 1000 == 0 {
                eprintln!("    {:5.1} s: {ended} have ended, {failed} failed", begun.elapsed().as_secs_f64());
            }
        };
        Ok(fleet::storm(&nodes, &target, SPREAD, look).await)
    })
    .await?;
    let lost = finish(running)?;
    let cpu = cost::cpu(&[std::process::id()]).saturating_sub(before);
    eprint!("{}", report.table());
    let summary: Summary = report.summary();
    let failed = summary.failed + lost.len();
    let mut row = Row {
        what: format!("{} nodes boot ({REAL} of them real), {percent} % lost each way", simulated + REAL),
        target: "0 failed; first DISCOVER to last user-data <= 60 s, firmware's waits left out",
        ours: Some(
            Figure::of("Pilothouse", "s", vec![summary.seconds])
                .with_cpu(cpu.as_secs_f64(), "s of processor, all"),
        ),
        met: Some(failed == 0 && summary.seconds_without_waits <= SECONDS_MAX),
        ..Row::default()
    };
    row.notes.push(format!(
        "{failed} failed; {:.1} s without waits; asked again {} times; switched on within {} s",
        summary.seconds_without_waits,
        summary.again,
        SPREAD.as_secs()
    ));
    row.notes.extend(lost);
    row.notes.extend(report.table().lines().filter(|it| it.contains(" failed after ")).map(str::to_owned));
    Ok(row)
}

impl Real {
    async fn attach(net: &Net, place: &Place, simulated: u32) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let hook = place.folder.join("lease");
        std::fs::write(&hook, LEASE)?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
        let mut clients = Vec::new();
        for index in 1..=REAL {
            let mac = space::node(simulated + index).mac.to_string();
            let client = net.add_client(BRIDGE, &format!("real{index}"), &mac).await?;
            clients.push((client, mac));
        }
        Ok(Self(clients))
    }

    fn start(&self, place: &Place) -> anyhow::Result<Vec<(String, Child)>> {
        let start = |(index, (client, mac)): (usize, &(Client, String))| {
            let name = format!("real{index}");
            let mut command = client.command("sh", &["-c", SCRIPT])?;
            command.env("head", space::HEAD_ADDRESS.to_string()).env("mac", mac).env("name", &name);
            command.env("folder", &place.folder).stdout(Stdio::null()).stderr(Stdio::piped());
            Ok((name, command.spawn().context("start a real client")?))
        };
        self.0.iter().enumerate().map(start).collect()
    }
}

/// Waits for real clients; what went wrong with which.
fn finish(running: Vec<(String, Child)>) -> anyhow::Result<Vec<String>> {
    let mut lost = Vec::new();
    for (name, child) in running {
        let output = child.wait_with_output().context("wait for a real client")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = text.lines().last().unwrap_or_default().to_owned();
            lost.push(format!("{name} failed: {} {last}", output.status));
        }
    }
    ensure!(lost.len() <= REAL as usize, "more failed than there are");
    Ok(lost)
}
