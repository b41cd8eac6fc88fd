//! Boots as they are told, and what is answered of them.

use domain::Service;
use serde_json::json;
use sqlx::PgPool;
use timeline::client::{self, Cause, Outcome, Report};

use super::head::{Head, until};

/// The steps of a good boot, from the ACK on.
const STEPS: [(Service, &str); 9] = [
    (Service::Dhcp, "dhcp-ack"),
    (Service::Dhcp, "tftp-start"),
    (Service::Dhcp, "tftp-end"),
    (Service::Boot, "script"),
    (Service::Images, "kernel"),
    (Service::Images, "initrd"),
    (Service::Images, "root"),
    (Service::CloudInit, "metadata"),
    (Service::CloudInit, "userdata"),
];

async fn boot(head: &Head, node: usize) {
    head.tell(Service::Power, node, "power-on", json!({})).await;
    head.tell(Service::Dhcp, node, "dhcp-discover", json!({"facts": {"client": "firmware", "arch": "7"}}))
        .await;
    head.tell(Service::Dhcp, node, "dhcp-offer", json!({"facts": {"client": "firmware"}})).await;
    for (service, stage) in STEPS {
        head.tell(service, node, stage, json!({"facts": {"client": "firmware"}})).await;
    }
}

async fn report(head: &Head) -> Report {
    client::report(&head.client(), None, None).await.unwrap()
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn a_boot_is_told_listed_and_kept(db: PgPool) {
    let head = Head::start(db.clone(), 2, "").await;
    boot(&head, 1).await;
    until(async || report(&head).await.good == 1).await;
    let shown = client::show(&head.client(), "nid001").await.unwrap();
    assert_eq!((shown.boot.name.as_str(), shown.boot.result), ("nid001", Outcome::Good));
    assert_eq!(shown.events.len(), 12);
    assert!(shown.boot.findings.is_empty());
    for word in ["x0c0s1b0n0", "52:54:00:00:00:01"] {
        assert_eq!(client::show(&head.client(), word).await.unwrap().boot.started, shown.boot.started);
    }
    let unknown = client::show(&head.client(), "nid002").await.unwrap_err().to_string();
    assert!(unknown.contains("no boot of nid002 is known"), "{unknown}");
    assert!(head.get("/pilothouse/v1/boots?since=yesterday").await.is_err());
    assert!(
        head.get("/pilothouse/v1/boots?node=nid001&result=failed")
            .await
            .unwrap()
            .as_array()
            .unwrap()
            .is_empty()
    );
    head.stop().await;

    let kept: (i64, i64) = sqlx::query_as(
        "select (select count(*) from event), (select count(*) from boot where result = 'good')",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(kept, (12, 1));
    // After a restart it is known again, with its steps.
    let head = Head::start(db, 2, "").await;
    until(async || report(&head).await.nodes == 1).await;
    let again = client::show(&head.client(), "nid001").await.unwrap();
    assert_eq!(again, shown);
    boot(&head, 1).await;
    let list = async || client::list(&head.client(), Some("nid001"), Some("1h"), None).await.unwrap();
    until(async || list().await.len() == 2 && list().await[0].result == Outcome::Good).await;
    head.stop().await;
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn boots_that_stand_still_are_one_issue_and_named_in_the_report(db: PgPool) {
    let head = Head::start(db.clone(), 9, "limits = { loader = '1s' }").await;
    boot(&head, 9).await;
    for node in 1..=3 {
        head.tell(Service::Dhcp, node, "dhcp-discover", json!({"facts": {"client": "firmware"}})).await;
        head.tell(Service::Dhcp, node, "dhcp-offer", json!({"facts": {"client": "firmware"}})).await;
        let ack = json!({"facts": {"client": "firmware"}, "image": "ipxe.efi"});
        head.tell(Service::Dhcp, node, "dhcp-ack", ack).await;
    }
    until(async || report(&head).await.stopped == 3).await;
    let told = report(&head).await;
    assert_eq!((told.nodes, told.good, told.findings.len()), (4, 1, 1));
    let group = &told.findings[0];
    assert_eq!((group.stage.name(), group.cause, group.count), ("tftp-start", Cause::NoLoaderRequest, 3));
    assert_eq!(group.nodes, ["nid001", "nid002", "nid003"]);
    until(async || head.issues().iter().any(|it| it["context"]["count"] == 3)).await;
    assert_eq!(head.issues().len(), 1);
    assert_eq!(head.issues()[0]["context"]["nodes"], "nid[001-003]");
    let events = client::show(&head.client(), "nid002").await.unwrap().events;
    assert!(events.iter().any(|it| it.result == domain::StageResult::Timeout), "{events:?}");
    // They go on, and nothing is wrong any more.
    for node in 1..=3 {
        for (service, stage) in &STEPS[1..] {
            head.tell(*service, node, stage, json!({})).await;
        }
    }
    until(async || report(&head).await.good == 4 && head.issues().is_empty()).await;
    assert!(report(&head).await.findings.is_empty());
    head.stop().await;
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn a_machine_is_known_by_its_nic_or_its_address(db: PgPool) {
    let head = Head::start(db, 1, "").await;
    let facts = json!({"client": "firmware"});
    let none = serde_json::Value::Null;
    let (stranger, ip) = ("52:54:00:ff:00:01", "172.16.9.9");
    head.tell(Service::Dhcp, 0, "dhcp-discover", json!({"node": none, "mac": stranger, "facts": facts}))
        .await;
    head.tell(
        Service::Dhcp,
        0,
        "dhcp-offer",
        json!({"node": none, "mac": stranger, "ip": ip, "facts": facts}),
    )
    .await;
    head.tell(Service::Dhcp, 0, "dhcp-ack", json!({"node": none, "mac": stranger, "ip": ip, "facts": facts}))
        .await;
    // Who knows addresses alone.
    head.tell(
        Service::Gateway,
        0,
        "script",
        json!({"node": none, "ip": ip, "result": "failed",
        "facts": {"why": "http-503"}}),
    )
    .await;
    head.tell(Service::Images, 0, "kernel", json!({"node": none, "ip": "172.16.0.1"})).await;
    until(async || report(&head).await.nodes == 2).await;
    let shown = client::show(&head.client(), stranger).await.unwrap();
    assert_eq!((shown.boot.node.as_str(), shown.boot.findings[0].cause), (stranger, Cause::ServerError));
    assert!(client::show(&head.client(), "nid001").await.is_ok());
    head.stop().await;
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn the_stream_tells_what_is_and_then_what_happens(db: PgPool) {
    let head = Head::start(db, 3, "").await;
    boot(&head, 1).await;
    boot(&head, 3).await;
    until(async || report(&head).await.good == 2).await;
    let mut stream = client::follow(&head.client(), Some("nid001,nid002")).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first.boot.map(|it| it.name), Some("nid001".to_owned()));
    assert!(stream.next().await.unwrap().unwrap().present);
    head.tell(Service::Power, 3, "power-on", json!({})).await;
    head.tell(Service::Power, 2, "power-on", json!({})).await;
    let next = stream.next().await.unwrap().unwrap();
    assert_eq!(next.boot.map(|it| it.name), Some("nid002".to_owned()));
    assert_eq!(next.event.map(|it| it.stage.name()), Some("power-on"));
    let refused = client::follow(&head.client(), Some("x!")).await.unwrap_err().to_string();
    assert!(refused.contains("neither a node's name"), "{refused}");
    // A follower does not keep the service from ending.
    head.stop().await;
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn only_services_tell_of_boots(db: PgPool) {
    let head = Head::start(db, 2, "").await;
    let event = |service: &str| {
        json!({"v": 1, "time": "2026-11-22T20:00:00Z", "service": service, "stage": "power-on",
            "node": "x0c0s1b0n0", "result": "ok", "detail": ""})
        .to_string()
    };
    for (uid, service) in [(0, "power"), (1000, "power"), (Service::Boot.uid(), "power"), (840, "power")] {
        head.send_as(uid, event(service).as_bytes()).await;
    }
    head.send_as(Service::Power.uid(), b"{}").await;
    head.send_as(Service::Power.uid(), &vec![b' '; 3000]).await;
    head.tell(Service::Power, 2, "power-on", json!({})).await;
    until(async || report(&head).await.nodes > 0).await;
    assert_eq!(report(&head).await.nodes, 1);
    head.stop().await;
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn a_transfer_that_begins_is_kept_and_a_boot_that_is_forgotten_is_not(db: PgPool) {
    let head = Head::start(db.clone(), 2, "").await;
    for node in 1..=2 {
        head.tell(Service::Dhcp, node, "dhcp-discover", json!({"facts": {"client": "firmware"}})).await;
        head.tell(Service::Boot, node, "script", json!({})).await;
        head.tell(Service::Images, node, "kernel", json!({"result": "begun"})).await;
        let digest = json!({"facts": {"digest": "sha256:00"}});
        head.tell(Service::Images, node, "kernel", digest).await;
    }
    let count = async || -> i64 {
        let count = sqlx::query_scalar("select count(*) from event where result = 'begun'");
        count.fetch_one(&db).await.unwrap()
    };
    until(async || count().await == 2).await;
    let shown = client::show(&head.client(), "nid001").await.unwrap();
    let kernel = shown.boot.steps.iter().find(|it| it.stage == domain::BootStage::Kernel).unwrap();
    assert_eq!((kernel.times, kernel.digest.as_deref()), (1, Some("sha256:00")));
    client::forget(&head.client(), "nid001").await.unwrap();
    assert_eq!(client::list(&head.client(), None, None, None).await.unwrap().len(), 1);
    let twice = client::forget(&head.client(), "nid001").await.unwrap_err().to_string();
    assert!(twice.contains("no boot of nid001 is known"), "{twice}");
    head.stop().await;
    let head = Head::start(db, 2, "").await;
    until(async || report(&head).await.nodes == 1).await;
    assert_eq!(client::list(&head.client(), None, None, None).await.unwrap()[0].node, "x0c0s2b0n0");
    head.stop().await;
}
