//! The numbered lines that nodes write from the initrd to the log-in, and what the head's log has of them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tests::demo::Demo;
use tests::{Node, sol};

/// How long a node may take to the first numbers; that much of its boot is over then.
const COUNT_MAX: Duration = Duration::from_secs(180);

/// Has these nodes count: their boot parameters with one word more.
pub(super) fn count(demo: &Demo, nodes: &[Node]) -> anyhow::Result<()> {
    let head = demo.place.appliance()?;
    let parameters = "curl -sS --fail-with-body --unix-socket /run/pilothouse/boot.sock \
         http://head/boot/v1/bootparameters";
    let macs: Vec<String> = nodes.iter().map(|it| format!("\"{}\"", it.mac())).collect();
    let edit = format!("{{macs: [{}], params: (.[0].params + \" pilothouse.counter\")}}", macs.join(", "));
    let changed = head.run(&format!("{parameters} | jq '{edit}'"), "")?;
    let patch = format!("{parameters} -X PATCH -H 'content-type: application/json' --data-binary @-");
    head.run(&patch, &changed).map(drop)
}

/// Boots a node and restarts a unit of the head while the node counts in its initrd.
pub(super) async fn boot_over_a_restart(demo: &mut Demo, nid: u8, unit: &str) -> anyhow::Result<()> {
    let begin = demo.power_on(nid)?;
    demo.bmc(nid)?.console().wait_for("PH-COUNT 5\n", COUNT_MAX).await?;
    demo.place.appliance()?.run(&format!("sudo systemctl restart {unit}"), "")?;
    demo.steps.reach("head", &format!("{unit} restarted"));
    demo.follow(nid, begin).await
}

/// Every number once and in order, from 1 to the last that the node wrote.
pub(super) fn check_counter(demo: &Demo, nid: u8) -> anyhow::Result<()> {
    let (log, last) = (log(demo, nid)?, last_written(demo, nid)?);
    let counted = sol::counted(&log);
    ensure!(last > 50, "the node wrote {last} numbers alone");
    ensure!(counted == (1..=last).collect::<Vec<_>>(), "1 to {last} were written, the log has {counted:?}");
    eprintln!("the log has 1 to {last}, each once");
    Ok(())
}

fn log(demo: &Demo, nid: u8) -> anyhow::Result<String> {
    demo.place.console_log(&demo.bmc(nid)?.node().name())
}

fn last_written(demo: &Demo, nid: u8) -> anyhow::Result<u32> {
    let text = demo.bmc(nid)?.console().text();
    let last = text.lines().filter_map(|it| it.strip_prefix("PH-COUNT ")).next_back();
    last.context("the node wrote no number")?.parse().context("read the last number")
}
