//! A bus of our own.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::fake::LIMIT;

/// Starts one in a folder; its address.
pub(crate) async fn start(folder: &tempfile::TempDir) -> (Child, String) {
    let mut bus = Command::new("/usr/bin/dbus-daemon")
        .args(["--session", "--nofork", "--print-address=1"])
        .arg(format!("--address=unix:path={}", folder.path().join("bus").display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(bus.stdout.take().unwrap()).lines();
    let address = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
    (bus, address)
}
