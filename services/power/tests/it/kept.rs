//! Sessions that outlive their command.

use power::client::test_bmc;
use serde_json::{Value, json};
use tests::swarm::{Fault, Options, Swarm};
use web::Client;

use super::head::{Head, endpoint, node, until};

const COUNT: u16 = 3;

async fn head(swarm: &Swarm, table: &str) -> Head {
    let rows: Vec<Value> = (1..=COUNT).flat_map(|it| node(it, swarm.address(it.into()).port())).collect();
    Head::with_accounts(rows, table, &(1..=COUNT).collect::<Vec<_>>()).await
}

fn names() -> Vec<String> {
    (1..=COUNT).map(|it| format!("nid{it:03}")).collect()
}

async fn all_well(head: &Head) {
    let outcomes = head.ask(json!({"nodes": names()})).await;
    assert!(outcomes.iter().all(|it| it.ok), "{outcomes:?}");
}

/// Asks until sessions are kept: on a machine that is very busy a log-in may be too slow for it.
async fn keep(head: &Head, swarm: &Swarm) {
    until(async || {
        let before = swarm.total().sessions;
        all_well(head).await;
        swarm.total().sessions == before
    })
    .await;
}

#[tokio::test]
async fn who_asks_again_has_no_log_in_to_wait_for() {
    let swarm = Swarm::start(Options { count: COUNT.into(), ..Options::default() }).unwrap();
    let head = head(&swarm, "").await;
    keep(&head, &swarm).await;
    assert_eq!(swarm.total().open, u64::from(COUNT), "one with each");
    assert_eq!(head.done("nid001", Some("on")).await, "on");
    assert_eq!(head.done("nid001", Some("cycle")).await, "on");
    let seen = swarm.seen(1);
    assert_eq!((seen.on, seen.cycle, seen.open), (1, 1, 1), "{seen:?}");
    head.stop().await;
    until(async || swarm.total().open == 0).await;
    assert_eq!(swarm.total().expired, 0, "each was closed");
}

#[tokio::test]
async fn sessions_that_are_not_to_be_kept_are_closed_after_each_command() {
    let swarm = Swarm::start(Options { count: COUNT.into(), ..Options::default() }).unwrap();
    let head = head(&swarm, "[power]\nkeep_sessions = \"0s\"\n").await;
    all_well(&head).await;
    all_well(&head).await;
    until(async || swarm.total().open == 0).await;
    assert!(swarm.total().sessions >= 2 * u64::from(COUNT));
    head.stop().await;
    // For a short time, and gone then without anybody's asking.
    let head = self::head(&swarm, "[power]\nkeep_sessions = \"1s\"\n").await;
    all_well(&head).await;
    until(async || swarm.total().open == 0).await;
}

#[tokio::test]
async fn a_session_that_the_bmc_has_ended_is_opened_anew() {
    let idle = std::time::Duration::from_millis(1500);
    let swarm = Swarm::start(Options { count: COUNT.into(), idle, ..Options::default() }).unwrap();
    let head = head(&swarm, "").await;
    keep(&head, &swarm).await;
    until(async || swarm.total().open == 0).await;
    assert!(swarm.total().expired >= u64::from(COUNT));
    all_well(&head).await;
    // One that goes silent is told of as ever, and takes its neighbours no time.
    swarm.inflict([2], Fault::Silent);
    let outcomes = head.ask(json!({"nodes": names()})).await;
    assert!(outcomes[0].ok && outcomes[2].ok, "{outcomes:?}");
    let error = outcomes[1].error.as_deref().unwrap();
    assert!(error.contains("no answer") && error.contains("check"), "{error}");
}

#[tokio::test]
async fn a_bmc_whose_account_or_place_has_changed_is_logged_in_to_anew() {
    let swarm = Swarm::start(Options { count: COUNT.into(), ..Options::default() }).unwrap();
    let head = head(&swarm, "").await;
    keep(&head, &swarm).await;
    let before = swarm.seen(1).sessions;
    head.tell(endpoint(1, swarm.address(1).port(), 2)).await;
    assert_eq!(head.done("nid001", None).await, "off");
    assert!(swarm.seen(1).sessions > before);
    // A test is one of the log-in.
    let before = swarm.seen(2).sessions;
    let told = test_bmc(&Client::unix(&head.socket), "x0c0s2b0").await.unwrap();
    assert!(told.ok, "{told:?}");
    assert!(swarm.seen(2).sessions > before);
    swarm.inflict([3], Fault::WrongPassword);
    let told = test_bmc(&Client::unix(&head.socket), "x0c0s3b0").await.unwrap();
    assert!(!told.ok && told.error.is_some_and(|it| it.contains("password")));
}
