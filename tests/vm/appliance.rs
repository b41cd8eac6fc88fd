//! The head image in a virtual machine, set up by an answer file, and a node that boots from it.

use tests::demo::{Demo, Kind};
use tests::{Node, lab};

/// From the head's power on to a node's log-in.
#[test]
fn a_node_boots_from_the_head_image() {
    lab::test_aloud("appliance::a_node_boots_from_the_head_image", async |folder| {
        let nodes = [Node::demo(1)];
        let mut demo = Demo::start(&folder, Kind::Machine, &nodes, 1).await?;
        demo.boot(1).await?;
        eprintln!("{}", demo.steps.table());
        demo.place.shut_down().await
    });
}
