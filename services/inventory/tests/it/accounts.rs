use domain::Service;
use serde_json::json;
use sqlx::PgPool;

use super::lab::{self, Lab};

const ENDPOINTS: &str = "/hsm/v2/Inventory/RedfishEndpoints";
const SECRET: &str = "canary-8c1f";

/// A password goes in by two doors and comes out by one, for two callers.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn a_password_never_comes_back_but_to_power_and_console(db: PgPool) {
    let lab = Lab::new(&db);
    let body = json!({"ID": "x1000c1s7b1", "FQDN": "x1000c1s7b1", "User": "root", "Password": SECRET});
    lab.call("POST", ENDPOINTS, body.to_string()).await.expect(201);
    let path = "/pilothouse/v1/bmcs/x1000c1s7b1/credential";
    let power = lab.call_as(Service::Power.uid(), "GET", path, "").await.expect(200);
    assert_eq!(power.json(), json!({"user": "root", "password": SECRET}));
    lab.call_as(Service::Console.uid(), "GET", path, "").await.expect(200);
    for uid in [0, Service::Gateway.uid(), Service::Dhcp.uid(), 65534] {
        lab.call_as(uid, "GET", path, "").await.expect(403);
    }
    // Another user with the same password: the account follows, and the user does not show either.
    let endpoint = format!("{ENDPOINTS}/x1000c1s7b1");
    let shown = lab.call("PATCH", &endpoint, r#"{"User":"operator"}"#).await.expect(200);
    assert!(shown.json().get("User").is_none() && shown.json().get("Password").is_none(), "{shown:?}");
    let power = lab.call_as(Service::Power.uid(), "GET", path, "").await.expect(200);
    assert_eq!(power.json(), json!({"user": "operator", "password": SECRET}));
    for path in [ENDPOINTS, "/pilothouse/v1/bmcs", "/pilothouse/v1/bmc-credentials", "/snapshot"] {
        let answer = lab.call("GET", path, "").await.expect(200);
        assert!(!answer.text.contains(SECRET), "{path}: {answer:?}");
    }
    let kept: Vec<(String, Vec<u8>)> =
        sqlx::query_as("select scope, sealed from bmc_credential").fetch_all(&db).await.unwrap();
    assert!(!kept[0].1.windows(SECRET.len()).any(|it| it == SECRET.as_bytes()));
}

#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn an_account_is_looked_up_by_xname_class_and_default(db: PgPool) {
    let lab = Lab::new(&db);
    for id in ["x1c0s0b0", "x1c0s0b1", "x1c0s0b2"] {
        lab.call("POST", ENDPOINTS, json!({"ID": id}).to_string()).await.expect(201);
    }
    lab.call("PATCH", "/pilothouse/v1/bmcs/x1c0s0b1", r#"{"class":"blades","port":6230}"#).await.expect(200);
    for scope in ["default", "class:blades", "x1c0s0b2"] {
        let body = json!({"user": "admin", "password": scope}).to_string();
        lab.call("PUT", &format!("/pilothouse/v1/bmc-credentials/{scope}"), body).await.expect(204);
    }
    let power = Service::Power.uid();
    for (id, password) in [("x1c0s0b0", "default"), ("x1c0s0b1", "class:blades"), ("x1c0s0b2", "x1c0s0b2")] {
        let path = format!("/pilothouse/v1/bmcs/{id}/credential");
        assert_eq!(lab.call_as(power, "GET", &path, "").await.expect(200).json()["password"], password);
    }
    // A change is seen in the feed by those that it opens, and by no others.
    let versions = async || {
        let list = lab.get("/pilothouse/v1/bmcs").await;
        list.as_array()
            .unwrap()
            .iter()
            .map(|it| it["credential_version"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let before = versions().await;
    let body = r#"{"user":"admin","password":"other"}"#;
    lab.call("PUT", "/pilothouse/v1/bmc-credentials/default", body).await.expect(204);
    let after = versions().await;
    assert_eq!((after[0], after[1], after[2]), (before[0] + 1, before[1], before[2]));
    for scope in ["x1c0s0b0n0", "class:", "bogus"] {
        lab.call("PUT", &format!("/pilothouse/v1/bmc-credentials/{scope}"), body).await.expect(400);
    }
    let body = r#"{"user":"admin","password":"x","secret":"y"}"#;
    lab.call("PUT", "/pilothouse/v1/bmc-credentials/default", body).await.expect(400);
    lab.call_as(power, "PUT", "/pilothouse/v1/bmc-credentials/default", body).await.expect(401);
}

/// The last good copy opens while the database is away.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn accounts_open_without_the_database(db: PgPool) {
    let lab = Lab::new(&db);
    lab.call("POST", ENDPOINTS, r#"{"ID":"x1c0s0b0"}"#).await.expect(201);
    let body = json!({"user": "admin", "password": SECRET}).to_string();
    lab.call("PUT", "/pilothouse/v1/bmc-credentials/default", body).await.expect(204);
    let lab = lab.restart(&lab::no_database());
    let path = "/pilothouse/v1/bmcs/x1c0s0b0/credential";
    let answer = lab.call_as(Service::Power.uid(), "GET", path, "").await.expect(200);
    assert_eq!(answer.json()["password"], SECRET);
}

/// Discovery asks for controllers that the inventory does not have yet; nobody else does.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn discovery_has_the_account_of_a_controller_before_it_is_there(db: PgPool) {
    let lab = Lab::new(&db);
    for scope in ["default", "class:blades", "x1c0s0b2"] {
        let body = json!({"user": "admin", "password": scope}).to_string();
        lab.call("PUT", &format!("/pilothouse/v1/bmc-credentials/{scope}"), body).await.expect(204);
    }
    let discovery = Service::Discovery.uid();
    for (asked, password) in [
        ("x9c0s0b0/credential", "default"),
        ("x9c0s0b0/credential?class=blades", "class:blades"),
        ("x1c0s0b2/credential?class=blades", "x1c0s0b2"),
        ("s0/credential", "default"),
    ] {
        let path = format!("/pilothouse/v1/bmcs/{asked}");
        assert_eq!(lab.call_as(discovery, "GET", &path, "").await.expect(200).json()["password"], password);
    }
    let path = "/pilothouse/v1/bmcs/x9c0s0b0/credential";
    lab.call_as(Service::Power.uid(), "GET", path, "").await.expect(404);
    lab.call_as(Service::Timeline.uid(), "GET", path, "").await.expect(403);
    let nonsense = "/pilothouse/v1/bmcs/nonsense/credential";
    lab.call_as(discovery, "GET", nonsense, "").await.expect(404);
}
