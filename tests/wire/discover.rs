//! `pilotctl discover` against BMCs that speak Redfish: a file to edit, the inventory at once, and what changed since.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use http::Method;
use serde_json::{Value, json};
use tests::redfish::tree::Tree;
use tests::redfish::{PASSWORD, USER, makers};
use tests::{Head, HeadOptions, Net, lab, net, program, settle};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What a command said, and how it ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> anyhow::Result<Ended> {
    let output = command.stdin(Stdio::null()).output().context("run pilotctl")?;
    let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    ensure!(!out.contains(PASSWORD) && !err.contains(PASSWORD), "the password is shown");
    Ok(Ended { code: output.status.code(), out, err })
}

fn pilotctl(head: &Head, words: &str) -> anyhow::Result<Ended> {
    let mut command = Command::new(program::pilotctl()?);
    command.arg("--run").arg(head.sockets()).arg("--config").arg(head.document()).args(words.split(' '));
    run(&mut command)
}

#[test]
fn bmcs_are_discovered_stored_and_their_nodes_boot() {
    lab::test("discover::bmcs_are_discovered_stored_and_their_nodes_boot", async |folder| {
        let net = Net::up(&folder)?;
        net.add_address(net::HEAD)?;
        for last in [101, 102] {
            net.add_address(&format!("172.16.0.{last}/24"))?;
        }
        let rack = makers::rack("ec:e7:a7:05:a1:31", "ec:e7:a7:05:a1:32", "b0:26:28:00:00:01");
        let board = makers::baseboard("ec:e7:a7:05:a1:fc", "b0:26:28:00:00:02");
        let first = Tree::start(([172, 16, 0, 101], 443).into(), rack).await?;
        let _second = Tree::start(([172, 16, 0, 102], 443).into(), board).await?;
        let head = start().await?;
        to_a_file(&head)?;
        straight_into_the_inventory(&head).await?;
        once_more(&head, &first).await?;
        refused(&head)?;
        head.shut_down().await
    });
}

async fn start() -> anyhow::Result<Head> {
    use Service::{Boot, CloudInit, Discovery, Images, Inventory, Power};
    let services = vec![Inventory, Boot, CloudInit, Images, Power, Discovery];
    let head = Head::start(HeadOptions { services, ..HeadOptions::default() }).await?;
    let none = pilotctl(&head, "discover 172.16.0.101")?;
    ensure!(none.code == Some(3) && none.err.contains("pilotctl bmc set"), "{none:?}");
    head.pilotctl(&["bmc", "set", "--user", USER], &format!("{PASSWORD}\n"))?;
    Ok(head)
}

/// As the bootcamp's script: two that answer, one that is down.
fn to_a_file(head: &Head) -> anyhow::Result<()> {
    let rule = "--xname x1000c1s7b{1-3}n0 --name nid{nid:03} --nid 1 --ip 172.16.0.1-3";
    let made = pilotctl(head, &format!("discover 172.16.0.101-103 {rule} -o yaml"))?;
    ensure!(made.code == Some(3) && made.err.contains("172.16.0.103"), "{made:?}");
    ensure!(made.out.contains("mac_addr: ec:e7:a7:05:a1:fc") && made.out.contains("02:00:00:"), "{made:?}");
    // What it wrote is what imports.
    let file = ["nodes", "import", "--dry-run", "-"];
    let imported = head.pilotctl(&file, &made.out)?;
    for node in ["x1000c1s7b1n0", "x1000c1s7b2n0", "x1000c1s7b3n0"] {
        ensure!(imported.contains(&format!("would be added    {node}")), "{imported}");
    }
    Ok(())
}

