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
