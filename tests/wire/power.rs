//! `ipmitool` against the simulated BMC of a virtual node: what the harness itself must be able to do.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tests::{Bmc, Net, Node, bmc, lab, net, program, settle};

/// Firmware comes within seconds, under a load within a minute.
const FIRMWARE_MAX: Duration = Duration::from_secs(60);

fn ipmitool(node: &Node, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = std::process::Command::new(program::find("ipmitool", "ipmitool")?);
    command.args(["-I", "lanplus", "-C", "3", "-U", bmc::USER, "-P", bmc::PASSWORD, "-H"]);
    let output = command.arg(node.bmc_address().to_string()).args(arguments).stdin(Stdio::null()).output()?;
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    ensure!(output.status.success(), "ipmitool {}: {text}", arguments.join(" "));
    Ok(text)
}

#[test]
fn a_virtual_node_is_switched_through_its_bmc() {
    lab::test("power::a_virtual_node_is_switched_through_its_bmc", async |folder| {
        let net = Net::up(&folder)?;
        net.add_address(net::HEAD)?;
        let node = Node::demo(1);
        let mut bmc = Bmc::start(&net, &folder, node.clone()).await?;
        let power = |words: &[&str]| ipmitool(&node, &[&["chassis"], words].concat());
        ensure!(power(&["power", "status"])?.contains("is off"));
        power(&["bootdev", "pxe"])?;
        power(&["power", "on"])?;
        ensure!(power(&["power", "status"])?.contains("is on") && bmc.chassis().is_on().await);
        bmc.console().wait_for("iPXE [0-9]|iPXE initialising", FIRMWARE_MAX).await?;

        // The BMC falls off the network and comes back; the node has not noticed.
        bmc.stop().await?;
        ensure!(power(&["power", "status"]).is_err() && bmc.chassis().is_on().await);
        bmc.resume().await?;
        ensure!(power(&["power", "status"])?.contains("is on"));

        power(&["power", "reset"])?;
        settle::until(FIRMWARE_MAX, "the firmware begins anew", async || {
            Ok((bmc.console().text().matches("SeaBIOS (version").count() == 2).then_some(()))
        })
        .await?;
        power(&["power", "off"])?;
        let off = async || Ok((!bmc.chassis().is_on().await).then_some(()));
        settle::until(FIRMWARE_MAX, "the node is off", off).await.context("power off")?;
        let done = bmc.chassis().done().await;
        ensure!(done == ["on", "reset", "off", "on", "off"], "{done:?}");
        ensure!(bmc.chassis().boot_device().await.as_deref() == Some("pxe"));
        Ok(())
    });
}
