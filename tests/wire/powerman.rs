//! Debian's `pm` against powermand and against ours, over the same simulated BMCs: the same bytes, the same exits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use tests::swarm::{self, Fault, Options, Place, Swarm};
use tests::{Head, HeadOptions, Net, Run, lab, program, settle};

/// Far longer than anything here takes; powermand's cycle waits by itself.
const LIMIT: Duration = Duration::from_secs(60);
/// Where image/prepare unpacks the powerman of Debian 13, whose version the head's image has.
const PEERS: &str = "/usr/local/lib/pilothouse-peers";
/// Where powermand listens.
const THEIRS: &str = "127.0.0.1:10109";
/// So many BMCs; the last one never answers.
const COUNT: u32 = 5;

/// What powermand asks of ipmipower: Debian's file has no reset, which ipmipower knows, and waits 5 s in a cycle.
fn device() -> String {
    let command = |name: &str, words: &[&str]| {
        let sends: String =
            words.iter().map(|it| format!("  send \"{it} %s\\n\"\n  expect \"ipmipower> \"\n")).collect();
        format!(" script {name} {{\n{sends} }}\n")
    };
    let states = |name: &str, word: &str| {
        format!(
            " script {name} {{\n  send \"{word}\\n\"\n  foreachnode {{\n   expect \"([^\\n:]+): ([^\\n]+\\n)\"\n   \
             setplugstate $1 $2 on=\"^on\\n\" off=\"^off\\n\"\n  }}\n  expect \"ipmipower> \"\n }}\n"
        )
    };
    [
        "specification \"ipmipower\" {\n timeout 60\n script login {\n  expect \"ipmipower> \"\n }\n"
            .to_owned(),
        " script logout {\n  send \"quit\\n\"\n }\n".to_owned(),
        states("status_all", "stat"),
        states("status_beacon_all", "identify-status"),
        command("on_ranged", &["on"]),
        command("off_ranged", &["off"]),
        command("reset_ranged", &["reset"]),
        command("cycle_ranged", &["off", "on"]),
        command("beacon_on_ranged", &["identify-on"]),
        command("beacon_off_ranged", &["identify-off"]),
        "}\n".to_owned(),
    ]
    .concat()
}

/// powermand with one ipmipower for all BMCs.
fn start_powermand(folder: &Path) -> anyhow::Result<tests::Process> {
    let ipmipower = program::find("ipmipower", "freeipmi-tools")?;
    let hosts = format!("127.1.0.[1-{COUNT}]");
    let configuration = format!(
        "include \"{device}\"\nlisten \"{THEIRS}\"\n\
         device \"ipmi0\" \"ipmipower\" \"{ipmipower} -D LAN_2_0 -u {user} -p {password} -h {hosts} |&\"\n\
         node \"nid[001-00{COUNT}]\" \"ipmi0\" \"{hosts}\"\n",
        device = folder.join("ipmipower.dev").display(),
        ipmipower = ipmipower.display(),
        user = swarm::USER,
        password = swarm::PASSWORD,
    );
    std::fs::write(folder.join("ipmipower.dev"), device())?;
    std::fs::write(folder.join("powerman.conf"), configuration)?;
    let powermand = PathBuf::from(PEERS).join("usr/sbin/powermand");
    ensure!(powermand.is_file(), "powermand is not here; run image/prepare test");
    // It stays in the foreground when it talks to its standard input, and listens only when it does not.
    Run::new("powermand", powermand, folder.join("powermand.log"))
        .arg("-c")
        .arg(folder.join("powerman.conf"))
        .spawn()
}

/// What `pm` prints on both outputs, and how it ends.
fn pm(server: &str, words: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(PathBuf::from(PEERS).join("usr/bin/pm"));
    command.args(["-h", server]).args(words).stdin(Stdio::null());
    let output = command.output().context("run pm")?;
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    Ok(format!("$ pm {}\n{text}[{:?}]\n", words.join(" "), output.status.code()))
}

