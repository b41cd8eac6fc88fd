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
    // Any text is taken for an address, and serves nobody.
    let odd = r#"{"MACAddress":"02:00:00:00:00:77","IPAddresses":[{"IPAddress":"no"}]}"#;
    lab.call("POST", BASE, odd).await.expect(201);
    assert_eq!(lab.get(&format!("{BASE}?IPAddress=no")).await[0]["ID"], "020000000077");
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

/// Ethernet with any separator, InfiniBand with twenty octets, in bodies, paths and filters.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn an_address_is_found_however_it_is_spelled(db: PgPool) {
    let lab = Lab::new(&db);
    let infiniband = "80:00:02:08:fe:80:00:00:00:00:00:00:7c:fe:90:03:00:29:26:52";
    let bare = infiniband.replace(':', "");
    for (mac, id) in [
        ("EC-E7-A7-05-A1-FC", "ece7a705a1fc"),
        ("ece7a705a228", "ece7a705a228"),
        ("ece7.a705.9384", "ece7a7059384"),
        (&infiniband.to_ascii_uppercase(), &bare),
    ] {
        let made = lab.call("POST", BASE, json!({"MACAddress": mac}).to_string()).await.expect(201);
        assert_eq!(made.headers["location"], format!("{BASE}/{id}"));
    }
    let again = json!({"MACAddress": bare}).to_string();
    lab.call("POST", BASE, again).await.expect(409);
    let shown = lab.get(&format!("{BASE}/{}", bare.to_ascii_uppercase())).await;
    assert_eq!((&shown["ID"], &shown["MACAddress"]), (&json!(bare), &json!(infiniband)));
    for spelled in [infiniband, &infiniband.replace(':', "-"), &infiniband.to_ascii_uppercase()] {
        assert_eq!(lab.get(&format!("{BASE}?MACAddress={spelled}")).await, json!([shown]), "{spelled}");
    }
    assert_eq!(lab.get(&format!("{BASE}?MACAddress={bare}")).await, json!([]));
    lab.call("PATCH", &format!("{BASE}/{infiniband}"), r#"{"Description":"ib0"}"#).await.expect(200);
    lab.call("DELETE", &format!("{BASE}/{}", infiniband.replace(':', "-")), "").await.expect(200);
    for wrong in [&infiniband[3..], &bare[2..], "ec:e7:a7:05:a1", "ece7a705a1fg", "ec:e7:a7:05:a1:fc:00:00"] {
        lab.call("POST", BASE, json!({"MACAddress": wrong}).to_string()).await.expect(400);
    }
}
