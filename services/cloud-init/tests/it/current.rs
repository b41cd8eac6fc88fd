//! The present API.

use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use web::Peer;

use crate::harness::{NODE, Running, gateway, rows, serve_inventory};
use crate::replay::replay;

const CURRENT: &str = "[cloud_init]\napi = \"current\"\n";

fn groups() -> [Value; 2] {
    let both = [NODE, "x1000c1s7b2n0"];
    [
        json!({"kind": "group", "id": "compute", "row": {"label": "compute", "members": both}}),
        json!({"kind": "group", "id": "zeta", "row": {"label": "zeta", "members": [NODE]}}),
    ]
}

/// As root.
async fn ask(service: &Running, method: &str, path: &str, body: &Value) -> (StatusCode, String) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    service.ask(Peer::of_uid(0), None, (method, path), &body).await
}

#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn the_present_api_is_as_recorded(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&groups()));
    let service = Running::live(CURRENT, folder.path(), db, &socket).await;
    let ours = |path: &str| !path.starts_with("/hsm/");
    assert_eq!(replay(&service.router, "../../tests/contract/cloud-init.jsonl", ours).await, 56);
    service.stop().await;
}

/// In `auto` the legacy data of a node or its groups win; without any the present API answers, and calls the
/// node by its own name.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn legacy_data_go_before_the_present_api(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&groups()));
    let service = Running::live("", folder.path(), db, &socket).await;
    let file = json!({"name": "zeta", "file": {"content": "#cloud-config\nruncmd: [z]\n"}});
    assert_eq!(ask(&service, "POST", "/cloud-init/admin/groups", &file).await.0, StatusCode::CREATED);
    let (_, meta) = service.fetch("172.16.0.1", "/cloud-init/meta-data").await;
    assert!(meta.contains("local-hostname: nid002\n") && meta.contains("cluster-name: demo\n"), "{meta}");
    assert!(meta.contains("instance_data:\n  v1:\n"), "{meta}");
    assert_eq!(service.fetch("172.16.0.1", "/cloud-init/user-data").await.1, "#cloud-config");
    let (_, vendor) = service.fetch("172.16.0.1", "/cloud-init/vendor-data").await;
    let base = "http://172.16.0.254:8081/cloud-init";
    assert_eq!(vendor, format!("#include\n{base}/compute.yaml\n{base}/zeta.yaml\n"));
    assert_eq!(service.fetch("172.16.0.1", "/cloud-init/zeta.yaml").await.1, "#cloud-config\nruncmd: [z]\n");
    assert_eq!(service.fetch("172.16.0.2", "/cloud-init/zeta.yaml").await.0, StatusCode::NOT_FOUND);
    assert_eq!(service.fetch("172.16.0.9", "/cloud-init/user-data").await.0, StatusCode::OK);

    service.post(json!({"name": "zeta", "cloud-init": {"userdata": {"a": 1}}})).await;
    assert_eq!(service.fetch("172.16.0.1", "/cloud-init/user-data").await.1, "#cloud-config\na: 1\n");
    assert_eq!(service.fetch("172.16.0.1", "/cloud-init/vendor-data").await.1, "{}\n");
    let (_, meta) = service.fetch("172.16.0.2", "/cloud-init/meta-data").await;
    assert!(meta.contains("instance_data:"), "{meta}");
    let (_, shown) = ask(&service, "GET", "/pilothouse/v1/render/nid002", &Value::Null).await;
    let shown: cloud_init::client::Rendered = serde_json::from_str(&shown).unwrap();
    assert!(shown.api == "legacy" && shown.hints[0].contains("zeta"), "{shown:?}");
    service.stop().await;
}

/// Everything of the present API outlives a restart, and nodes are answered without the database.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn it_is_kept(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&groups()));
    let service = Running::live(CURRENT, folder.path(), db.clone(), &socket).await;
    let file = json!({"name": "compute", "meta-data": {"a": 1}, "file": {"content": "#cloud-config\n"}});
    let defaults = json!({"base-url": "http://h/ci/", "short-name": "n"});
    for (method, path, body) in [
        ("PUT", "/cloud-init/admin/groups/compute", &file),
        ("POST", "/cloud-init/admin/cluster-defaults", &defaults),
        ("PUT", "/cloud-init/admin/instance-info/x1000c1s7b1n0", &json!({"hostname": "own"})),
    ] {
        assert_eq!(ask(&service, method, path, body).await.0, StatusCode::CREATED, "{path}");
    }
    let files =
        ["user-data", "meta-data", "vendor-data", "compute.yaml"].map(|it| format!("/cloud-init/{it}"));
    let mut before = Vec::new();
    for path in &files {
        before.push(service.fetch("172.16.0.1", path).await);
    }
    assert!(before[1].1.contains("hostname: own\n") && before[1].1.contains("local-hostname: n0002\n"));
    service.stop().await;
    db.close().await;
    let again = Running::start(CURRENT, folder.path(), None, Some(&socket));
    for (path, before) in files.iter().zip(&before) {
        assert_eq!(&again.fetch("172.16.0.1", path).await, before, "{path}");
    }
    for (method, path, body) in [
        ("POST", "/cloud-init/admin/groups", &file),
        ("PUT", "/cloud-init/admin/groups/compute", &file),
        ("DELETE", "/cloud-init/admin/groups/compute", &Value::Null),
        ("POST", "/cloud-init/admin/cluster-defaults", &defaults),
        ("PUT", "/cloud-init/admin/instance-info/x1", &json!({})),
        ("PUT", "/pilothouse/v1/groups/compute", &file),
        ("DELETE", "/pilothouse/v1/groups/compute", &Value::Null),
        ("PUT", "/pilothouse/v1/defaults", &defaults),
        ("PUT", "/pilothouse/v1/instances/x1", &json!({})),
        ("DELETE", "/pilothouse/v1/instances/x1", &Value::Null),
    ] {
        let (status, text) = ask(&again, method, path, body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path} {text}");
    }
    again.stop().await;
}

