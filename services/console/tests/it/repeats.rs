//! Acknowledgements that are late, doubled and overtaken, before the real `ipmi_sim`: a packet that it sends again has
//! all that its node wrote meanwhile.

use std::sync::Arc;

use daemon::Store;

use super::head::{Head, component, endpoint, marks, numbers, until};
use super::relay::{Relay, Way};
use super::simulator::Simulator;

/// A packet with one of the long lines is longer than this, one without is shorter.
const LONG_BYTES: usize = 140;

/// The simulator, a relay before it, and a head that keeps its sessions.
async fn start() -> (Simulator, Relay, Head) {
    let bmc = Simulator::start().await;
    let relay = Relay::start(bmc.port).await;
    let rows = vec![component(1, None), endpoint(1, relay.port, 1)];
    // Packets are held up for longer than a BMC may be silent elsewhere.
    let head = Head::start_with(rows, "dead_after = '60s'\n", Some(Arc::new(Store::held()))).await;
    head.until_logged("console open", 1).await;
    (bmc, relay, head)
}

async fn short(bmc: &mut Simulator, number: u32) {
    bmc.write(&format!("count {number}.\r\n")).await;
}

async fn long(bmc: &mut Simulator, number: u32) {
    bmc.write(&format!("{:100}\r\n", format!("count {number}."))).await;
}

/// Waits until the log has this number, and looks whether it has each once.
async fn whole(head: &Head, last: u32) {
    head.until_logged(&format!("count {last}."), 1).await;
    assert_eq!(numbers(&head.log("nid001")), (0..=last).collect::<Vec<_>>());
    assert_eq!(marks(&head.log("nid001")), ["console open"]);
}

#[tokio::test]
async fn an_acknowledgement_that_is_late_doubles_nothing() {
    let (mut bmc, relay, head) = start().await;
    relay.hold(Way::ToBmc);
    short(&mut bmc, 0).await;
    head.until_logged("count 0.", 1).await;
    relay.take_longest(Way::ToConsole);
    long(&mut bmc, 1).await;
    // The packet with 0 comes again and has 1 too by now.
    until(async || relay.take_longest(Way::ToConsole) > LONG_BYTES).await;
    relay.open(Way::ToBmc);
    relay.release(Way::ToBmc).await;
    head.until_logged("count 1.", 1).await;
    short(&mut bmc, 2).await;
    whole(&head, 2).await;
}

#[tokio::test]
async fn a_packet_that_grows_while_the_service_restarts_comes_once() {
    let (mut bmc, relay, mut head) = start().await;
    for round in 0..2 {
        let first = round * 3;
        head.stop().await;
        relay.take_longest(Way::ToConsole);
        short(&mut bmc, first).await;
        until(async || relay.take_longest(Way::ToConsole) > 0).await;
        long(&mut bmc, first + 1).await;
        // Both wait in the socket that outlives the service.
        until(async || relay.take_longest(Way::ToConsole) > LONG_BYTES).await;
        head.start_again("dead_after = '60s'\n").await;
        head.until_logged(&format!("count {}.", first + 1), 1).await;
        short(&mut bmc, first + 2).await;
        whole(&head, first + 2).await;
    }
}

#[tokio::test]
async fn a_repetition_that_is_overtaken_is_not_taken_for_a_new_packet() {
    let (mut bmc, relay, head) = start().await;
    relay.hold(Way::ToBmc);
    short(&mut bmc, 0).await;
    head.until_logged("count 0.", 1).await;
    relay.hold(Way::ToConsole);
    until(async || relay.held(Way::ToConsole) > 0).await;
    relay.open(Way::ToConsole);
    relay.open(Way::ToBmc);
    relay.release(Way::ToBmc).await;
    short(&mut bmc, 1).await;
    head.until_logged("count 1.", 1).await;
    relay.release(Way::ToConsole).await;
    short(&mut bmc, 2).await;
    whole(&head, 2).await;
}

#[tokio::test]
async fn packets_that_come_twice_are_taken_once() {
    let (mut bmc, relay, head) = start().await;
    relay.double(Way::ToBmc);
    relay.double(Way::ToConsole);
    head.count(&mut bmc, 0..60, 0).await;
    whole(&head, 59).await;
}
