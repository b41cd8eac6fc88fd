//! `power.recover = "cycle"`: when the head was started, nodes that are on and have not booted are switched off and on;
//! a service that only starts anew switches nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use http::Method;
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::program::find;
use tests::{Head, HeadOptions, Net, Node, Process, Run, bmc, lab, net, node, settle};

/// Far longer than anything here takes: only a hang meets it.
const LIMIT: Duration = Duration::from_secs(60);

/// A BMC whose node is a file: `on` holds 0 or 1, and each order is a line of `orders`.
struct Board {
    folder: PathBuf,
    simulator: Process,
}

const CHASSIS: &str = r#"#!/bin/sh
cd "@FOLDER@" || exit 1
verb=$1
shift
while [ $# -gt 0 ]; do
  if [ "$verb" = get ]; then
    case $1 in power) echo "power:$(cat on)" ;; *) echo "$1:default" ;; esac
    shift
    continue
  fi
  case $1 in power) echo "$2" >on; echo "$2" >>orders ;; reset) echo reset >>orders ;; esac
  shift 2
done
"#;

impl Board {
    fn start(folder: &Path, node: &Node) -> anyhow::Result<Self> {
        let folder = folder.join(format!("bmc-{}", node.name()));
        std::fs::create_dir_all(folder.join("state"))?;
        let (address, place) = (node.bmc_address(), folder.display().to_string());
        let configuration = format!(
            "name \"{0}\"\nset_working_mc 0x20\nstartlan 1\n  addr {address} 623\n  priv_limit admin\n  \
             allowed_auths_admin none md5\n  guid 00112233445566778899aabbccddeeff\nendlan\n\
             chassis_control \"{place}/chassis\"\nuser 1 true \"\" \"x\" user 10 none md5\n\
             user 2 true \"{1}\" \"{2}\" admin 10 none md5\n",
            node.name(),
            bmc::USER,
            bmc::PASSWORD
        );
        let controller =
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n";
        let chassis = CHASSIS.replace("@FOLDER@", &place);
        for (name, text) in [
            ("lan.conf", configuration.as_str()),
            ("bmc.emu", controller),
            ("chassis", &chassis),
            ("on", "1"),
            ("orders", ""),
        ] {
            std::fs::write(folder.join(name), text)?;
        }
        std::fs::set_permissions(folder.join("chassis"), std::fs::Permissions::from_mode(0o755))?;
        let program = find("ipmi_sim", "openipmi")?;
        let run = Run::new("ipmi_sim", program, folder.join("log")).folder(&folder);
        let simulator = run.args(["-c", "lan.conf", "-f", "bmc.emu", "-s", "state", "-n"]).spawn()?;
        Ok(Self { folder, simulator })
    }

    fn orders(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(self.folder.join("orders")).context("read what the BMC was told")
    }
}

#[test]
fn nodes_that_gave_up_are_switched_once_after_a_start_of_the_head() {
    lab::test("recover::nodes_that_gave_up_are_switched_once_after_a_start_of_the_head", async |folder| {
        let net = Net::up(&folder)?;
        net.add_address(net::HEAD)?;
        let nodes = [Node::demo(1), Node::demo(2)];
        let mut head = start(&net, &nodes).await?;
        let boards =
            nodes.iter().map(|it| Board::start(&folder, it)).collect::<anyhow::Result<Vec<Board>>>()?;
        let [one, two] = boards.as_slice() else { anyhow::bail!("two boards") };

        // As after a start of the head: nothing was switched since.
        std::fs::remove_file(head.folder().join("state/power/recovered")).context("it was noted")?;
        head.resume(Service::Power).await?;
        head.settle().await?;
        for board in [one, two] {
            settle::until(LIMIT, "the node is switched", async || {
                Ok((!board.orders()?.is_empty()).then_some(()))
            })
            .await
            .with_context(|| head.tails(10))?;
        }
        ask_for_script(&head, &nodes[0]).await?;
        ask_for_script(&head, &nodes[1]).await?;
        let done = ended(&head).await?;
        for node in &nodes {
            ensure!(done["nodes"][node.xname()]["verdict"] == "booted", "{done:#}");
        }

        // The service starts anew, and so does boot, which has seen nobody since: it is looked, and nothing switched.
        let before = [one.orders()?, two.orders()?];
        head.stop(Service::Power).await?;
        head.stop(Service::Boot).await?;
        head.resume(Service::Boot).await?;
        head.settle().await?;
        head.resume(Service::Power).await?;
        let done = ended(&head).await?;
        ensure!(done["dry"] == true && done["nodes"][nodes[0].xname()]["verdict"] == "silent", "{done:#}");
        ensure!([one.orders()?, two.orders()?] == before, "{before:?}");
        let issue = head.folder().join("run/power/issues.json");
        settle::until(LIMIT, "an issue says so", async || {
            let text = std::fs::read_to_string(&issue).unwrap_or_default();
            Ok(text.contains("nodes-not-booted").then_some(()))
        })
        .await?;
        for board in boards {
            board.simulator.stop(Signal::SIGKILL, LIMIT).await?;
        }
        head.shut_down().await
    });
}

/// A head that knows the nodes and their BMCs; power is stopped.
async fn start(net: &Net, nodes: &[Node]) -> anyhow::Result<Head> {
    for node in nodes {
        net.add_address(&format!("{}/24", node.bmc_address()))?;
    }
    let services = vec![Service::Inventory, Service::Boot, Service::Power];
    let mut options = HeadOptions { services, ..HeadOptions::default() };
    for setting in ["power.recover='cycle'", "power.recover_after='1s'"] {
        options = options.set(setting)?;
    }
    let mut head = Head::start(options).await?;
    head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &node::nodes_yaml(nodes))?;
    head.pilotctl(&["bmc", "set", "--user", bmc::USER], &format!("{}\n", bmc::PASSWORD))?;
    head.settle().await?;
    // Whatever it found to switch at its own start, which depends on how far the import was, it notes that it looked.
    let noted = head.folder().join("state/power/recovered");
    settle::until(LIMIT, "the first start is noted", async || Ok(noted.exists().then_some(()))).await?;
    head.stop(Service::Power).await?;
    Ok(head)
}

/// The recovery after power's start, when it has ended. Before it begins there is none, which counts as done too.
async fn ended(head: &Head) -> anyhow::Result<Value> {
    let power = head.client(Service::Power);
    let waited = settle::until(LIMIT, "the recovery has ended", async || {
        let now: Value = power.get("/pilothouse/v1/recover").await?;
        let some = now["nodes"].as_object().is_some_and(|it| !it.is_empty());
        Ok((some && now["phase"] == "done").then_some(now))
    });
    let done = waited.await.with_context(|| head.tails(10))?;
    ensure!(done["error"].is_null(), "{done:#}");
    Ok(done)
}

/// As iPXE on the node does.
async fn ask_for_script(head: &Head, node: &Node) -> anyhow::Result<()> {
    let boot = head.client(Service::Boot);
    let parameters = serde_json::json!({"hosts": [node.xname()], "kernel": "http://a.test/k"});
    boot.text(Method::PUT, "/boot/v1/bootparameters", Some(&parameters)).await?;
    boot.text(Method::GET, &format!("/boot/v1/bootscript?mac={}", node.mac()), None::<&()>).await?;
    Ok(())
}
