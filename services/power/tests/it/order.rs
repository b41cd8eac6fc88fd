//! A cabinet: chassis, the blades in them, the nodes on those; what comes first, and what is left when one fails.

use std::time::{Duration, Instant};

use power::client::{Action, Outcome, Request, stream};
use serde_json::{Value, json};
use tests::swarm::{Fault, Options, Swarm};
use web::Client;

use super::head::{Head, limited, node};

/// Chassis 0 and 1 with two blades each, two nodes on each blade: what is switched, and the number of its BMC.
const TREE: [(&str, &str); 14] = [
    ("x0c0", "x0c0b0"),
    ("x0c1", "x0c1b0"),
    ("x0c0s0", "x0c0s0b9"),
    ("x0c0s1", "x0c0s1b9"),
    ("x0c1s0", "x0c1s0b9"),
    ("x0c1s1", "x0c1s1b9"),
    ("x0c0s0b0n0", "x0c0s0b0"),
    ("x0c0s0b1n0", "x0c0s0b1"),
    ("x0c0s1b0n0", "x0c0s1b0"),
    ("x0c0s1b1n0", "x0c0s1b1"),
    ("x0c1s0b0n0", "x0c1s0b0"),
    ("x0c1s0b1n0", "x0c1s0b1"),
    ("x0c1s1b0n0", "x0c1s1b0"),
    ("x0c1s1b1n0", "x0c1s1b1"),
];

fn number(id: &str) -> u32 {
    TREE.iter().position(|it| it.0 == id).unwrap() as u32 + 1
}

struct Cabinet {
    swarm: Swarm,
    head: Head,
}

impl Cabinet {
    async fn open(on: bool) -> Self {
        let count = TREE.len() as u32;
        let swarm = Swarm::start(Options { count, power_on: on, ..Options::default() }).unwrap();
        let mut rows: Vec<Value> = Vec::new();
        for (id, bmc) in TREE {
            let port = swarm.address(number(id)).port();
            let row = json!({"id": bmc, "address": "127.0.0.1", "port": port, "protocol": "ipmi", "nodes": [id],
                "credential_version": 1});
            rows.push(json!({"kind": "component", "id": id, "row": {"id": id}}));
            rows.push(json!({"kind": "endpoint", "id": bmc, "row": row}));
        }
        let head = Head::start(rows, "").await;
        for (_, bmc) in TREE {
            head.set_account_of(bmc);
        }
        Self { swarm, head }
    }

    /// What is told of all of them, in the order in which it came.
    async fn switch(&self, action: Action) -> Vec<Outcome> {
        // What comes first in the list does not count.
        let nodes = TREE.iter().rev().map(|it| it.0.to_owned()).collect();
        let request = Request { nodes, action: Some(action), boot: None };
        let mut told = Vec::new();
        limited(stream(&Client::unix(&self.head.socket), &request, |it| told.push(it))).await.unwrap();
        assert_eq!(told.len(), TREE.len());
        told
    }

    fn are(&self, on: bool) -> Vec<&'static str> {
        TREE.iter().map(|it| it.0).filter(|it| self.swarm.is_on(number(it)) == on).collect()
    }
}

/// What was not done, and why.
fn failed(told: &[Outcome]) -> Vec<(&str, &str)> {
    let mut failed: Vec<(&str, &str)> =
        told.iter().filter_map(|it| Some((it.node.as_str(), it.error.as_deref()?))).collect();
    failed.sort_unstable();
    failed
}

/// Whether each comes after all that it stands in, or before it.
fn are_in_order(told: &[Outcome], outer_first: bool) -> bool {
    let place = |id: &str| told.iter().position(|it| it.node == id).unwrap();
    let chain = |id: &str| TREE.iter().map(|it| it.0).filter(|it| id != *it && id.starts_with(*it)).collect();
    TREE.iter().all(|(id, _)| {
        let outer: Vec<&str> = chain(id);
        outer.iter().all(|it| (place(it) < place(id)) == outer_first)
    })
}

