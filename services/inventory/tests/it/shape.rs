use domain::Service;
use sqlx::PgPool;

use super::lab::Lab;

/// Recordings smd-groups-2.20-065, smd-components-089, smd-auth-002 to -011.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn wrong_methods_unknown_paths_slashes_and_strangers(db: PgPool) {
    let lab = Lab::new(&db);
    lab.until_live().await;
    let answer = lab.call("PUT", "/hsm/v2/groups", "{}").await.expect(405);
    assert_eq!(
        (answer.headers["allow"].to_str().unwrap(), answer.json()["detail"].as_str().unwrap()),
        ("GET,POST", "allow GET,POST")
    );
    lab.call("GET", "/hsm/v2/nope", "").await.expect(404);
    lab.call("GET", "/hsm/v2/State/Components/?type=Node", "").await.expect(200);
    let stranger = 65534;
    for path in [
        "/hsm/v2/service/ready",
        "/hsm/v2/service/values",
        "/hsm/v2/State/Components",
        "/readyz",
        "/hsm/v2/Inventory/EthernetInterfaces",
    ] {
        lab.call_as(stranger, "GET", path, "").await.expect(200);
    }
    for (method, path) in [
        ("GET", "/hsm/v2/groups"),
        ("GET", "/hsm/v2/State/Components/x1c0s0b0n0"),
        ("DELETE", "/hsm/v2/State/Components"),
        ("POST", "/hsm/v2/Inventory/EthernetInterfaces"),
        ("PUT", "/pilothouse/v1/nodes"),
        ("GET", "/pilothouse/v1/bmcs"),
        ("GET", "/snapshot"),
    ] {
        let answer = lab.call_as(stranger, method, path, "{}").await.expect(401);
        assert_eq!(answer.text, "no token found\n", "{path}");
    }
    // A neighbour reads and does not write; the second refusal is for want of rights.
    let boot = Service::Boot.uid();
    lab.call_as(boot, "GET", "/hsm/v2/groups", "").await.expect(200);
    lab.call_as(boot, "DELETE", "/hsm/v2/State/Components", "").await.expect(401);
}

/// What is answered is what the document promises: every member is a property, every required one is there.
#[sqlx::test(migrator = "inventory::MIGRATIONS")]
async fn answers_have_the_shape_of_the_document(db: PgPool) {
    let lab = Lab::new(&db);
    let file = "nodes: [{xname: x1000c1s7b1n0, name: nid001, nid: 1, group: compute, bmc_ip: 172.16.0.101,
        bmc_mac: 'c2:77:05:e2:03:48', mac: 'ec:e7:a7:05:a1:fc', ipaddr: 172.16.0.1}]";
    lab.call("PUT", "/pilothouse/v1/nodes", file).await.expect(200);
    let lock = r#"{"reason":"memory errors"}"#;
    lab.call("PUT", "/pilothouse/v1/nodes/nid001/lock", lock).await.expect(200);
    let partition = r#"{"name":"p1","members":{"ids":["x1000c1s7b1n0"]}}"#;
    lab.call("POST", "/hsm/v2/partitions", partition).await.expect(201);
    let document = lab.call_as(65534, "GET", "/pilothouse/v1/openapi.json", "").await.expect(200).json();
    for (path, list, shape) in [
        ("/hsm/v2/State/Components", "/Components", "Component"),
        ("/hsm/v2/Inventory/EthernetInterfaces", "", "EthernetInterface"),
        ("/hsm/v2/Inventory/RedfishEndpoints", "/RedfishEndpoints", "RedfishEndpoint"),
        ("/hsm/v2/Inventory/ComponentEndpoints", "/ComponentEndpoints", "ComponentEndpoint"),
        ("/hsm/v2/groups", "", "Group"),
        ("/hsm/v2/partitions", "", "Partition"),
        ("/hsm/v2/memberships", "", "Membership"),
        ("/pilothouse/v1/nodes", "", "Node"),
        ("/pilothouse/v1/bmcs", "", "Bmc"),
    ] {
        let schema = &document["components"]["schemas"][shape];
        let answer = lab.get(path).await;
        let shown = answer.pointer(list).and_then(serde_json::Value::as_array).unwrap();
        assert!(!shown.is_empty(), "{path}");
        for one in shown {
            for (member, value) in one.as_object().unwrap() {
                let property = &schema["properties"][member];
                assert!(property.is_object(), "{shape}.{member} of {one}");
                let fits = property["type"] != "string" || value.is_string();
                assert!(fits, "{shape}.{member} is {value}");
            }
            for required in schema["required"].as_array().unwrap() {
                assert!(one.get(required.as_str().unwrap()).is_some(), "{shape}.{required} of {one}");
            }
        }
    }
}
