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
    let listed = lab.call("GET", "/hsm/v2/Inventory/EthernetInterfaces", "").await.expect(200);
    println!("interfaces listed: {:?}, {} bytes", began.elapsed(), listed.text.len());
    let began = Instant::now();
    for it in 0..100 {
        let body = json!({"ID": format!("x9000c0s{it}b0"), "SchemaVersion": 1, "IPAddress": "10.9.0.1",
            "Managers": [{"uri": format!("/redfish/v1/Managers/x9000c0s{it}b0"), "ethernet_interfaces":
                [{"mac": format!("02:01:00:00:00:{it:02x}"), "ip": "10.9.0.1"}]}],
            "Systems": [{"uri": format!("/redfish/v1/Systems/x9000c0s{it}b0n0"), "uuid": it.to_string(),
                "ethernet_interfaces": [{"mac": format!("02:02:00:00:00:{it:02x}"), "ip": "10.8.0.1"}]}]});
        lab.call("POST", "/hsm/v2/Inventory/RedfishEndpoints", body.to_string()).await.expect(201);
    }
    println!("an endpoint with all it makes: {:?}", began.elapsed() / 100);
    let began = Instant::now();
    for it in 0..1000 {
        let path = format!("/hsm/v2/State/Components/x{}c0s0b{}n0", it / 100, it % 100);
        lab.call("GET", &path, "").await.expect(200);
    }
    println!("one component: {:?}", began.elapsed() / 1000);
    let began = Instant::now();
    let answer = lab.call("PUT", "/pilothouse/v1/nodes", file).await.expect(200).json();
    println!("imported again: {:?}", began.elapsed());
    assert_eq!(answer["unchanged"], NODES);
}
