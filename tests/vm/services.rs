//! The head's services as processes, the nodes as virtual machines: the quickest way to see a node boot.

use anyhow::ensure;
use domain::BootStage;
use tests::demo::{Demo, Kind};
use tests::program::is_whole;
use tests::{Node, lab};

/// One node by BIOS and one by UEFI PXE, from power on over IPMI to the log-in; the one is told what to do by the legacy
/// cloud-init API, the other by the present one.
#[test]
fn nodes_boot_from_services_to_the_end_of_cloud_init() {
    // The same boots go through the head image's test; these are quicker to look at when that one fails.
    if !is_whole() {
        return;
    }
    lab::test_aloud("services::nodes_boot_from_services_to_the_end_of_cloud_init", async |folder| {
        let nodes = [Node::demo(1), Node::demo(2).in_group("login")];
        let mut demo = Demo::start(&folder, Kind::Processes, &nodes, 2).await?;
        for node in &nodes {
            demo.boot(node.nid).await?;
            demo.await_log(node.nid).await?;
        }
        eprintln!("{}", demo.steps.table());
        let events = demo.place.events()?.all();
        for node in &nodes {
            let own = |stage| {
                let own = |it: &tests::head::Event| it.stage == stage && it.node == Some(node.xname());
                let fits = |it: &&tests::head::Event| own(it) && it.result == "ok";
                events.iter().find(fits).cloned()
            };
            let (ack, root) = (own(BootStage::DhcpAck), own(BootStage::Root));
            ensure!(
                ack.is_some_and(|it| it.ip == Some(node.address().to_string())),
                "no ACK with the address"
            );
            ensure!(root.is_some_and(|it| it.bytes > Some(10 << 20)), "no root image of some size");
        }
        demo.place.shut_down().await
    });
}

/// A node in no inventory asks in a loop; once it is added it boots without a hand.
#[test]
fn an_unknown_node_boots_once_it_is_imported() {
    if !is_whole() {
        return;
    }
    lab::test_aloud("services::an_unknown_node_boots_once_it_is_imported", async |folder| {
        let nodes = [Node::demo(3)];
        let mut demo = Demo::start(&folder, Kind::Processes, &nodes, 0).await?;
        demo.boot_unknown(3).await?;
        demo.await_log(3).await?;
        eprintln!("{}", demo.steps.table());
        demo.place.shut_down().await
    });
}
