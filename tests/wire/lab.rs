//! The lab itself: what is inside stays inside, and ends.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tests::{Net, lab, net, settle};
use tokio::net::TcpListener;

#[test]
fn machines_on_the_bridge_reach_each_other() {
    lab::test("lab::machines_on_the_bridge_reach_each_other", async |folder| {
        let net = Net::up(&folder)?;
        net.add_address(net::HEAD)?;
        let client = net.add_client(tests::net::BRIDGE, "node", "52:54:00:10:00:01").await?;
        client.run("ip", &["address", "add", "172.16.0.1/24", "dev", "eth0"])?;
        let listener = TcpListener::bind("172.16.0.254:80").await?;
        let mut curl = client.command("curl", &["--max-time", "5", "http://172.16.0.254/"])?.spawn()?;
        let (_, caller) = listener.accept().await?;
        ensure!(caller.ip().to_string() == "172.16.0.1", "{caller}");
        curl.kill()?;
        curl.wait()?;
        let link = client.run("ip", &["link", "show", "eth0"])?;
        ensure!(link.contains("52:54:00:10:00:01"), "{link}");
        client.remove().await
    });
}

/// A lab that is killed leaves no process: the marker's command line is looked for among all.
#[test]
fn nothing_outlives_a_killed_lab() {
    const MARK: &str = "86399.375";
    if lab::is_inside() {
        lab::settle_in().expect("a habitable lab");
        let mut sleeper = std::process::Command::new("setsid").args(["sleep", MARK]).spawn().expect("sleep");
        sleeper.wait().expect("wait");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let done: anyhow::Result<()> = runtime.block_on(async {
        let mut command = lab::command(["lab::nothing_outlives_a_killed_lab", "--exact"])?;
        let mut outside = command.stdout(Stdio::null()).spawn().context("enter a lab")?;
        let limit = Duration::from_secs(20);
        settle::until(limit, "the sleeper sleeps", async || Ok(runs(MARK)?.then_some(()))).await?;
        outside.kill().context("kill the lab")?;
        outside.wait().context("wait for the lab")?;
        settle::until(limit, "the sleeper is gone", async || Ok((!runs(MARK)?).then_some(()))).await
    });
    done.expect("a lab that ends");
}

fn runs(mark: &str) -> anyhow::Result<bool> {
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let command = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if command.starts_with(b"sleep\0") && command.windows(mark.len()).any(|it| it == mark.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