/// A head that knows the swarm's nodes.
async fn start_head(swarm: &Swarm) -> anyhow::Result<(Head, SocketAddr)> {
    let services = vec![Service::Inventory, Service::Power];
    let head = Head::start(HeadOptions { services, ..HeadOptions::default() }).await?;
    head.pilotctl(&["bmc", "set", "--user", swarm::USER], &format!("{}\n", swarm::PASSWORD))?;
    let node = |number: u32| {
        format!(
            "- {{nid: {number}, xname: x1000c0s{number}b0n0, group: compute, mac: '02:00:00:02:00:{number:02x}', \
             ipaddr: 172.16.0.{number}, bmc_mac: '02:00:00:01:00:{number:02x}', bmc_ipaddr: {}}}\n",
            swarm.address(number).ip()
        )
    };
    let nodes: String = swarm.all().map(node).collect();
    head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &format!("nodes:\n{nodes}"))?;
    let address = head.address(Service::Power, "powerman").context("power has no socket for powerman")?;
    settle::until(LIMIT, "power knows the nodes", async || {
        Ok(pm(&address.to_string(), &["-l"])?.contains(&format!("nid[001-00{COUNT}]")).then_some(()))
    })
    .await?;
    Ok((head, address))
}

/// Each line is asked of both, the one after the other, and both switch the same machines: what the first has switched
/// the second leaves as it is.
const ASKED: &[&[&str]] = &[
    &["-l"],
    &["-l", "-x"],
    &["-q"],
    &["-q", "-x"],
    &["-1", "nid001"],
    &["-q", "nid001"],
    &["-1", "nid[001-003]"],
    &["-q", "nid[001-004]"],
    &["-r", "nid001"],
    &["-c", "nid[001-002]"],
    &["-q", "-x", "nid[001-002]", "nid001"],
    &["-0", "nid[002-003]"],
    &["-q", "nid004,nid003,nid001"],
    &["-f", "nid001"],
    &["-u", "nid001"],
    &["-d"],
    &["-d", "nid001"],
    &["-d", "nid999"],
    &["-t"],
    &["-t", "nid001"],
    &["-1", "nid999"],
    &["-1", "nid[001-999]"],
    &["-q", "bogus,nid[998,999],a1,a2,b"],
    &["-0", "nid[1-"],
    &["-q", "nid[1-2000000]"],
    &["-1"],
    &["-l", "nid001"],
    &["-0", "nid[001-004]"],
    &["-q"],
];

#[test]
fn pm_shows_the_same_with_powermand_and_with_ours() {
    lab::test("powerman::pm_shows_the_same_with_powermand_and_with_ours", async |folder| {
        let _net = Net::up(&folder)?;
        let swarm = Swarm::start(Options { count: COUNT, place: Place::LOOPBACK, ..Options::default() })?;
        swarm.inflict([COUNT], Fault::Silent);
        let _powermand = start_powermand(&folder)?;
        let (head, address) = start_head(&swarm).await?;
        let ours = address.to_string();
        // ipmipower pings the BMCs by and by.
        settle::until(LIMIT, "powermand knows the BMCs", async || {
            let told = pm(THEIRS, &["-q"]);
            Ok(told.is_ok_and(|it| it.contains(&format!("off:     nid[001-00{}]", COUNT - 1))).then_some(()))
        })
        .await?;
        // Both begin to count what their device does anew: powermand's at what it took to settle.
        let actions = |text: &str| {
            let count = text.split("actions=").nth(1).and_then(|it| it.split(' ').next());
            count.and_then(|it| it.parse::<u32>().ok()).context("no count of actions")
        };
        let before = [actions(&pm(THEIRS, &["-d"])?)?, actions(&pm(&ours, &["-d"])?)?];
        for words in ASKED {
            let [mut theirs, mut told] = [pm(THEIRS, words)?, pm(&ours, words)?];
            if words.first() == Some(&"-d") && theirs.contains("actions=") {
                let since = [actions(&theirs)? - before[0], actions(&told)? - before[1]];
                ensure!(since[0] == since[1], "they did {} actions, ours {}", since[0], since[1]);
                let cut = |text: &str, count: u32| text.replace(&format!("actions={count:03}"), "actions=N");
                theirs = cut(&theirs, before[0] + since[0]);
                told = cut(&told, before[1] + since[1]);
            }
            ensure!(theirs == told, "powermand:\n{theirs}ours:\n{told}");
        }
        // Where they differ, and why: powermand calls it a success.
        let silent = format!("nid00{COUNT}");
        let theirs = pm(THEIRS, &["-1", &silent])?;
        ensure!(theirs.contains("Command completed successfully"), "{theirs}");
        let told = pm(&ours, &["-1", &silent])?;
        ensure!(told.contains(&silent) && told.contains("check"), "{told}");
        ensure!(told.ends_with("Command completed with errors\n[Some(210)]\n"), "{told}");
        head.shut_down().await
    });
}
