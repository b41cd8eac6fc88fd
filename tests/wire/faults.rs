//! Twelve faults of booting, each at a simulated node that really speaks DHCP, TFTP and HTTP to the head's services:
//! `pilotctl boot report` names stage and cause of each, and nothing of a good boot.
//!
//! What shows itself by silence alone takes 20 to 25 s by default; the settings below make that 5 s.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use domain::{BootStage, Service};
use http::Method;
use serde_json::{Value, json};
use tests::fleet::cluster::{self, Sizes};
use tests::fleet::space::{self, Space};
use tests::fleet::{Faults, Firmware, Link, Node, Outcome, Target};
use tests::head::{self, Ports};
use tests::{Head, HeadOptions, Net, lab, program, settle};
use tokio::task::JoinSet;

const IMAGES: &str = "http://10.20.0.1:8080";
/// A cause is named within this time after it has shown itself.
const NAMED_MAX: Duration = Duration::from_secs(30);
const SETTINGS: [&str; 3] =
    ["timeline.limits.loader='5s'", "timeline.limits.script='5s'", "timeline.limits.kernel='5s'"];
/// Where there is never a BMC.
const NO_BMC: &str = "10.20.0.200";

/// The nodes, each with its fault.
mod node {
    pub(super) const GOOD: u32 = 1;
    pub(super) const TFTP: u32 = 2;
    pub(super) const SERVER: u32 = 3;
    pub(super) const PORT: u32 = 4;
    pub(super) const LOADER: u32 = 5;
    pub(super) const KERNEL: u32 = 6;
    pub(super) const INITRD: u32 = 7;
    pub(super) const ROOT: u32 = 8;
    pub(super) const CLOUD: u32 = 9;
    pub(super) const NETWORK: u32 = 10;
    pub(super) const DNS: u32 = 11;
    pub(super) const BMC: u32 = 12;
    pub(super) const ORDER: u32 = 13;
    pub(super) const COUNT: u32 = 13;
}

/// What is expected of a node: stage and cause.
type Expected = (u32, &'static str, &'static str);

const EXPECTED: [Expected; 12] = [
    (node::TFTP, "tftp-start", "no-loader-request"),
    (node::SERVER, "dhcp-ack", "other-server"),
    (node::PORT, "dhcp-discover", "spanning-tree"),
    (node::LOADER, "tftp-end", "wrong-architecture"),
    (node::KERNEL, "kernel", "not-found"),
    (node::INITRD, "initrd", "cut-short"),
    (node::ROOT, "root", "not-found"),
    (node::CLOUD, "metadata", "server-error"),
    (node::NETWORK, "metadata", "network-config"),
    (node::DNS, "kernel", "name-resolution"),
    (node::BMC, "power-on", "power-refused"),
    (node::ORDER, "dhcp-discover", "boot-order"),
];

#[test]
fn each_of_twelve_faults_is_named_with_its_stage_and_cause() {
    lab::test("faults::each_of_twelve_faults_is_named_with_its_stage_and_cause", async |folder| {
        let (_net, space, mut head) = start(&folder).await?;
        spoil(&head).await?;
        let begun = Instant::now();
        let good = boot(&space, vec![(node::GOOD, Faults::default())]).await?;
        ensure!(good[0].error.is_none(), "{:?}\n{}", good[0], head.tails(5));
        let told = wait_for(&head, node::GOOD, |it| it["good"] == 1).await?;
        ensure!(told["findings"] == json!([]) && told["failed"] == 0 && told["stopped"] == 0, "{told:#}");

        let none = Faults::default;
        let all = vec![
            (node::TFTP, Faults { tftp_dropped: true, ..none() }),
            (node::SERVER, Faults { other_server: Some(Ipv4Addr::new(10, 20, 0, 66)), ..none() }),
            (node::PORT, Faults { asking_for_s: 28, ..none() }),
            (node::LOADER, Faults { silent_after: Some(BootStage::DhcpAck), ..none() }),
            (node::KERNEL, none()),
            (node::INITRD, Faults { initrd_cut_after: Some(50_000), ..none() }),
            (node::ROOT, none()),
            (node::NETWORK, Faults { network_config: Some("no/such/network-config"), ..none() }),
            (node::DNS, Faults { without_dns: true, ..none() }),
        ];
        let outcomes = boot(&space, all).await?;
        // Its firmware loads what it was set to load once, not what it is told.
        let loader = format!("tftp://{}/undionly.kpxe", space::HEAD_ADDRESS);
        let from = space::address(node::LOADER).to_string();
        space.client().run("curl", &["-sS", "--interface", &from, "-o", "/dev/null", &loader])?;
        switch_on(&head)?;
        head::tell(&head.sockets(), Service::Power, &power_on(node::ORDER)).await?;
        let order = vec![(node::ORDER, Faults { from_disk: true, ..none() })];
        let outcomes: Vec<Outcome> = outcomes.into_iter().chain(boot(&space, order).await?).collect();
        without_cloud_init(&space, &mut head).await?;

        for (number, stage, cause) in EXPECTED {
            let shown = |it: &Value| names(it, stage, cause);
            wait_for(&head, number, shown).await.with_context(|| format!("{cause}: {outcomes:#?}"))?;
        }
        let told = report(&head, None)?;
        ensure!(told["nodes"] == node::COUNT, "{told:#}");
        // Besides the good one two come up all the same: a port that is late and a file too little stop no boot.
        ensure!(told["good"] == 3, "{told:#}");
        for group in told["findings"].as_array().context("findings")? {
            let known = EXPECTED.iter().any(|it| group["stage"] == it.1 && group["cause"] == it.2);
            ensure!(known && group["count"] == 1, "{group:#}");
        }
        eprintln!("twelve faults were named after {:?}", begun.elapsed());
        head.shut_down().await
    });
}

