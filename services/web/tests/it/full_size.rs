//! 10,000 nodes with three interfaces each: an ordinary size.

use std::time::{Duration, Instant};

use domain::feed::Change;
use domain::inventory::Inventory;
use serde_json::json;
use sqlx::PgPool;
use tempfile::TempDir;

use crate::harness::{Follower, Source, migrate, until};

const NODES: u32 = 10_000;
/// Far more than it takes; the figures themselves are the bench's.
const SEEN_MAX: Duration = Duration::from_secs(2);

fn xname(nid: u32) -> String {
    format!("x{}c{}s{}b0n0", 1000 + nid / 512, nid / 64 % 8, nid % 64)
}

fn component(nid: u32) -> Change {
    let id = xname(nid);
    let row = json!({"id": id, "state": "On", "flag": "OK", "enabled": true, "role": "Compute", "nid": nid,
        "net_type": "Sling", "arch": "X86", "class": "River"});
    Change::put("component", id, row)
}

fn interface(nid: u32, number: u32) -> Change {
    let mac = format!("52:54:{number:02x}:00:{:02x}:{:02x}", nid / 256, nid % 256);
    let id = mac.replace(':', "");
    let address = format!("10.{number}.{}.{}", nid / 256, nid % 256);
    let row = json!({"id": id, "mac": mac, "component": xname(nid), "kind": "Node", "description": "",
        "addresses": [{"address": address, "network": ""}], "last_update": "2026-01-01T00:00:00.000000Z"});
    Change::put("interface", id, row)
}

#[sqlx::test(migrations = false)]
async fn ten_thousand_nodes_are_followed(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let source = Source::<Inventory>::live(&db, folder.path()).await;
    let early = Follower::<Inventory>::start(&source.socket, &folder.path().join("early"));
    early.level(&source).await;
    // At once and in one transaction each, as a bulk write is.
    source.commit(&(1..=NODES).map(component).collect::<Vec<_>>()).await;
    let interfaces = (1..=NODES).flat_map(|nid| (0..3).map(move |it| interface(nid, it)));
    source.commit(&interfaces.collect::<Vec<_>>()).await;
    let counts = |it: &Inventory| (it.components().len(), it.interfaces().len());
    let full = (NODES as usize, 3 * NODES as usize);
    assert_eq!(source.mirror.read(counts), full);
    until(&early.mirror, |it| counts(it) == full).await;

    let late = Follower::<Inventory>::start(&source.socket, &folder.path().join("late"));
    until(&late.mirror, |it| counts(it) == full).await;
    for nid in [1, 77, NODES] {
        let begun = Instant::now();
        let id = xname(nid);
        source.commit(&[Change::put("component", &id, json!({"id": id, "nid": 50_000 + nid}))]).await;
        for follower in [&early, &late] {
            until(&follower.mirror, |it| {
                it.component_by_nid((50_000 + nid).to_string().parse().unwrap()).is_some()
            })
            .await;
        }
        assert!(begun.elapsed() < SEEN_MAX, "{:?}", begun.elapsed());
    }
    early.stop().await;
    late.stop().await;
    source.stop().await;
    // The next start has it without anybody's help.
    let begun = Instant::now();
    let again = web::mirror::Mirror::<Inventory>::load(folder.path().join("late"), "neighbour").unwrap();
    assert_eq!(again.read(counts), full);
    assert!(begun.elapsed() < SEEN_MAX * 5, "{:?}", begun.elapsed());
}