async fn straight_into_the_inventory(head: &Head) -> anyhow::Result<()> {
    let rule = "--xname x1000c1s7b{1-2}n0 --name nid{nid:03} --nid 1 --ip 172.16.0.1-2";
    let stored = pilotctl(head, &format!("discover 172.16.0.101-102 {rule} --apply"))?;
    ensure!(stored.code == Some(0) && stored.out.contains("added    x1000c1s7b2n0"), "{stored:?}");
    let nodes: Value = serde_json::from_str(&pilotctl(head, "nodes list --output json")?.out)?;
    ensure!(
        nodes[0]["name"] == "nid001" && nodes[0]["interfaces"].as_array().map(Vec::len) == Some(2),
        "{nodes}"
    );
    let inventory = head.client(Service::Inventory);
    let part: Value = inventory.get("/hsm/v2/Inventory/ComponentEndpoints/x1000c1s7b1n0").await?;
    ensure!(part["OdataID"] == "/redfish/v1/Systems/System.Embedded.1", "{part:#}");
    let card: Value = inventory.get("/hsm/v2/Inventory/EthernetInterfaces/ece7a705a132").await?;
    ensure!(card["IPAddresses"][0]["IPAddress"] == "172.16.0.1", "{card:#}");
    let believed: Value = head.client(Service::Power).get("/pilothouse/v1/bmcs/x1000c1s7b1").await?;
    ensure!(believed["certificate"]["sha256"].is_string(), "{believed:#}");

    let boot = head.client(Service::Boot);
    let parameters = json!({"hosts": ["x1000c1s7b1n0"], "kernel": "http://a.test/vmlinuz"});
    boot.text(Method::PUT, "/boot/v1/bootparameters", Some(&parameters)).await?;
    let asked = settle::until(LIMIT, "the node's script is served", async || {
        let path = "/boot/v1/bootscript?mac=ec:e7:a7:05:a1:32";
        let script = String::from_utf8(boot.text(Method::GET, path, None::<&()>).await?)?;
        Ok((script.contains("vmlinuz") && script.contains("xname=x1000c1s7b1n0")).then_some(()))
    });
    asked.await
}

async fn once_more(head: &Head, rack: &Tree) -> anyhow::Result<()> {
    let again = || -> anyhow::Result<Value> {
        let ended = pilotctl(head, "discover 172.16.0.101-102 --output json")?;
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(serde_json::from_str(&ended.out)?)
    };
    // As soon as the service has heard of what was stored.
    settle::until(LIMIT, "nothing has changed", async || {
        let found = again()?;
        Ok((found["unchanged"] == 2 && found["changes"] == json!([])).then_some(()))
    })
    .await?;
    let card = "/redfish/v1/Systems/System.Embedded.1/EthernetInterfaces/NIC.Embedded.1-1-1";
    rack.set(card, json!({"Id": "NIC.Embedded.1-1-1", "MACAddress": "ec:e7:a7:05:a1:77"}));
    let shown = pilotctl(head, "discover 172.16.0.101-102")?;
    for line in [
        "+ x1000c1s7b1n0 interface ec:e7:a7:05:a1:77",
        "- x1000c1s7b1n0 interface ec:e7:a7:05:a1:31",
        "1 nodes are in the inventory just so",
    ] {
        ensure!(shown.out.lines().any(|it| it == line), "{line} is not in {shown:?}");
    }
    Ok(())
}

fn refused(head: &Head) -> anyhow::Result<()> {
    for (words, code, said) in [
        ("discover n[0-1999999]", 2, "more than 65536"),
        ("discover 172.16.0.101-109 --xname x1000c1s7b{1-3}n0", 2, "3 places for 9 BMCs"),
        ("discover", 2, "TARGETS"),
        ("discover --cancel 4711", 1, "--list"),
        ("nodes list -o yaml", 2, "only discover"),
    ] {
        let ended = pilotctl(head, words)?;
        ensure!(ended.code == Some(code) && ended.err.contains(said), "{words}: {ended:?}");
    }
    let listed = pilotctl(head, "discover --list")?;
    ensure!(listed.code == Some(0) && listed.out.contains("done"), "{listed:?}");
    Ok(())
}