/// A head and its nodes.
async fn start(folder: &Path) -> anyhow::Result<(Net, Space, Head)> {
    let net = Net::up(folder)?;
    let space = Space::attach(&net).await?;
    let mut services = cluster::SERVICES.to_vec();
    services.extend([Service::Power, Service::Timeline]);
    let mut options = HeadOptions {
        services,
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        document: space::document(),
        ..HeadOptions::default()
    };
    for setting in SETTINGS {
        options = options.set(setting)?;
    }
    let head = Head::start(options).await?;
    let sizes = Sizes { root: Some(100_000), ..Sizes::default() };
    cluster::fill(&head, node::COUNT, space::address, IMAGES, sizes).await?;
    Ok((net, space, head))
}

/// What is wrong on the head: parameters that lead nowhere, a BMC that is not there.
async fn spoil(head: &Head) -> anyhow::Result<()> {
    let place = format!("{IMAGES}/compute/latest");
    let named = "http://head.openchami.cluster:8080/compute/latest";
    for (number, kernel, root) in [
        (node::KERNEL, format!("{place}/kernel-6.99"), format!("{place}/root")),
        (node::ROOT, format!("{place}/kernel"), format!("{place}/rootfs-6.99")),
        (node::DNS, format!("{named}/kernel"), format!("{named}/root")),
    ] {
        let parameters = json!({"hosts": [space::xname(number)], "kernel": kernel,
            "initrd": format!("{place}/initrd"), "params": format!("root=live:{root} ip=dhcp")});
        let boot = head.client(Service::Boot);
        boot.text(Method::PUT, "/boot/v1/bootparameters", Some(&parameters)).await?;
    }
    let (mac, ip) = (space::node(node::BMC).mac, space::address(node::BMC));
    let yaml = format!(
        "nodes:\n- {{nid: {0}, xname: {1}, group: compute, mac: '{mac}', ipaddr: {ip}, \
         bmc_mac: '02:f1:ee:bc:00:01', bmc_ipaddr: {NO_BMC}}}\n",
        node::BMC,
        space::xname(node::BMC)
    );
    head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &yaml)?;
    head.pilotctl(&["bmc", "set", "--user", "admin"], "calvin\n")?;
    head.settle().await
}

/// Boots these nodes at once.
async fn boot(space: &Space, nodes: Vec<(u32, Faults)>) -> anyhow::Result<Vec<Outcome>> {
    space::run_in(space.namespace(), async move || {
        let target = Target::new(Link::wire("eth0")?);
        let mut boots = JoinSet::new();
        for (number, faults) in nodes {
            let node = Node { firmware: Firmware::Uefi, ..space::node(number) };
            let target = target.clone();
            boots.spawn(async move { node.boot(&target, &faults).await });
        }
        Ok(boots.join_all().await)
    })
    .await
}

/// The BMC that is not there is asked for power.
fn switch_on(head: &Head) -> anyhow::Result<()> {
    let ran = pilotctl(head, &["power", "on", &format!("nid{:03}", node::BMC)])?;
    ensure!(ran.0 != 0, "a BMC that is not there took the command");
    Ok(())
}

/// What power tells when a BMC took its command: a simulated node has none.
fn power_on(number: u32) -> Value {
    json!({"stage": "power-on", "node": space::xname(number), "result": "ok", "detail": "power on"})
}

/// cloud-init is gone while a node boots; the gateway answers for it.
async fn without_cloud_init(space: &Space, head: &mut Head) -> anyhow::Result<()> {
    let socket = head.sockets().join("cloud-init.sock");
    let away = head.sockets().join("cloud-init.away");
    head.stop(Service::CloudInit).await?;
    std::fs::rename(&socket, &away)?;
    let outcomes = boot(space, vec![(node::CLOUD, Faults::default())]).await?;
    ensure!(outcomes[0].error.as_deref().is_some_and(|it| it.contains("503")), "{:?}", outcomes[0]);
    std::fs::rename(&away, &socket)?;
    head.resume(Service::CloudInit).await
}

/// Exit status and output of `pilotctl`.
fn pilotctl(head: &Head, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
    let mut command = Command::new(program::pilotctl()?);
    command.arg("--run").arg(head.sockets()).arg("--config").arg(head.document()).args(arguments);
    let output = command.stdin(Stdio::null()).output().context("run pilotctl")?;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// `pilotctl boot report --output json`, of one node or of all.
fn report(head: &Head, number: Option<u32>) -> anyhow::Result<Value> {
    let node = number.map(|it| format!("nid{it:03}"));
    let words = ["boot", "report", "--since", "1h", "--output", "json"];
    let words: Vec<&str> = words.into_iter().chain(node.as_deref()).collect();
    let (code, text) = pilotctl(head, &words)?;
    let told: Value =
        serde_json::from_str(&text).with_context(|| format!("boot report ended with {code}: {text}"))?;
    let bad = told["failed"].as_u64() > Some(0) || told["stopped"].as_u64() > Some(0);
    ensure!(code == if bad { 3 } else { 0 }, "boot report ended with {code}: {told:#}");
    Ok(told)
}

fn names(report: &Value, stage: &str, cause: &str) -> bool {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.into_iter().any(|it| it["stage"] == stage && it["cause"] == cause)
}

/// Waits until a node's report is as it should be.
async fn wait_for(head: &Head, number: u32, so: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    let waited = settle::until(NAMED_MAX, "the report says so", async || {
        last = report(head, Some(number))?;
        Ok(so(&last).then(|| last.clone()))
    });
    let waited = waited.await;
    waited
        .with_context(|| format!("nid{number:03}: {last:#}\n{}", head.events().all_of(&space::xname(number))))
}
