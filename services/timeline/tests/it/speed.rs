//! A mass boot: steps are written as fast as they come.

use std::time::{Duration, Instant};

use domain::Service;
use serde_json::json;
use sqlx::PgPool;

use super::head::{Head, until};

/// 10,000 nodes with 20 steps each come within a minute; a tenth of it takes 6 s or less when nothing else runs.
#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn a_mass_boot_does_not_fall_behind(db: PgPool) {
    const NODES: usize = 1000;
    const STAGES: [&str; 10] = [
        "dhcp-discover",
        "dhcp-offer",
        "dhcp-ack",
        "tftp-start",
        "tftp-end",
        "script",
        "kernel",
        "initrd",
        "root",
        "metadata",
    ];
    let head = Head::start(db.clone(), NODES, "").await;
    let begun = Instant::now();
    for stage in STAGES {
        let of_dhcp = stage.starts_with("dhcp") || stage.starts_with("tftp");
        let service = if of_dhcp { Service::Dhcp } else { Service::Boot };
        for node in 1..=NODES {
            for _ in 0..2 {
                head.tell(service, node, stage, json!({"facts": {"client": "firmware"}})).await;
            }
        }
    }
    let count =
        async || -> i64 { sqlx::query_scalar("select count(*) from event").fetch_one(&db).await.unwrap() };
    until(async || count().await == 20_000).await;
    let took = begun.elapsed();
    println!("20000 steps of 1000 nodes were taken and written in {took:?}");
    // The test tells them one by one through a queue of ten, on a machine that does other things too.
    assert!(took < Duration::from_secs(30), "{took:?}");
    let stored: i64 = sqlx::query_scalar("select count(*) from boot").fetch_one(&db).await.unwrap();
    assert_eq!(stored, NODES as i64);
    head.stop().await;
}
