//! `ochami pcs` and OpenCHAMI's power-control behind the gateway, over simulated BMCs; what it sets is what Debian's
//! `ipmitool` reads.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tests::swarm::{self, Fault, Options, Place, Swarm};
use tests::{Net, lab, program, settle};

use crate::ochami::{KEY_MAX, Shell, words};
use crate::swarm_faults::tell;

const ONE: &str = "x1000c0s0b1n0";
const TWO: &str = "x1000c0s0b2n0";
const SILENT: &str = "x1000c0s0b3n0";

/// What a line prints, as JSON, and that it ends well.
fn json_of(shell: &Shell, line: &str) -> anyhow::Result<Value> {
    let ran = shell.run(&words(line))?;
    ensure!(ran.code == Some(0), "{line}: {ran:?}");
    serde_json::from_str(&ran.out).with_context(|| format!("{line}: {ran:?}"))
}

fn ipmitool(line: &str) -> anyhow::Result<String> {
    let mut command = std::process::Command::new(program::find("ipmitool", "ipmitool")?);
    command.args(["-I", "lanplus", "-C", "17", "-H", "127.1.0.1", "-U", swarm::USER, "-P", swarm::PASSWORD]);
    program::converse(command.args(words(line)), "")
}

/// Starts a transition; what it came to.
fn transition(shell: &Shell, operation: &str, xnames: &str) -> anyhow::Result<Value> {
    let started = json_of(shell, &format!("pcs transition start --xname {xnames} {operation}"))?;
    let id = started["TransitionID"].as_str().with_context(|| format!("{started}"))?.to_owned();
    let ran = shell.run(&words(&format!("pcs transition monitor {id}")))?;
    ensure!(ran.code == Some(0) && ran.out.starts_with("completed: "), "{ran:?}");
    json_of(shell, &format!("pcs transition show {id}"))
}

fn powers(shell: &Shell, filter: &str) -> anyhow::Result<Vec<(String, String)>> {
    let listed = json_of(shell, &format!("pcs status list {filter}"))?;
    let member = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    let all = listed["status"].as_array().with_context(|| format!("{listed}"))?.iter();
    let mut all: Vec<_> = all.map(|it| (member(it, "xname"), member(it, "powerState"))).collect();
    all.sort();
    Ok(all)
}

#[test]
fn ochami_switches_nodes_and_sees_what_they_do() {
    lab::test("pcs::ochami_switches_nodes_and_sees_what_they_do", async |folder| {
        let _net = Net::up(&folder)?;
        let swarm = Swarm::start(Options { count: 3, place: Place::LOOPBACK, ..Options::default() })?;
        swarm.inflict([3], Fault::Silent);
        let shell = Shell::open("uri").await?;
        tell(&shell.head, &swarm).await?;
        settle::until(KEY_MAX, "power knows the token's key", async || {
            Ok((shell.run(&words("pcs transition list"))?.code == Some(0)).then_some(()))
        })
        .await?;
        let ran = shell.run(&words("pcs service status --all"))?;
        ensure!(ran.code == Some(0) && ran.out.contains("ready"), "{ran:?}");

        let pair = |state: &str| vec![(ONE.to_owned(), state.to_owned()), (TWO.to_owned(), state.to_owned())];
        ensure!(powers(&shell, &format!("-x {ONE},{TWO}"))? == pair("off"));
        let done = transition(&shell, "on", &format!("{ONE},{TWO},{SILENT}"))?;
        let counts = &done["taskCounts"];
        ensure!(counts["succeeded"] == 2 && counts["failed"] == 1, "{done:#}");
        let told = done["tasks"].to_string();
        ensure!(told.contains("x1000c0s0b3") && told.contains("check"), "{done:#}");
        ensure!(swarm.is_on(1) && swarm.is_on(2) && swarm.seen(1).on == 1, "{:?}", swarm.total());
        ensure!(powers(&shell, "--power-filter on")? == pair("on"));
        ensure!(
            powers(&shell, "--mgmt-filter unavailable")? == [(SILENT.to_owned(), "undefined".to_owned())]
        );
        let shown = json_of(&shell, &format!("pcs status show {ONE}"))?;
        ensure!(shown["powerState"] == "on" && shown["managementState"] == "available", "{shown}");
        let done = transition(&shell, "hard-restart", ONE)?;
        ensure!(done["taskCounts"]["succeeded"] == 1 && swarm.seen(1).boots == 2, "{done:#}");
        let done = transition(&shell, "soft-off", TWO)?;
        ensure!(done["taskCounts"]["succeeded"] == 1 && swarm.seen(2).soft == 1, "{done:#}");
        ensure!(!swarm.is_on(2) && swarm.is_on(1));
        let listed = json_of(&shell, "pcs transition list")?;
        ensure!(listed["transitions"].as_array().is_some_and(|it| it.len() == 3), "{listed:#}");
        let ran = shell.run(&words("pcs transition abort 00000000-0000-0000-0000-000000000000"))?;
        ensure!(ran.code == Some(1) && ran.err.contains("404"), "{ran:?}");
        let ran = shell.run(&words(&format!("--no-token pcs transition start --xname {ONE} off")))?;
        ensure!(ran.code == Some(1) && swarm.is_on(1), "{ran:?}");
        limit(&shell).await?;
        ensure!(shell.head.fallen().is_none(), "{:?}", shell.head.fallen());
        shell.head.shut_down().await
    });
}

/// A limit that is set here is what the BMC has, as others read it, and one that others set is read here.
async fn limit(shell: &Shell) -> anyhow::Result<()> {
    let client = shell.head.client(domain::Service::Power);
    let ended = async |method: http::Method, path: &str, body: Value| -> anyhow::Result<Value> {
        let made: Value = client.call(method, path, Some(&body)).await?;
        let path = format!("/power-cap/{}", made["taskID"].as_str().context("no task")?);
        settle::until(KEY_MAX, "the power cap task ends", async || {
            let task: Value = client.get(&path).await?;
            Ok((task["taskStatus"] == "completed").then_some(task))
        })
        .await
    };
    let controls = json!([{"name": "Node Power Limit", "value": 275}]);
    let body = json!({"components": [{"xname": ONE, "controls": controls}]});
    let task = ended(http::Method::PATCH, "/power-cap", body).await?;
    ensure!(task["taskCounts"]["succeeded"] == 1, "{task:#}");
    let text = ipmitool("dcmi power get_limit")?;
    ensure!(text.contains("275"), "{text}");
    ipmitool("dcmi power set_limit limit 240")?;
    let task = ended(http::Method::POST, "/power-cap/snapshot", json!({"xnames": [ONE]})).await?;
    let shown = &task["components"][0]["powerCapLimits"][0];
    ensure!(shown["currentValue"] == 240, "{task:#}");
    Ok(())
}
