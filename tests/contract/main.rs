//! The recordings of the services we follow, replayed against a fresh head each. What the lines mean, and which of
//! them are no model: the head of `harness/replay.rs`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use tests::replay::{self, Replay};
use tests::{Head, HeadOptions};

/// Replays a recording that carries no token, as an administrator.
async fn replay(file: &str, settings: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contract").join(file);
    let exchanges = replay::load(&path).unwrap();
    let mut options = HeadOptions { front: true, ..HeadOptions::default() };
    for setting in settings {
        options = options.set(setting).unwrap();
    }
    let head = Head::start(options).await.unwrap();
    let replay = Replay { base: head.front().unwrap().url(), ..Replay::default() };
    let findings = replay.run(&exchanges).await.unwrap();
    let told: String = findings
        .failed
        .iter()
        .map(|(line, found)| format!("{line}\n    {}\n", found.join("\n    ")))
        .collect();
    assert!(findings.failed.is_empty(), "{} lines differ\n{told}{}", findings.failed.len(), head.tails(5));
    assert!(findings.passed > 0);
    head.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn smd_components_are_as_recorded() {
    replay("smd-components.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bss_scripts_are_as_recorded() {
    replay("bss-script.jsonl", &["boot.advertise_url=https://demo.openchami.cluster"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_cloud_init_is_as_recorded() {
    replay("cloud-init-legacy.jsonl", &["cloud_init.api=legacy"]).await;
}
