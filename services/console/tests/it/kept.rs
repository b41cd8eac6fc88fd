//! Sessions that outlive the service, by a store of descriptors.

use std::sync::Arc;

use daemon::Store;

use super::head::{Head, marks, node, numbers, until};
use super::simulator::Simulator;

/// A node that counts, and what it counted.
async fn write(bmc: &mut Simulator, numbers: std::ops::Range<u32>) {
    for number in numbers {
        bmc.write(&format!("count {number}.\r\n")).await;
    }
}

#[tokio::test]
async fn a_counter_is_whole_over_twenty_restarts() {
    let mut bmc = Simulator::start().await;
    let mut head = Head::start_with(node(1, &bmc), "", Some(Arc::new(Store::held()))).await;
    head.until_logged("console open", 1).await;
    let mut next = 0;
    for _ in 0..20 {
        head.count(&mut bmc, next..next + 5, 0).await;
        // The service ends in the middle of a line,
        bmc.write(&format!("count {}", (next + 5) / 10)).await;
        until(async || !head.log("nid001").ends_with('\n')).await;
        head.stop().await;
        // and the node goes on.
        bmc.write(&format!("{}.\r\n", (next + 5) % 10)).await;
        write(&mut bmc, next + 6..next + 10).await;
        head.start_again("").await;
        let last = format!("count {}.", next + 9);
        until(async || head.log("nid001").contains(&last)).await;
        next += 10;
    }
    let log = head.log("nid001").replace("count 0", "count ");
    assert_eq!(numbers(&log.replace("count .", "count 0.")), (0..next).collect::<Vec<_>>());
    assert_eq!(marks(&log), ["console open"]);
}

#[tokio::test]
async fn readers_come_back_and_type_after_a_restart() {
    let mut bmc = Simulator::start().await;
    let mut head = Head::start_with(node(1, &bmc), "", Some(Arc::new(Store::held()))).await;
    head.until_logged("console open", 1).await;
    head.count(&mut bmc, 0..5, 0).await;
    head.stop().await;
    head.start_again("").await;
    until(async || head.status().await.is_some_and(|it| it.connected)).await;
    let mut reader =
        console::client::attach(&head.socket, "nid001", &console::client::How::default()).await.unwrap();
    // What was written before the restart is replayed.
    super::attach::see(&mut reader, "count 4.").await;
    super::attach::type_in(&mut reader, "root\r").await;
    assert_eq!(bmc.read(5).await, "root\r");
}

#[tokio::test]
async fn a_line_that_was_lost_meanwhile_is_opened_anew() {
    let mut bmc = Simulator::start().await;
    let mut head = Head::start_with(node(1, &bmc), "", Some(Arc::new(Store::held()))).await;
    head.until_logged("console open", 1).await;
    head.count(&mut bmc, 0..5, 0).await;
    head.stop().await;
    bmc.kill().await;
    bmc.start_again();
    head.start_again("").await;
    head.until_logged("console open", 2).await;
    head.count(&mut bmc, 5..10, 0).await;
    assert_eq!(numbers(&head.log("nid001")), (0..10).collect::<Vec<_>>());
    let marks = marks(&head.log("nid001"));
    assert!(marks.iter().any(|it| it.starts_with("console lost")), "{marks:?}");
}
