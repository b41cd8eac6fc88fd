//! Lines that are lost, and how they come back.

use ipmi::{SolEvent, SolOptions};

use super::head::{Head, endpoint, limited, marks, node, numbers, until};
use super::simulator::{PASSWORD, Simulator};

#[tokio::test]
async fn a_bmc_that_dies_and_comes_back_is_marked_once_each() {
    let mut bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    head.count(&mut bmc, 0..20, 0).await;
    bmc.kill().await;
    head.until_logged("console lost", 1).await;
    // It is asked again meanwhile, and fails otherwise than at first.
    head.until_lost("open session: no answer").await;
    bmc.start_again();
    head.until_logged("console open", 2).await;
    head.count(&mut bmc, 20..40, 0).await;
    let log = head.log("nid001");
    assert_eq!(numbers(&log), (0..40).collect::<Vec<_>>());
    let marks = marks(&log);
    assert_eq!(marks.len(), 3, "{marks:?}");
    assert!(marks[1].starts_with("console lost: BMC x0c0s1b0: keep-alive: no answer"), "{marks:?}");
    assert!(marks[2].starts_with("console open; nothing was logged since 20"), "{marks:?}");
}

#[tokio::test]
async fn a_stolen_line_is_taken_back() {
    let mut bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    head.count(&mut bmc, 0..20, 0).await;
    let session = bmc.session().await;
    let mut thief = limited(session.activate_sol(SolOptions::default())).await.unwrap();
    head.until_logged("console lost", 1).await;
    head.until_logged("console open", 2).await;
    head.count(&mut bmc, 20..40, 0).await;
    let log = head.log("nid001");
    assert_eq!(numbers(&log), (0..40).collect::<Vec<_>>());
    let marks = marks(&log);
    assert!(marks.len() == 3 && marks[1].contains("took the line"), "{marks:?}");
    let event = limited(thief.recv()).await.unwrap();
    assert!(matches!(event, SolEvent::Deactivated(_)), "{event:?}");
}

#[tokio::test]
async fn a_refused_account_is_not_tried_again_until_it_changes() {
    let mut bmc = Simulator::start().await;
    let head = Head::start(node(1, &bmc), "").await;
    head.until_logged("console open", 1).await;
    // While the line lasts, nobody cares for the account.
    head.set_account(1, "swordfish");
    head.tell(endpoint(1, bmc.port, 2));
    head.count(&mut bmc, 0..20, 0).await;
    bmc.kill().await;
    head.until_logged("console lost", 1).await;
    bmc.start_again();
    head.until_lost("check user name and password").await;
    let asked = head.asked(1);
    head.set_account(1, PASSWORD);
    head.tell(endpoint(1, bmc.port, 3));
    head.until_logged("console open", 2).await;
    assert_eq!(head.asked(1), asked + 1, "it was left alone until the inventory told of another");
    assert!(!head.log("nid001").contains("swordfish"));
}

#[tokio::test]
async fn one_dead_bmc_of_two_holds_nobody_up() {
    let (mut first, mut second) = (Simulator::start().await, Simulator::start().await);
    second.kill().await;
    let rows = [node(1, &first), node(2, &second)].concat();
    let head = Head::start(rows, "").await;
    head.until_logged("console open", 1).await;
    head.count(&mut first, 0..20, 0).await;
    until(async || head.log("nid002").contains("console lost: BMC x0c0s2b0")).await;
    second.start_again();
    until(async || head.log("nid002").contains("console open")).await;
    assert_eq!(marks(&head.log("nid001")), ["console open"]);
}
