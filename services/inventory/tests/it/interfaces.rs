use serde_json::json;
use sqlx::PgPool;

use super::lab::Lab;

const BASE: &str = "/hsm/v2/Inventory/EthernetInterfaces";

/// One card is one row however its address is spelled, and the refusal is a problem document.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_mac_address_is_registered_once(db: PgPool) {
    let lab = Lab::new(&db);
    let body = r#"{"MACAddress":"ec:e7:a7:05:a1:fc","ComponentID":"x1000c1s7b1n0",
        "IPAddresses":[{"IPAddress":"172.16.0.1","Network":"mgmt"},{"IPAddress":"fd00::1"}]}"#;
    let created = lab.call("POST", BASE, body).await.expect(201);
    assert_eq!(created.headers["location"], "/hsm/v2/Inventory/EthernetInterfaces/ece7a705a1fc");
    let again = r#"{"MACAddress":"EC-E7-A7-05-A1-FC","ComponentID":"x1c1s7b2n0"}"#;
    let refused = lab.call("POST", BASE, again).await.expect(409);
    assert_eq!(refused.json()["title"], "Conflict");
    let shown = lab.get(&format!("{BASE}/ECE7A705A1FC")).await;
    let addresses = json!([{"IPAddress": "172.16.0.1", "Network": "mgmt"}, {"IPAddress": "fd00::1"}]);
    assert_eq!((&shown["IPAddresses"], &shown["Type"]), (&addresses, &json!("Node")));
    assert_eq!(lab.get(&format!("{BASE}?IPAddress=fd00::1&Network=mgmt")).await, json!([]));
    lab.call("POST", BASE, r#"{"MACAddress":"02:00:00:00:00:77","IPAddresses":[{"IPAddress":"no"}]}"#)
        .await
        .expect(400);
}

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn last_update_follows_the_addresses_alone(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("POST", BASE, r#"{"MACAddress":"ece7a705a1fc"}"#).await.expect(201);
    let path = format!("{BASE}/ece7a705a1fc");
    let first = lab.get(&path).await["LastUpdate"].clone();
    let described = lab.call("PATCH", &path, r#"{"Description":"d"}"#).await.expect(200).json();
    assert_eq!(described["LastUpdate"], first);
    let ip = r#"{"IPAddress":"10.0.0.1"}"#;
    lab.call("POST", &format!("{path}/IPAddresses"), ip).await.expect(201);
    lab.call("POST", &format!("{path}/IPAddresses"), ip).await.expect(409);
    assert_ne!(lab.get(&path).await["LastUpdate"], first);
    let network = lab.call("PATCH", &format!("{path}/IPAddresses/10.0.0.1"), r#"{"Network":"n"}"#).await;
    assert_eq!(network.expect(200).json(), json!({"IPAddress": "10.0.0.1", "Network": "n"}));
    lab.call("DELETE", &format!("{path}/IPAddresses/10.0.0.1"), "").await.expect(200);
    lab.call("PATCH", &format!("{BASE}/000000000000"), r#"{"Description":"d"}"#).await.expect(404);
    // The CLI deletes by the address as it is written, with colons.
    lab.call("DELETE", &format!("{BASE}/ec:e7:a7:05:a1:fc"), "").await.expect(200);
}