#[tokio::test]
async fn a_cabinet_comes_on_from_the_outside_and_goes_off_from_the_inside() {
    let cabinet = Cabinet::open(false).await;
    let told = cabinet.switch(Action::On).await;
    assert!(failed(&told).is_empty() && are_in_order(&told, true), "{told:?}");
    assert!(cabinet.are(false).is_empty());
    let told = cabinet.switch(Action::Off).await;
    assert!(failed(&told).is_empty() && are_in_order(&told, false), "{told:?}");
    assert!(cabinet.are(true).is_empty());
    let total = cabinet.swarm.total();
    assert_eq!((total.on, total.off), (TREE.len() as u64, TREE.len() as u64));
}

#[tokio::test]
async fn what_stands_in_something_that_does_not_come_on_is_left() {
    let cabinet = Cabinet::open(false).await;
    cabinet.swarm.inflict([number("x0c0"), number("x0c1s1")], Fault::WrongPassword);
    let told = cabinet.switch(Action::On).await;
    let failed = failed(&told);
    let names: Vec<&str> = failed.iter().map(|it| it.0).collect();
    let expected = ["x0c0", "x0c0s0", "x0c0s0b0n0", "x0c0s0b1n0", "x0c0s1", "x0c0s1b0n0", "x0c0s1b1n0"];
    assert_eq!(names, [&expected[..], &["x0c1s1", "x0c1s1b0n0", "x0c1s1b1n0"]].concat());
    for (name, error) in failed {
        match name {
            "x0c0" | "x0c1s1" => assert!(error.contains("password") && error.contains("check"), "{error}"),
            "x0c1s1b0n0" | "x0c1s1b1n0" => assert!(error.contains("because x0c1s1 failed"), "{error}"),
            _ => assert!(error.contains("was left as it is, because x0c0"), "{error}"),
        }
    }
    assert_eq!(cabinet.are(true), ["x0c1", "x0c1s0", "x0c1s0b0n0", "x0c1s0b1n0"]);
}

#[tokio::test]
async fn what_holds_something_that_does_not_go_off_stays_on() {
    let cabinet = Cabinet::open(true).await;
    cabinet.swarm.inflict([number("x0c0s0b1n0")], Fault::WrongPassword);
    let told = cabinet.switch(Action::Off).await;
    let failed = failed(&told);
    assert_eq!(failed.iter().map(|it| it.0).collect::<Vec<_>>(), ["x0c0", "x0c0s0", "x0c0s0b1n0"]);
    assert!(failed[1].1.contains("because x0c0s0b1n0 failed; see to that first"), "{failed:?}");
    assert_eq!(cabinet.are(true), ["x0c0", "x0c0s0", "x0c0s0b1n0"]);
}

#[tokio::test]
async fn no_more_nodes_come_on_within_a_second_than_the_fuses_bear() {
    let count = 6_u16;
    let swarm = Swarm::start(Options { count: count.into(), ..Options::default() }).unwrap();
    let rows = (1..=count).flat_map(|it| node(it, swarm.address(it.into()).port())).collect();
    let numbers: Vec<u16> = (1..=count).collect();
    let head = Head::with_accounts(rows, "[power]\ninrush = 10\n", &numbers).await;
    let nodes: Vec<String> = numbers.iter().map(|it| format!("nid{it:03}")).collect();
    let begun = Instant::now();
    let outcomes = head.ask(json!({"nodes": nodes, "action": "on"})).await;
    assert!(outcomes.iter().all(|it| it.ok), "{outcomes:?}");
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    // To go off takes nothing.
    let outcomes = head.ask(json!({"nodes": nodes, "action": "off"})).await;
    assert!(outcomes.iter().all(|it| it.ok), "{outcomes:?}");
    assert_eq!((swarm.total().on, swarm.total().off), (count.into(), count.into()));
}