/// The recorded service takes administration from anyone.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn administration_takes_a_token(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let table = format!("{CURRENT}open_legacy_writes = \"head\"\n");
    let service = Running::live(&table, folder.path(), db, &socket).await;
    for (method, path) in [
        ("GET", "/cloud-init/admin/groups"),
        ("POST", "/cloud-init/admin/groups"),
        ("PUT", "/cloud-init/admin/groups/a/"),
        ("DELETE", "/cloud-init/admin/groups/a"),
        ("GET", "/cloud-init/admin/cluster-defaults"),
        ("POST", "/cloud-init/admin/cluster-defaults"),
        ("PUT", "/cloud-init/admin/instance-info/x1"),
        ("GET", "/cloud-init/admin/impersonation/x1000c1s7b1n0/user-data"),
        ("GET", "/cloud-init/admin/impersonation/x1000c1s7b1n0/compute.yaml"),
        ("PUT", "/pilothouse/v1/groups/a"),
    ] {
        let answer = service.ask(gateway(), Some("172.16.0.254"), (method, path), "{}").await;
        assert_eq!(answer, (StatusCode::UNAUTHORIZED, "no token found\n".to_owned()), "{method} {path}");
    }
    for (method, path) in [("GET", "/cloud-init"), ("POST", "/cloud-init"), ("GET", "/cloud-init/compute")] {
        let answer = service.ask(Peer::of_uid(0), None, (method, path), "{}").await;
        assert!(matches!(answer.0.as_u16(), 404 | 405), "{method} {path}: {answer:?}");
    }
    service.stop().await;
}

/// A mistake in a template is named when it is written, and what a node will make of it is shown.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn a_template_is_tried_before_a_node_meets_it(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&groups()));
    let service = Running::live("", folder.path(), db, &socket).await;
    let data = json!({"log": "10.0.0.9"});
    let group = |content: &str| json!({"name": "zeta", "meta-data": data, "file": {"content": content}});
    let head = "## template: jinja\n#cloud-config\n";
    let broken = group(&format!("{head}a: {{% if %}}\n"));
    for (method, path) in [
        ("POST", "/cloud-init/admin/groups"),
        ("PUT", "/cloud-init/admin/groups/zeta"),
        ("PUT", "/pilothouse/v1/groups/zeta?force=true"),
    ] {
        let (status, text) = ask(&service, method, path, &broken).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(text.contains("group zeta: line 3: "), "{text}");
    }
    let missing = group(&format!("{head}a: {{{{ ds.meta_data.nothing }}}}\n"));
    let (status, text) = ask(&service, "PUT", "/pilothouse/v1/groups/zeta", &missing).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let named = "group zeta, for nid002: line 3: ds.meta_data.nothing has no value";
    assert!(text.contains(named), "{text}");
    // The recorded API takes it and says so beside.
    assert_eq!(ask(&service, "PUT", "/cloud-init/admin/groups/zeta", &missing).await.0, StatusCode::CREATED);
    let rendered = async || {
        let (_, text) = ask(&service, "GET", "/pilothouse/v1/render/nid002", &Value::Null).await;
        serde_json::from_str::<cloud_init::client::Rendered>(&text).unwrap()
    };
    let shown = rendered().await;
    assert_eq!(
        shown.files[1].fault.as_deref(),
        Some("group zeta: line 3: ds.meta_data.nothing has no value")
    );
    let right = group(&format!(
        "{head}{{% set groups = ds.meta_data.instance_data.v1.vendor_data.groups %}}\n\
         log: {{{{ groups.zeta.log }}}} {{{{ v1.local_hostname }}}}\n"
    ));
    assert_eq!(ask(&service, "PUT", "/pilothouse/v1/groups/zeta", &right).await.0, StatusCode::NO_CONTENT);
    let shown = rendered().await;
    assert_eq!(shown.files[1].rendered.as_deref(), Some("#cloud-config\nlog: 10.0.0.9 nid002\n"));
    assert!(shown.files[1].content.starts_with("## template: jinja\n"));
    assert_eq!(shown.sources, ["compute", "zeta"]);
    service.stop().await;
}

/// An instance-id that was handed out stays, unless it is changed on purpose.
#[sqlx::test(migrator = "cloud_init::MIGRATIONS")]
async fn an_instance_id_stays(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live(CURRENT, folder.path(), db, &socket).await;
    let id = async |address: &str| {
        let (_, meta) = service.fetch(address, "/cloud-init/meta-data").await;
        meta.lines().next().unwrap().to_owned()
    };
    let path = |node: &str| format!("/cloud-init/admin/instance-info/{node}");
    let given = json!({"instance-id": "i-mine"});
    let first = id("172.16.0.1").await;
    ask(&service, "PUT", &path(NODE), &given).await;
    assert_eq!(id("172.16.0.1").await, first);
    ask(&service, "PUT", &path("X1000C1S7B2N0"), &given).await;
    assert_eq!(id("172.16.0.2").await, "instance-id: i-mine");
    ask(&service, "PUT", &path("x1000c1s7b2n0"), &json!({"instance-id": "i-other"})).await;
    assert_eq!(id("172.16.0.2").await, "instance-id: i-mine");
    assert_eq!(
        ask(&service, "PUT", "/pilothouse/v1/instances/nid002", &given).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(id("172.16.0.1").await, "instance-id: i-mine");
    service.stop().await;
}
