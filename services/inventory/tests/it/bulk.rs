use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};
use sqlx::PgPool;

use super::lab::Lab;

const NODES: u32 = 10_000;

/// Figures are printed, not asserted: a loaded machine is no fault.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn ten_thousand_nodes_are_one_request(db: PgPool) {
    let lab = Lab::new(&db);
    lab.until_live().await;
    let began = Instant::now();
    let rows: Vec<Value> = (0..NODES)
        .map(|it| json!({"ID": format!("x{}c0s0b{}n0", it / 100, it % 100), "State": "On", "NID": it + 1}))
        .collect();
    let body = json!({"Components": rows}).to_string();
    lab.call("POST", "/hsm/v2/State/Components", body).await.expect(204);
    println!("{NODES} components: {:?}", began.elapsed());
    let began = Instant::now();
    let listed = lab.get("/hsm/v2/State/Components").await;
    println!("listed: {:?}", began.elapsed());
    assert_eq!(listed["Components"].as_array().map(Vec::len), Some(10_000));
    let mut file = "nodes:\n".to_owned();
    for it in 0..NODES {
        let (high, low) = (it / 250, it % 250);
        writeln!(
            file,
            "  - {{xname: x{}c0s0b{}n0, nid: {}, group: compute, mac: '02:00:00:00:{high:02x}:{low:02x}', \
             ipaddr: 10.1.{high}.{low}, bmc_ipaddr: 10.2.{high}.{low}}}",
            it / 100,
            it % 100,
            it + 1
        )
        .unwrap();
    }
    let began = Instant::now();
    let answer = lab.call("PUT", "/pilothouse/v1/nodes", file.clone()).await.expect(200).json();
    println!("imported: {:?}", began.elapsed());
    assert_eq!(answer["changed"].as_array().map(Vec::len), Some(10_000));
    let began = Instant::now();
    let answer = lab.call("PUT", "/pilothouse/v1/nodes", file).await.expect(200).json();
    println!("imported again: {:?}", began.elapsed());
    assert_eq!(answer["unchanged"], NODES);
}
